"""Wide residual networks (Zagoruyko & Komodakis 2016); Katharopoulos & Fleuret 2018 train WRN-28-2 on CIFAR."""

import torch.nn.functional as F
from torch import Tensor, nn

from iskit.errors import InputError
from iskit.models.base import at_least_one, models


class Block(nn.Module):
    """Batch norm and ReLU before each convolution; a shortcut that must project takes the activated input."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        changes = stride != 1 or inputs != outputs
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False) if changes else None

    def forward(self, x: Tensor) -> Tensor:
        active = F.relu(self.bn1(x))
        y = self.conv2(F.relu(self.bn2(self.conv1(active))))
        return y + (x if self.shortcut is None else self.shortcut(active))


class WideResNet(nn.Module):
    def __init__(self, classes: int, channels: int, depth: int, width: int):
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(channels, 16, 3, padding=1, bias=False)]
        inputs = 16
        for group, outputs in enumerate((16 * width, 32 * width, 64 * width)):
            for block in range((depth - 4) // 6):
                layers.append(Block(inputs, outputs, stride=2 if group > 0 and block == 0 else 1))
                inputs = outputs
        self.body = nn.Sequential(*layers, nn.BatchNorm2d(inputs), nn.ReLU())
        self.head = nn.Linear(inputs, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).mean((2, 3)))


@models.register("wrn")
def wrn(classes: int, channels: int, size: int, *, depth: int = 28, width: int = 2) -> nn.Module:
    """A wide residual network, without dropout: 1.47 M parameters at the defaults and 10 classes.

    depth: 6n + 4 layers; width: factor on 16-32-64.
    """
    at_least_one(width=width)
    if depth < 10 or depth % 6 != 4:
        raise InputError(f"model option depth={depth} must be 6n + 4: 10, 16, 22, 28, 34, 40 ...")
    return WideResNet(classes, channels, depth, width)
