"""A random crop of the zero-padded image, and a random horizontal flip where the data set allows it.

cite: Krizhevsky et al. 2012; in this form He et al. 2016 and Arazo et al. 2021
changes: each image, drawn per example and epoch
passes: none extra
rule: pad by 4 zeros (data sets of tiny images: less), crop back at a uniform offset; flip with probability 1/2
differs: nothing
neutral: pad=0 on a data set without flips
"""

import torch
from torch import Tensor

from iskit.augment.base import Augment, augments
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
        n, height, width, _ = image.shape
        draw = words(self.seed, self.stream(Stream.CROP), epoch, index, 3)
        # Scaling a 32-bit word to so small a range by multiplication is biased by less than 1e-8.
        shift = (draw[:, :2] * (2 * pad + 1) >> 32) - pad
        rows = torch.arange(height, device=image.device) + shift[:, :1]
        columns = torch.arange(width, device=image.device).expand(n, width)
        if self.flip:
            columns = torch.where(draw[:, 2:] >> 31 == 1, columns.flip(1), columns)
        columns = columns + shift[:, 1:2]
        inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None, :]
        first = torch.arange(n, device=image.device)[:, None, None] * (height * width)
        pixel = first + rows.clamp(0, height - 1)[:, :, None] * width + columns.clamp(0, width - 1)[:, None, :]
        out = image.flatten(0, 2)[pixel.view(-1)].view_as(image)
        return out.mul_(inside[..., None])
