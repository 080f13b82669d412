"""Images read pixel by pixel: the RNN study of Katharopoulos & Fleuret 2018, after Le et al. 2015.

They train with Adam at lr 1e-3, batches of 32, on permuted MNIST: 784 steps of one pixel.
"""

import torch
from torch import Tensor, nn

from iskit.models.base import at_least_one, models
from iskit.randomness import Stream, permutation


class PixelLSTM(nn.Module):
    """One layer; the last hidden state is classified."""

    order: Tensor

    def __init__(self, classes: int, channels: int, size: int, width: int, permuted: bool):
        super().__init__()
        steps = size**2
        # One fixed order for every run and seed: it is part of the task, not of the initialisation.
        order = permutation(0, Stream.DATA, 1, steps) if permuted else torch.arange(steps)
        self.register_buffer("order", order)
        self.lstm = nn.LSTM(channels, width, batch_first=True)
        self.head = nn.Linear(width, classes)
        with torch.no_grad():
            # Gates lie in the order input, forget, cell, output. A forget gate that starts open (Keras's default
            # too) lets gradients reach the first of hundreds of steps.
            self.lstm.get_parameter("bias_ih_l0")[width : 2 * width] = 1
            self.lstm.get_parameter("bias_hh_l0")[width : 2 * width] = 0

    def forward(self, x: Tensor) -> Tensor:
        pixels = x.flatten(2)[:, :, self.order].transpose(1, 2)  # (b, steps, channels), row by row if not permuted
        hidden, _ = self.lstm(pixels)
        return self.head(hidden[:, -1])


@models.register("lstm")
def lstm(classes: int, channels: int, size: int, *, width: int = 128, permuted: bool = False) -> nn.Module:
    """An LSTM that reads an image pixel by pixel.

    width: of the hidden state; permuted: read the pixels in one fixed random order instead of row by row.
    """
    at_least_one(width=width)
    return PixelLSTM(classes, channels, size, width, permuted)
