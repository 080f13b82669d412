"""Hides a square of each image.

cite: DeVries & Taylor 2017, "Improved Regularization of Convolutional Neural Networks with Cutout"
changes: each image, drawn per example and epoch
passes: none extra
rule: a square of half the image's side (16 of 32 pixels: their CIFAR-10), its middle on any pixel, cut off at the
  border, takes the data set's mean colour, which is 0 once normalised
differs: the mean is rounded to whole levels, the images being uint8
neutral: size=0
"""

import torch
from torch import Tensor

from iskit.augment.base import Augment, augments
from iskit.constants import constant
from iskit.errors import InputError
from iskit.randomness import Stream, words


@augments.register("cutout")
class Cutout(Augment):
    """size: of the square, as a share of the image's height."""

    def __init__(self, *, size: float = 0.5):
        if not 0 <= size <= 2:
            raise InputError(f"augment option size={size!r} must be a share of the image's side, between 0 and 2")
        self.size = size

    def image(self, image: Tensor, index: Tensor, epoch: int) -> Tensor:
        _, height, width, channels = image.shape
        side = round(self.size * height)
        if side == 0:
            return image
        draw = words(self.seed, self.stream(Stream.OPS), epoch, index, 2)

        def hidden(word: Tensor, size: int) -> Tensor:
            first = (word * size >> 32) - side // 2
            place = torch.arange(size, device=image.device)
            return (place >= first[:, None]) & (place < first[:, None] + side)

        rows, columns = hidden(draw[:, 0], height), hidden(draw[:, 1], width).repeat_interleave(channels, dim=1)
        mean = constant(self.mean, image.device).mul(255).round().byte()
        square = rows[:, :, None] & columns[:, None, :]
        return torch.where(square, mean.expand(channels).repeat(width), image.reshape(square.shape)).view(image.shape)
