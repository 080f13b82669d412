"""Applies one operation to each image, at a strength that is drawn too.

cite: Müller & Hutter 2021, "TrivialAugment: Tuning-free Yet State-of-the-Art Data Augmentation" (Wide)
changes: each image, drawn per example and epoch
passes: none extra
rule: one of 14 operations (one of them none), its strength one of 31, its sign: all uniform; the ranges are
  torchvision's TrivialAugmentWide; nearest pixel, black outside
differs: nothing
neutral: n=0
"""

from functools import lru_cache

from torch import Tensor

from iskit.augment.base import Augment, augments
from iskit.augment.ops import STRENGTHS, Setting, torchvision_settings
from iskit.augment.tables import tables
from iskit.errors import InputError
from iskit.randomness import Stream, words


@lru_cache
def wide() -> tuple[Setting, ...]:
    """By operation, then strength, then sign."""
    ops = torchvision_settings(shear=0.99, translate=(32, 32), rotate=135, enhance=0.99, bits=6)
    return tuple(setting for strengths in ops for pair in strengths for setting in pair)


@augments.register("trivialaugment")
class TrivialAugment(Augment):
    """n: operations an image; the paper's is 1."""

    def __init__(self, *, n: int = 1):
        if n < 0:
            raise InputError(f"augment option n={n} must be a number of operations, 0 for none")
        self.n = n

    def image(self, image: Tensor, index: Tensor, epoch: int) -> Tensor:
        if self.n == 0:
            return image
        _, height, width, _ = image.shape
        settings = wide()
        batched = tables(settings, height, width, image.device)
        draw = words(self.seed, self.stream(Stream.OPS), epoch, index, 3 * self.n)
        op, strength, sign = draw.view(-1, self.n, 3).permute(2, 1, 0)
        number = op * (len(settings) // (2 * STRENGTHS)) >> 32
        setting = 2 * (STRENGTHS * number + (strength * STRENGTHS >> 32)) + (sign >> 31)
        nowhere = setting.double()  # places are for cutouts, which are not among the operations
        return batched.apply(image, *zip(setting, nowhere, nowhere, strict=True))
