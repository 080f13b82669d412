"""Small tensors that never change, made once for a device."""

from functools import lru_cache

import torch
from torch import Tensor


@lru_cache(maxsize=64)
def constant(values: tuple[float, ...], device: torch.device) -> Tensor:
    """The values as float32 on the device; not to be written to. Made at each use, the host would wait for the GPU."""
    return torch.tensor(values, device=device)
