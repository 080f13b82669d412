"""The known networks. Each is a function (classes, channels, size, *, options) -> nn.Module.

All give logits (b, classes) for images (b, channels, size, size), start from PyTorch's default initialisation
unless they say otherwise, and draw it from torch's global generator: seed that, then build.
"""

import hashlib
from functools import lru_cache
from pathlib import Path

from torch import nn

from iskit.errors import InputError
from iskit.files import root
from iskit.registry import Registry

models: Registry[nn.Module] = Registry("model")


def weights(spec: str) -> str:
    """A hash of the file that a network's option `weights` names, for it may change; empty if there is none."""
    _, options = models.parse(spec)
    path = root() / options.get("weights", "")
    if not path.is_file():
        return ""
    about = path.stat()
    return _hash(path, about.st_size, about.st_mtime_ns)


@lru_cache
def _hash(path: Path, size: int, modified: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=8)).hexdigest()


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
