"""Applies n operations, drawn anew for every image, all at strength m.

cite: Cubuk et al. 2020, "RandAugment"; the 16 operations and ranges of Arazo et al. 2021
changes: each image before its crop and flip (`randaugment|standard`), drawn per example and epoch
passes: none extra
rule: n times: one of 16 operations, uniformly and with replacement, of value m / 30 (max - min) + min; the sign of
  rotation, shear and translation is drawn; nearest pixel, black outside. m = 4 is not weak: Posterize keeps 1 bit,
  Solarize inverts from level 34, TranslateX moves by 13.3 pixels. policy="torchvision": its 14 operations and ranges
differs: from the code it follows, which draws a cutout's place from 1 to the side instead of 0 to the side
neutral: n=0
"""

from functools import lru_cache
from typing import Literal

from torch import Tensor

from iskit.augment.base import Augment, augments
from iskit.augment.ops import STRENGTHS, Setting, torchvision_settings
from iskit.augment.tables import tables
from iskit.errors import InputError
from iskit.randomness import Stream, words

# Degrees, bits, levels, factors, slopes and pixels.
STUDY = {
    "AutoContrast": (0, 1),
    "Equalize": (0, 1),
    "Invert": (0, 1),
    "Rotate": (0, 30),
    "Posterize": (0, 4),
    "Solarize": (0, 256),
    "SolarizeAdd": (0, 110),
    "Color": (0.1, 1.9),
    "Contrast": (0.1, 1.9),
    "Brightness": (0.1, 1.9),
    "Sharpness": (0.1, 1.9),
    "ShearX": (0, 0.3),
    "ShearY": (0, 0.3),
    "Cutout": (0, 40),
    "TranslateX": (0, 100),
    "TranslateY": (0, 100),
}
SIGNED = ("Rotate", "ShearX", "ShearY", "TranslateX", "TranslateY")


@lru_cache
def study(m: int, height: int, width: int) -> tuple[Setting, ...]:
    """Two settings an operation, the second of the other sign where it has one."""
    settings = []
    for op, (low, high) in STUDY.items():
        value = m / (STRENGTHS - 1) * (high - low) + low
        settings += [Setting(op, value), Setting(op, -value if op in SIGNED else value)]
    return tuple(settings)


@lru_cache
def torchvision(m: int, height: int, width: int) -> tuple[Setting, ...]:
    reach = (150 / 331 * width, 150 / 331 * height)
    ops = torchvision_settings(shear=0.3, translate=reach, rotate=30, enhance=0.9, bits=4)
    return tuple(setting for strengths in ops for setting in strengths[m])


POLICIES = {"study": study, "torchvision": torchvision}


@augments.register("randaugment")
class RandAugment(Augment):
    """n: operations an image; m: their strength, 0 to 30; policy: the study's operations or torchvision's."""

    before_crop = True

    def __init__(self, *, n: int = 2, m: int = 4, policy: Literal["study", "torchvision"] = "study"):
        if n < 0:
            raise InputError(f"augment option n={n} must be a number of operations, 0 for none")
        if not 0 <= m < STRENGTHS:
            raise InputError(f"augment option m={m} must be a strength between 0 and {STRENGTHS - 1}")
        self.n, self.m, self.policy = n, m, policy

    def image(self, image: Tensor, index: Tensor, epoch: int) -> Tensor:
        if self.n == 0:
            return image
        _, height, width, _ = image.shape
        settings = POLICIES[self.policy](self.m, height, width)
        batched = tables(settings, height, width, image.device)
        draw = words(self.seed, self.stream(Stream.OPS), epoch, index, 4 * self.n)
        op, sign, x, y = draw.view(-1, self.n, 4).permute(2, 1, 0)
        setting = 2 * (op * (len(settings) // 2) >> 32) + (sign >> 31)
        x, y = ((place + 0.5) / 2**32 * side for place, side in ((x, width), (y, height)))
        return batched.apply(image, *zip(setting, x, y, strict=True))
