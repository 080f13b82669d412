"""Stateless randomness: every draw is a pure function of (seed, stream, epoch, example).

Nothing is consumed, so nothing has to be saved, the order of calls and the size of chunks do not matter, and
a CPU and a GPU draw the same. Per-example draws come from Philox4x32-10 (Salmon et al., SC 2011, "Parallel
random numbers: as easy as 1, 2, 3") in integer tensor operations on the data's device; per-epoch orders and
per-batch draws from NumPy's Philox on the host.
"""

from enum import IntEnum

import numpy as np
import torch
from torch import Tensor

MASK = 0xFFFFFFFF
CHUNK = 1 << 20  # examples at a time: bounds the memory of the integer intermediates


class Stream(IntEnum):
    """Independent sources. ORDER is the experiment's, CHOICE the method's, so that methods share their shuffles."""

    ORDER = 1
    CHOICE = 2
    CROP = 3
    MIX = 4
    OPS = 5
    CONTROL = 6
    TIES = 7
    PROXY = 8
    DATA = 9  # of a data set's limit, its seed always 0: the same examples in every run
    CONDITION = 10  # of a data set's imbalance, duplicates and noise: drawn anew for each seed of a run
    SAMPLE = 11  # of the training examples that are looked at at each evaluation
    ITEM = 16  # of a user's own data set


def philox(counter: tuple[Tensor, Tensor, Tensor, Tensor], key: tuple[int, int]) -> tuple[Tensor, ...]:
    """Philox4x32-10: four (n,) int64 tensors holding 32-bit counters -> four holding 32-bit random words."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        # int64 products wrap, but their 64 bits are those of the unsigned product.
        p0, p1 = c0 * 0xD2511F53, c2 * 0xCD9E8D57
        c0, c1, c2, c3 = (
            ((p1 >> 32) & MASK) ^ c1 ^ k0,
            p1 & MASK,
            ((p0 >> 32) & MASK) ^ c3 ^ k1,
            p0 & MASK,
        )
        k0, k1 = (k0 + 0x9E3779B9) & MASK, (k1 + 0xBB67AE85) & MASK
    return c0, c1, c2, c3


def words(seed: int, stream: int, epoch: int | Tensor, index: Tensor, draws: int) -> Tensor:
    """(n, draws) int64 random words in [0, 2**32), row i a function of (seed, stream, epoch[i], index[i]) alone."""
    columns: list[Tensor] = []
    for block in range(-(-draws // 4)):
        counter = (index & MASK, index >> 32, torch.zeros_like(index) + epoch, torch.full_like(index, block))
        columns.extend(philox(counter, (seed & MASK, stream)))
    return torch.stack(columns[:draws], dim=1)


def uniform(seed: int, stream: int, epoch: int | Tensor, index: Tensor, draws: int = 1) -> Tensor:
    """(n, draws) float64 uniforms in (0, 1), never 0 or 1; row i belongs to example index[i]."""
    return (words(seed, stream, epoch, index, draws).double() + 0.5) / 2**32


def uniform_all(seed: int, stream: int, epoch: int, n: int, device: torch.device | str = "cpu") -> Tensor:
    """(n,) float64 uniforms in (0, 1), one for each of the examples 0 .. n - 1.

    Example i takes word i % 4 of counter i // 4: a quarter of the work of `uniform`. Memory is O(n).
    """
    out = torch.empty(-(-n // 4), 4, dtype=torch.float64, device=device)
    for start in range(0, len(out), CHUNK):
        stop = min(start + CHUNK, len(out))
        index = torch.arange(start, stop, device=device)
        # The top bit of the block number keeps these counters apart from those of `words`.
        counter = (index & MASK, index >> 32, torch.full_like(index, epoch), torch.full_like(index, 1 << 31))
        for lane, word in enumerate(philox(counter, (seed & MASK, stream))):
            out[start:stop, lane] = (word.double() + 0.5) / 2**32
    return out.view(-1)[:n]


def generator(seed: int, stream: int, number: int) -> np.random.Generator:
    """A host generator for one epoch or one batch, itself a function of (seed, stream, number)."""
    return np.random.Generator(np.random.Philox(key=[seed, stream], counter=[0, 0, number, 0]))


def torch_seed(seed: int, step: int) -> int:
    """64 bits to seed torch's own generator with, at a step of a run."""
    # Trap: on a CPU it heeds the lower 32 alone, so these must tell seeds apart too: 2 ** 32 / golden ratio does.
    return (seed << 32) + ((seed * 0x9E3779B1 + step) & MASK)


def permutation(seed: int, stream: int, epoch: int, n: int) -> Tensor:
    """(n,) int64: a uniform random order of 0 .. n - 1, on the host."""
    keys = np.random.Philox(key=[seed, stream], counter=[0, 0, epoch, 1]).random_raw(n)
    return torch.from_numpy(np.argsort(keys))
