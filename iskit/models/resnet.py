"""Residual networks for small images (He et al. 2016): a 3x3 stem of stride 1, no pooling before the end."""

import torch.nn.functional as F
from torch import Tensor, nn

from iskit.models.base import at_least_one, models


class Block(nn.Module):
    """The basic residual block, with a projection where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class ResNet(nn.Module):
    """The stem, groups of blocks that double the width and halve the side, a mean over the image, a linear head."""

    def __init__(self, classes: int, channels: int, width: int, groups: int, blocks: int):
        super().__init__()
        at_least_one(width=width)
        layers: list[nn.Module] = [
            nn.Conv2d(channels, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        ]
        inputs = width
        for group in range(groups):
            outputs = width * 2**group
            for block in range(blocks):
                layers.append(Block(inputs, outputs, stride=2 if group > 0 and block == 0 else 1))
                inputs = outputs
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(inputs, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).mean((2, 3)))


@models.register("resnet18", "ResNet-18")
def resnet18(classes: int, channels: int, size: int, *, width: int = 64) -> nn.Module:
    """ResNet-18 for small images, the paper's: widths 64-128-256-512, 11.17 M parameters at 10 classes.

    width: the first of them, the others in proportion.
    """
    return ResNet(classes, channels, width, groups=4, blocks=2)


@models.register("resnet8", "ResNet-8")
def resnet8(classes: int, channels: int, size: int, *, width: int = 16) -> nn.Module:
    """The smallest of He et al.'s CIFAR family (6n + 2 layers, n = 1): widths 16-32-64.

    width: the first of them, the others in proportion.
    """
    return ResNet(classes, channels, width, groups=3, blocks=1)


@models.register("resnet20", "ResNet-20")
def resnet20(classes: int, channels: int, size: int, *, width: int = 16) -> nn.Module:
    """He et al.'s CIFAR network with n = 3: widths 16-32-64, .27 M parameters at 10 classes.

    width: the first of them, the others in proportion.
    """
    return ResNet(classes, channels, width, groups=3, blocks=3)
