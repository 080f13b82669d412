"""How varied the trained examples were, from how often each was trained."""

from collections.abc import Mapping

import torch
from torch import Tensor


def shares(counts: Tensor) -> Tensor:
    """(N,) sample counts -> (N,) float64 q = c / sum c; all zero if nothing was trained."""
    counts = counts.double()
    return counts / counts.sum().clamp(min=1)


def entropy(counts: Tensor) -> float:
    """H = -sum q log q in nats; log N if all examples were trained equally often, 0 if only one was."""
    return torch.special.entr(shares(counts)).sum().item()


def coverage(counts: Tensor) -> float:
    """The share of examples trained at least once."""
    return (counts > 0).double().mean().item()


def unique(counts: Tensor) -> int:
    """How many examples were trained at least once."""
    return int((counts > 0).sum())


def flagged(counts: Tensor, flags: Mapping[str, Tensor]) -> dict[str, float]:
    """`share_mislabelled` and the like: the share of what was trained that bears each of the flags (N,) bool."""
    share = shares(counts)
    return {f"share_{name}": (share * flag).sum().item() for name, flag in flags.items()}


def effective_sample_size(counts: Tensor) -> float:
    """1 / sum q^2 (Kish 1965): as many examples trained equally often would be as varied; 0 if none was."""
    squares = shares(counts).square().sum().item()
    return 1 / squares if squares else 0.0
