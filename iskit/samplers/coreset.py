"""Scores (N,) for a core-set, the higher the sooner kept, from what a proxy model showed of the whole training set."""

import torch
from torch import Tensor

from iskit.samplers.base import ProxyRun


def forgetting(run: ProxyRun, size: int) -> Tensor:
    """How often an example was right and wrong the next time (Toneva et al. 2019); infinite if it never was right."""
    events = (run.correct[:-1] & ~run.correct[1:]).sum(0).float()
    # Trap: never learnt has no events either, but is the opposite of never forgotten.
    return torch.where(run.correct.any(0), events, torch.inf)


def confidence(run: ProxyRun, size: int) -> Tensor:
    """1 - the highest probability (Coleman et al. 2020, least confidence)."""
    return 1 - run.logits.softmax(1).amax(1)


def entropy(run: ProxyRun, size: int) -> Tensor:
    """Entropy of the prediction, in nats."""
    return torch.special.entr(run.logits.softmax(1)).sum(1)


def margin(run: ProxyRun, size: int) -> Tensor:
    """1 - (the highest probability - the second highest)."""
    first, second = run.logits.softmax(1).topk(2).values.unbind(1)
    return 1 - (first - second)


def kcenter(run: ProxyRun, size: int) -> Tensor:
    """Greedy k-center (Sener & Savarese 2018): first the example nearest the mean feature, then always the one
    farthest from all kept. One product (N, D) x (D,) a pick, memory O(N). The score counts down from `size`."""
    x, norm = _centred(run.feature)
    score = torch.zeros_like(norm)
    nearest = torch.full_like(norm, torch.inf)
    pick = norm.argmin(0, keepdim=True)
    for left in range(size, 0, -1):
        score.index_fill_(0, pick, left)
        distance = torch.addmv(norm, x, x[pick][0], alpha=-2) + norm[pick]
        # Kept ones are out, lest one of several equal images is picked twice.
        nearest = torch.minimum(nearest, distance).index_fill_(0, pick, -torch.inf)
        pick = nearest.argmax(0, keepdim=True)
    return score


def herding(run: ProxyRun, size: int) -> Tensor:
    """Herding (Welling 2009): always the example that brings the mean feature of the kept nearest to that of all.
    One product (N, D) x (D,) a pick, memory O(N). The score counts down from `size`."""
    x, norm = _centred(run.feature)
    score = torch.zeros_like(norm)
    left_out = torch.zeros_like(norm)
    total = torch.zeros_like(x[0])
    for left in range(size, 0, -1):
        # |total + x|^2 without |total|^2. Trap: a published argmax here is worse than random.
        pick = (torch.addmv(norm, x, total, alpha=2) + left_out).argmin(0, keepdim=True)
        score.index_fill_(0, pick, left)
        left_out.index_fill_(0, pick, torch.inf)
        total = total + x[pick][0]
    return score


SCORES = {score.__name__: score for score in (forgetting, confidence, entropy, margin, kcenter, herding)}


def _centred(feature: Tensor) -> tuple[Tensor, Tensor]:
    """(N, D) with mean zero, so that the expanded squares cancel less; and the squared norms (N,)."""
    x = feature - feature.mean(0)
    return x, x.square().sum(1)
