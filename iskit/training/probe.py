"""What suits this machine: threads and precision of a training step on a CPU, measured once and kept on disk.

Both change the last bits of a run, so they must not depend on who starts it: the command line, a notebook and a
sweep's workers all find the same answer in the cache. Nor on what else the machine does just then: a step is timed on
one thread, by that thread's own clock, which stands still while others have the core. (Timed by the wall, with all
threads, the answer changed with the load.) Memory format needs no measurement: channels-last was never slower than
contiguous by more than 2 %.
"""

import copy
import ctypes
import functools
import math
import platform
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from iskit import files
from iskit.data.cache import locked
from iskit.errors import InputError

THREAD = 10e-3  # seconds of a step's work that make a thread worth waking; less is better left to another run
BF16 = 1.2  # bf16 must be so many times faster than float32 to be worth its rounding
ROWS = 64  # at most in a timed step: enough to compare, and large networks take their time
ENOUGH = 0.1  # seconds that each precision is timed, at least one step


@dataclass(frozen=True)
class Choice:
    """threads: of a step; precision: float32 or bf16."""

    threads: int
    precision: str


def choose(
    model: nn.Module, spec: str, shape: tuple[int, int, int], *, batch_size: int, precision: str, folder: Path
) -> Choice:
    """What to train `model` with on this CPU; from `folder` if it was measured before, else measured now.

    spec: the model's canonical spelling; shape: (C, H, W) of an image; precision: auto, or what it must be. At most
    the threads that torch may use now: OMP_NUM_THREADS, or the cores. Takes about a second, a few for large models.
    A folder that cannot be written is no error: what is not there is then measured each time.
    """
    key = {
        "cpu": cpu(),
        "torch": torch.__version__,
        "at_most": torch.get_num_threads(),
        "model": spec,
        "parameters": sum(p.numel() for p in model.parameters()),  # the number of classes is among what sets it
        "image": list(shape),
        "batch_size": batch_size,
        "precision": precision,
        "rule": [THREAD, BF16, ROWS],
    }
    path = folder / f"{files.digest(key)}.json"
    with ExitStack() as lock:
        with suppress(InputError):  # cannot be written
            lock.enter_context(locked(folder / "probe.lock"))  # one at a time: two would measure each other
        try:
            return Choice(**files.read_json(path)["choice"])
        except (OSError, ValueError, KeyError, TypeError):  # absent or damaged
            kinds = ("float32", "bf16") if precision == "auto" else (precision,)
            seconds = timed(Step(model, shape, min(batch_size, ROWS)), kinds)
            if precision == "auto":
                precision = "bf16" if seconds["float32"] > BF16 * seconds["bf16"] else "float32"
            work = seconds[precision] * batch_size / min(batch_size, ROWS)
            choice = Choice(min(torch.get_num_threads(), max(1, int(work / THREAD))), precision)
            with suppress(OSError):
                files.remove_orphans(path)
                files.write_json(path, {"choice": asdict(choice), **key, "seconds": seconds})
            return choice


def timed(step: Callable[[str], None], kinds: Iterable[str]) -> dict[str, float]:
    """Seconds that one thread works for a step in each precision: the fewest seen."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    found = {}
    try:
        with torch.random.fork_rng(devices=[]):
            for kind in kinds:
                step(kind)  # allocates, and prepares kernels
                laps: list[float] = []
                while sum(laps) < ENOUGH:
                    start = time.thread_time()
                    step(kind)
                    laps.append(time.thread_time() - start)
                found[kind] = min(laps)
    finally:
        torch.set_num_threads(before)
    return found


class Step:
    """`step(precision)` is a training step of a copy of the model: the model itself stays as it is."""

    def __init__(self, model: nn.Module, shape: tuple[int, int, int], rows: int):
        self.model = copy.deepcopy(model)
        pixels = torch.linspace(-2, 2, rows * math.prod(shape)).view(rows, *shape)
        self.image = pixels.contiguous(memory_format=torch.channels_last)
        self.optimizer = torch.optim.SGD(self.model.parameters(), 0.0, 0.9, fused=True)

    def __call__(self, precision: str) -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16", cache_enabled=False):
            logits = self.model(self.image)
        F.cross_entropy(logits.float(), torch.zeros(len(logits), dtype=torch.int64)).backward()
        self.optimizer.step()
        self.optimizer.zero_grad()


@functools.cache
def cpu() -> str:
    """The processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):  # not Linux, or a processor that does not say
        return platform.processor() or platform.machine()


@functools.cache
def keep_memory() -> bool:
    """Tells the C library to keep freed memory for the next step instead of giving it back to the system, and back.

    The same as MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=-1 MALLOC_TOP_PAD_=268435456, but from within, so that
    it holds wherever a run is started. Whether it did: only glibc can.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # macOS, Windows
        return False
    trim_threshold, top_pad, mmap_max = -1, -2, -4  # malloc.h
    return bool(mallopt(mmap_max, 0) and mallopt(trim_threshold, -1) and mallopt(top_pad, 256 << 20))


def has_bf16() -> bool:
    """Whether this CPU computes in bf16 by itself. Others do it too, slowly, with the same numbers but for rounding."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
