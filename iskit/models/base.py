"""The known networks. Each is a function (classes, channels, size, *, options) -> nn.Module.

All give logits (b, classes) for images (b, channels, size, size), start from PyTorch's default initialisation
unless they say otherwise, and draw it from torch's global generator: seed that, then build.
"""

from torch import nn

from iskit.errors import InputError
from iskit.registry import Registry

models: Registry[nn.Module] = Registry("model")


def at_least_one(**options: int) -> None:
    """InputError for the first option that is below 1."""
    for name, value in options.items():
        if value < 1:
            raise InputError(f"model option {name}={value} must be at least 1")


def share(**options: float) -> None:
    """InputError for the first option that is not in [0, 1)."""
    for name, value in options.items():
        if not 0 <= value < 1:
            raise InputError(f"model option {name}={value!r} must be at least 0 and below 1")
