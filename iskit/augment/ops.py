"""The image operations of RandAugment and its kin, as PIL does them to one image.

This is what they mean. `tables.py` does the same to whole batches, byte for byte, and makes its tables by running
these very functions.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

STRENGTHS = 31  # 0 to 30
FILL = {3: (125, 123, 114), 1: (123,)}  # of Cutout, by channels; 123 is that colour's luminance


class Setting(NamedTuple):
    """An operation and how strong it is; the value's meaning is the operation's own."""

    op: str
    value: float


def affine(image: Image.Image, *matrix: float) -> Image.Image:
    """Output pixel (x, y) shows input pixel (a x + b y + c, d x + e y + f), the nearest; black outside."""
    return image.transform(image.size, Image.Transform.AFFINE, matrix)


def solarize_add(image: Image.Image, value: float) -> Image.Image:
    """Adds to every pixel, then inverts those at or above 128. (Others add to the dark pixels only.)"""
    brighter = [min(255, int(level + value)) for level in range(256)]
    return ImageOps.solarize(image.point(brighter * len(image.getbands())), 128)


def cutout(image: Image.Image, value: float, x: float, y: float) -> Image.Image:
    """A filled rectangle that starts value / 2 before (x, y), in pixels, and ends value later, that pixel included."""
    left, top = int(max(0, x - value / 2)), int(max(0, y - value / 2))
    box = (left, top, min(image.width, left + value), min(image.height, top + value))
    image = image.copy()
    ImageDraw.Draw(image).rectangle(box, FILL[len(image.getbands())])
    return image


OPS: dict[str, Callable[[Image.Image, float], Image.Image]] = {
    "Identity": lambda image, value: image,
    "AutoContrast": lambda image, value: ImageOps.autocontrast(image),
    "Equalize": lambda image, value: ImageOps.equalize(image),
    "Invert": lambda image, value: ImageOps.invert(image),
    "Rotate": lambda image, value: image.rotate(value),
    "Posterize": lambda image, value: ImageOps.posterize(image, max(1, int(value))),
    "Solarize": lambda image, value: ImageOps.solarize(image, value),  # type: ignore[arg-type]
    "SolarizeAdd": solarize_add,
    "Color": lambda image, value: ImageEnhance.Color(image).enhance(value),
    "Contrast": lambda image, value: ImageEnhance.Contrast(image).enhance(value),
    "Brightness": lambda image, value: ImageEnhance.Brightness(image).enhance(value),
    "Sharpness": lambda image, value: ImageEnhance.Sharpness(image).enhance(value),
    "ShearX": lambda image, value: affine(image, 1, value, 0, 0, 1, 0),
    "ShearY": lambda image, value: affine(image, 1, 0, 0, value, 1, 0),
    "TranslateX": lambda image, value: affine(image, 1, 0, value, 0, 1, 0),
    "TranslateY": lambda image, value: affine(image, 1, 0, 0, 0, 1, value),
}


def apply(image: Image.Image, setting: Setting, x: float, y: float) -> Image.Image:
    """What a setting makes of one image of mode RGB or L; (x, y) places a cutout. The reference of `Tables.apply`."""
    if setting.op == "Cutout":
        return cutout(image, setting.value, x, y)
    return OPS[setting.op](image, setting.value)


def torchvision_settings(
    *, shear: float, translate: tuple[float, float], rotate: float, enhance: float, bits: int
) -> list[list[tuple[Setting, Setting]]]:
    """torchvision's 14 operations: [operation][strength 0 to 30] -> the setting, and that of the other sign.

    translate: most pixels along x and y; enhance: largest change of a factor from 1; bits: most bits Posterize drops.
    """

    def line(top: float, bottom: float = 0.0) -> list[float]:
        return torch.linspace(bottom, top, STRENGTHS).tolist()  # in float32, as torchvision

    def signed(op: str, values: list[float], center: float = 0.0) -> list[tuple[Setting, Setting]]:
        return [(Setting(op, center + value), Setting(op, center - value)) for value in values]

    def plain(op: str, values: list[float]) -> list[tuple[Setting, Setting]]:
        return [(Setting(op, value),) * 2 for value in values]

    kept = 8 - (torch.arange(STRENGTHS) / ((STRENGTHS - 1) / bits)).round()
    return [
        plain("Identity", line(0)),
        signed("ShearX", line(shear)),
        signed("ShearY", line(shear)),
        # Its translation moves the image, PIL's matrix the place to look at: the signs are opposite.
        signed("TranslateX", [-int(pixels) for pixels in line(translate[0])]),
        signed("TranslateY", [-int(pixels) for pixels in line(translate[1])]),
        signed("Rotate", line(rotate)),
        *(signed(op, line(enhance), 1.0) for op in ("Brightness", "Color", "Contrast", "Sharpness")),
        plain("Posterize", kept.tolist()),
        plain("Solarize", line(0, 255)),
        plain("AutoContrast", line(0)),
        plain("Equalize", line(0)),
    ]
