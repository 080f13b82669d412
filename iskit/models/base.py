"""The known networks. Each is a function (classes, channels, size, *, options) -> nn.Module.

All give logits (b, classes) for images (b, channels, size, size), start from PyTorch's default initialisation
unless they say otherwise, and draw it from torch's global generator: seed that, then build.
"""

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from iskit.errors import InputError, shown
from iskit.files import located
from iskit.inputs import fits, free_memory
from iskit.registry import Registry

TENSORS = 10_000  # of parameters: the deepest residual networks have 3,000
WIDEST = 1_000_000


class Networks(Registry[nn.Module]):
    """Builds no network that the memory cannot hold with its gradients and the optimizer's momentum."""

    def partial(self, spec: str) -> Callable[..., nn.Module]:
        build = super().partial(spec)

        def bounded(*supplied: Any) -> nn.Module:
            with _counted(spec):
                return build(*supplied)

        return bounded


@contextmanager
def _counted(spec: str) -> Iterator[None]:
    """InputError at the first parameter that is too many: each is counted before its first weights are drawn."""
    tensors = total = 0

    def count(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        nonlocal tensors, total
        if parameter is None:
            return
        tensors, total = tensors + 1, total + 3 * parameter.nbytes
        if tensors > TENSORS:
            raise InputError(f"model={shown(spec)} has more than {TENSORS} tensors of parameters: lower depth")
        fits(f"model={shown(spec)}, with gradients and momentum,", total, "lower width or depth", free)

    free = free_memory()
    hook = register_module_parameter_registration_hook(count)
    try:
        yield
    except RuntimeError as error:
        if "DefaultCPUAllocator" not in str(error):
            raise
        raise InputError(f"model={shown(spec)} does not fit in memory: lower width or depth") from error
    finally:
        hook.remove()


models = Networks("model")


def with_located_weights(spec: str, data_dir: Path) -> str:
    """The spec with the file that its option `weights` names where that lies, see `iskit.files.located`."""
    name, options = models.parse(spec)
    path = _weights(options, data_dir)
    return models.spec(name, options | {"weights": str(path)}) if path else spec


def weights(spec: str, data_dir: Path) -> str:
    """A hash of the file that a network's option `weights` names, for it may change; empty if there is none."""
    _, options = models.parse(spec)
    path = _weights(options, data_dir)
    if path is None:
        return ""
    about = path.stat()
    return _hash(path, about.st_size, about.st_mtime_ns)


def _weights(options: Mapping[str, Any], data_dir: Path) -> Path | None:
    if "weights" not in options:
        return None
    path = located(options["weights"], data_dir)
    return path if os.path.isfile(path) else None  # unlike Path.is_file, which may raise


@lru_cache
def _hash(path: Path, size: int, modified: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=8)).hexdigest()


def at_least_one(**options: int) -> None:
    """InputError for the first option that is below 1, or beyond what any network has."""
    for name, value in options.items():
        if not 1 <= value <= WIDEST:
            raise InputError(
                f"model option {name}={value} must be at least 1{'' if value < 1 else f', at most {WIDEST}'}"
            )


def share(**options: float) -> None:
    """InputError for the first option that is not in [0, 1)."""
    for name, value in options.items():
        if not 0 <= value < 1:
            raise InputError(f"model option {name}={value!r} must be at least 0 and below 1")
