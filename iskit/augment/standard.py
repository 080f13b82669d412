"""A random crop of the zero-padded image, and a random horizontal flip where the data set allows it.

cite: Krizhevsky et al. 2012; in this form He et al. 2016 and Arazo et al. 2021
changes: each image, drawn per example and epoch
passes: none extra
rule: pad by 4 zeros, images of less than 28 pixels by a seventh of the side, rounded down; crop back at a uniform
  offset; flip with probability 1/2
differs: nothing from 28 pixels up; below, where the source has no images, less padding
neutral: pad=0 on a data set without flips
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from iskit.augment.base import Augment, augments
from iskit.augment.gather import runs
from iskit.errors import InputError
from iskit.randomness import Stream, words


@augments.register("standard")
class Standard(Augment):
    """pad: zeros on each side, the data set's own number if none is given."""

    def __init__(self, *, pad: int | None = None):
        if pad is not None and pad < 0:
            raise InputError(f"augment option pad={pad} must not be negative")
        self.own_pad = pad

    def image(self, image: Tensor, index: Tensor, epoch: int) -> Tensor:
        pad = self.pad if self.own_pad is None else self.own_pad
        n, height, width, channels = image.shape
        draw = words(self.seed, self.stream(Stream.CROP), epoch, index, 3)
        # Scaling a 32-bit word to so small a range by multiplication is biased by less than 1e-8.
        row, column = (draw[:, :2] * (2 * pad + 1) >> 32).unbind(1)
        padded = F.pad(image.contiguous(), (0, 0, pad, pad, pad, pad))
        first = (torch.arange(n, device=image.device) * (height + 2 * pad) + row)[:, None]
        first = first + torch.arange(height, device=image.device)
        first = (first * (width + 2 * pad) + column[:, None]) * channels
        crop = runs(padded, first.view(-1), width * channels).view(image.shape)
        if not self.flip:
            return crop
        number = torch.arange(n, device=image.device) + n * (draw[:, 2] >> 31)
        return torch.cat([crop, crop.flip(2)]).index_select(0, number)
