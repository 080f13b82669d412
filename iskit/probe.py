"""What suits this machine: threads and precision of a training step on a CPU, measured once and kept on disk.

Both change the last bits of a run, so they must not depend on who starts it: the command line, a notebook and a
sweep's workers all find the same answer in the cache. The margins keep a tie from being settled by noise.
Memory format needs no measurement: channels-last was never slower by more than 2 % (RECORDS.md).
"""

import copy
import ctypes
import functools
import hashlib
import json
import math
import platform
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from iskit import files
from iskit.data.cache import locked

DOUBLING = 1.4  # twice the threads must be so many times faster: else the cores are better used by another run
BF16 = 1.2  # bf16 must be so many times faster than float32 to be worth its rounding
ENOUGH = 0.05  # seconds that one way is timed, at least one step


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
    }
    name = hashlib.blake2b(json.dumps(key, sort_keys=True).encode(), digest_size=8).hexdigest()
    path = folder / f"{name}.json"
    with locked(folder / "probe.lock"):  # one at a time: two would measure each other
        try:
            return Choice(**files.read_json(path)["choice"])
        except (OSError, ValueError, KeyError, TypeError):  # absent or damaged
            step = Step(model, shape, batch_size)
            choice = step.choice(precision)
            seconds = {f"{threads} x {kind}": seconds for (threads, kind), seconds in step.seconds.items()}
            files.write_json(path, {"choice": asdict(choice), **key, "seconds": seconds})
            return choice


class Step:
    """Times a training step of a copy of the model; the model and torch's generator stay as they are."""

    def __init__(self, model: nn.Module, shape: tuple[int, int, int], batch_size: int):
        self.model = copy.deepcopy(model)
        pixels = torch.linspace(-2, 2, batch_size * math.prod(shape)).view(batch_size, *shape)
        self.image = pixels.contiguous(memory_format=torch.channels_last)
        self.optimizer = torch.optim.SGD(self.model.parameters(), 0.0, 0.9, fused=True)
        self.seconds: dict[tuple[int, str], float] = {}

    def choice(self, precision: str) -> Choice:
        before = torch.get_num_threads()
        with torch.random.fork_rng(devices=[]):
            try:
                first = "float32" if precision == "auto" else precision
                threads = before
                while threads > 1 and self.time(threads // 2, first) < DOUBLING * self.time(threads, first):
                    threads //= 2
                if precision == "auto":
                    faster = self.time(threads, "float32") > BF16 * self.time(threads, "bf16")
                    precision = "bf16" if faster else "float32"
                return Choice(threads, precision)
            finally:
                torch.set_num_threads(before)

    def time(self, threads: int, precision: str) -> float:
        """Seconds of one step: the shortest seen, for anything else on the machine only makes it longer."""
        if (threads, precision) not in self.seconds:
            torch.set_num_threads(threads)
            self._step(precision)  # allocates, and prepares kernels
            laps: list[float] = []
            while not laps or sum(laps) < ENOUGH:
                start = time.perf_counter()
                self._step(precision)
                laps.append(time.perf_counter() - start)
            self.seconds[threads, precision] = min(laps)
        return self.seconds[threads, precision]

    def _step(self, precision: str) -> None:
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
