"""How a GPU computes during a run: fastest, or repeatable to the last bit."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def numerics(device: torch.device, deterministic: bool) -> Iterator[None]:
    """Sets torch's switches for a run on a GPU, and puts them back. A CPU needs none: it repeats itself."""
    if device.type != "cuda":
        yield
        return
    before = torch.are_deterministic_algorithms_enabled()
    deterministic = deterministic or before
    with torch.backends.cudnn.flags(
        enabled=True, benchmark=not deterministic, deterministic=deterministic, allow_tf32=False
    ):
        torch.use_deterministic_algorithms(deterministic)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(before)
