"""Encoded images to arrays of one shape.

Images of 8 bits a channel become RGB whatever their mode (transparency is dropped), and stay at one channel if
every image of the set is grey. Deeper images are refused: cutting them to 8 bits would be a choice of its own.
"""

import io
import re
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError
from PIL.ImageFile import ImageFile

from iskit.errors import InputError
from iskit.inputs import fits, guard

VERSION = 3  # of what this file makes of an image; part of every cache's key
GREY = {"1", "L", "LA"}
EIGHT_BIT = GREY | {"P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"}
CHUNK = 1024  # encoded images in memory at once

Encoded = tuple[Path | bytes | None, str]  # a file or its bytes, and what to call it in an error


def decode_all(encoded: Iterable[Encoded], count: int, size: int, title: str) -> np.ndarray:
    """`count` images as (count, size, size, 3) uint8, or (count, size, size, 1) if all are grey.

    size: side length to scale to; 0 keeps the images' own, which must be square and alike.
    Raises InputError naming the first image that cannot be used, and for more than the memory holds.
    """
    from tqdm import tqdm  # only here: training on images decoded before does without

    out: np.ndarray | None = None
    done, grey = 0, True
    remaining = iter(encoded)
    with (
        ThreadPoolExecutor() as pool,
        tqdm(total=count, desc=title, leave=False, disable=None) as bar,  # None: silent outside a terminal
    ):
        while chunk := list(islice(remaining, CHUNK if done else 1)):  # one tells what memory all will take
            for (_, name), (pixels, is_grey) in zip(chunk, _decoded(pool, chunk, size), strict=True):
                if out is None:
                    _check_fits(count, *pixels.shape)
                    out = np.empty((count, *pixels.shape), np.uint8)
                if done == count:
                    raise InputError(_other_count(title, "more", count))
                if pixels.shape != out.shape[1:]:
                    raise InputError(f"{name}: {_by(pixels)} pixels, others have {_by(out[0])}: set size= to scale all")
                out[done] = pixels
                done, grey = done + 1, grey and is_grey
            bar.update(len(chunk))
    if out is None or done < count:  # what a damaged file says of itself need not be so
        raise InputError(_other_count(title, str(done), count))
    return out[..., :1].copy() if grey else out


def _other_count(title: str, found: str, count: int) -> str:
    return f"{title}: {found} images where {count} are announced: the file is damaged, get it again"


def resize(image: np.ndarray, size: int) -> np.ndarray:
    """(n, H, W, C) uint8 -> (n, size, size, C); size 0 leaves them as they are."""
    if size in (0, image.shape[1]):
        return image
    _check_fits(2 * len(image), size, size, image.shape[-1])  # one by one, and stacked
    grey = image.shape[-1] == 1
    scaled = [np.asarray(_scale(Image.fromarray(one[..., 0] if grey else one), size)) for one in image]
    return np.stack(scaled).reshape(len(image), size, size, -1)


def _decoded(pool: ThreadPoolExecutor, chunk: list[Encoded], size: int) -> Iterator[tuple[np.ndarray, bool]]:
    return pool.map(lambda one: decode(one[0], one[1], size), chunk)


def decode(source: Path | bytes | None, name: str, size: int) -> tuple[np.ndarray, bool]:
    """(side, side, 3) uint8, and whether the file holds a grey image."""
    with guard(f"{name}: no whole image", "remove or replace it"), _opened(source, name) as image:
        _check_mode(image, name)
        mode = image.mode
        # By way of RGBA, since PIL warns of palettes with transparency otherwise.
        rgb = (image.convert("RGBA") if image.has_transparency_data else image).convert("RGB")
    if size == 0 and rgb.width != rgb.height:
        raise InputError(f"{name}: {rgb.width} x {rgb.height} pixels are not square: set size= to scale all")
    return np.asarray(_scale(rgb, size or rgb.width)), mode in GREY


def _opened(source: Path | bytes | None, name: str) -> ImageFile:
    try:
        return Image.open(source if isinstance(source, Path) else io.BytesIO(source or b""))
    except UnidentifiedImageError:
        raise InputError(f"{name}: no image of a known format: remove or replace it") from None


def _check_mode(image: ImageFile, name: str) -> None:
    # PIL opens a 16-bit RGB file as plain RGB and keeps the high bytes: only the tiles tell. Those of a PPM file hold
    # its highest value.
    deep = image.mode[0] in "IF" or any(
        re.search(r";16[BLN]", str(tile.args))
        or (image.format == "PPM" and isinstance(tile.args, tuple) and tile.args[-1] > 255)
        for tile in image.tile
    )
    if deep:
        raise InputError(f"{name}: more than 8 bits a channel (mode {image.mode}): convert it to 8-bit grey or RGB")
    if image.mode not in EIGHT_BIT:
        raise InputError(f"{name}: images of mode {image.mode} cannot be used: convert it to 8-bit grey or RGB")


def _scale(image: Image.Image, size: int) -> Image.Image:
    """To size x size: means over boxes to shrink, bicubic to enlarge; nothing is cropped."""
    if image.size == (size, size):
        return image
    shrinks = size <= min(image.size)
    return image.resize((size, size), Image.Resampling.BOX if shrinks else Image.Resampling.BICUBIC)


def _check_fits(count: int, height: int, width: int, channels: int) -> None:
    what = f"dataset option size: {count} images of {height} x {width} x {channels} bytes"
    fits(what, count * height * width * channels, "set a smaller size=, or fewer by limit=")


def _by(pixels: np.ndarray) -> str:
    return f"{pixels.shape[1]} x {pixels.shape[0]}"
