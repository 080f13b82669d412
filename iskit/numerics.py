"""How a GPU computes during a run: fastest, or repeatable to the last bit; and what is said when its memory is full."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from iskit.errors import InputError


@contextmanager
def numerics(device: torch.device, deterministic: bool) -> Iterator[None]:
    """Sets torch's switches for a run on a GPU, and puts them back. A CPU needs none: it repeats itself."""
    if device.type != "cuda":
        yield
        return
    # Read once a process, so also before a run that need not be repeatable: a later one may have to be.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = torch.are_deterministic_algorithms_enabled()
    with torch.backends.cudnn.flags(
        enabled=True, benchmark=not deterministic, deterministic=deterministic, allow_tf32=False
    ):
        torch.use_deterministic_algorithms(deterministic)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(before)


@contextmanager
def memory_told(model: nn.Module, batch_size: int) -> Iterator[None]:
    """A GPU whose memory is full is an InputError that names the batch size and the model."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        parameters = sum(p.numel() for p in model.parameters())
        reason = str(error).partition("\n")[0]
        # From None: the traceback of the failed call would hold its tensors.
        raise InputError(
            f"batch_size={batch_size} with a {type(model).__name__} of {parameters:,} parameters does not fit into the "
            f"GPU's memory: lower batch_size, take a narrower model, or end what else uses the GPU ({reason})"
        ) from None
