"""Four convolutions, for tiny images and quick looks."""

from torch import nn

from iskit.models.base import at_least_one, models


@models.register("cnn")
def cnn(classes: int, channels: int, size: int, *, width: int = 16) -> nn.Module:
    """Four 3x3 convolutions with batch norm: widths w, w, 2w, 2w, halved once between the pairs.

    width: w.
    """
    at_least_one(width=width)
    layers: list[nn.Module] = []
    inputs = channels
    for outputs, stride in ((width, 1), (width, 1), (2 * width, 2), (2 * width, 1)):
        layers += [
            nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
        ]
        inputs = outputs
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, classes))
