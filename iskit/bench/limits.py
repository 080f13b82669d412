"""What a device can do at most, measured, and what a training step asks of it, counted."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

SIDE = {"cpu": 2048, "cuda": 8192}  # of matrices large enough to keep all of the device busy
CALLS = 10  # timed together on a GPU, after one that warms up


@dataclass(frozen=True)
class Work:
    """Of one image's share in a training step: floating point operations of convolutions and matrix products (a
    multiply-add is two), and bytes read and written if every operation goes to memory, as without fusion or caches."""

    flop: float
    bytes: float


@dataclass(frozen=True)
class Ceiling:
    """Operations a second of a large matrix product, bytes a second (read and written) of a large copy.

    A training step may well use more than all of the copy's bytes: caches, or fusion, save traffic.
    """

    flop: float
    bytes: float


def work(model: nn.Module, image: Tensor, classes: int, *, bf16: bool = False) -> Work:
    """Counts one step (forward, backward, SGD with momentum) on the batch `image` (b, C, H, W), and divides by b."""
    optimizer = torch.optim.SGD(model.parameters(), 0.0, 0.9, fused=True)
    target = torch.full((len(image), classes), 1 / classes, device=image.device)
    with FlopCounterMode(display=False) as flop, Traffic() as traffic:
        with torch.autocast(image.device.type, torch.bfloat16, enabled=bf16, cache_enabled=False):
            logits = model(image)
        F.cross_entropy(logits.float(), target).backward()
        optimizer.step()
    return Work(flop.get_total_flops() / len(image), traffic.bytes / len(image))


class Traffic(TorchDispatchMode):
    """Adds up the bytes of all tensors that operations take and give; a view moves none."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if not func.is_view:
            tensors = [leaf for leaf in tree_leaves((args, kwargs, out)) if isinstance(leaf, Tensor)]
            self.bytes += sum(tensor.numel() * tensor.element_size() for tensor in tensors)
        return out


def ceiling(device: torch.device, *, bf16: bool = False, side: int | None = None, megabytes: int = 256) -> Ceiling:
    """Measures both, with the threads that torch has now: the best of five, in turns. side: None for the device's."""
    side = side or SIDE[device.type]
    kind = torch.bfloat16 if bf16 else torch.float32
    left, right = (torch.full((side, side), 0.5, dtype=kind, device=device) for _ in range(2))
    source = torch.ones(megabytes << 20, dtype=torch.uint8, device=device)
    target = torch.zeros_like(source)
    product, copy = [], []
    for _ in range(5):
        product.append(_seconds(lambda: left @ right, device))
        copy.append(_seconds(lambda: target.copy_(source), device))
    return Ceiling(2 * side**3 / min(product), 2 * len(source) / min(copy))


def _seconds(function: Callable[[], Any], device: torch.device) -> float:
    """Of a call. On a GPU by its own clock: the host's would count the launch, and the wait for the end."""
    if device.type != "cuda":
        begin = time.perf_counter()
        function()
        return time.perf_counter() - begin
    function()
    start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    for _ in range(CALLS):
        function()
    stop.record()
    stop.synchronize()
    return start.elapsed_time(stop) / 1000 / CALLS
