"""Scores (N,) for a core-set, the higher the sooner kept, from what a proxy model showed of the whole training set."""

from collections.abc import Iterator

import torch
from torch import Tensor

from iskit.errors import InputError
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


def el2n(run: ProxyRun, size: int) -> Tensor:
    """Norm of the error, softmax(z) - one_hot(label), at the last epoch that is read (Paul et al. 2021)."""
    return run.error[-1]


def aum(run: ProxyRun, size: int, logits: bool = False) -> Tensor:
    """The area under the margin, its mean over the epochs (Pleiss et al. 2020), negated: low ones are kept first.

    Trap: published ports keep the high end, or only the last epoch's margin.
    """
    return -(run.logit_margin if logits else run.margin).mean(0)


def dynunc(run: ProxyRun, size: int, window: int = 10) -> Tensor:
    """Mean over sliding windows of the standard deviation of p in each (He et al. 2024)."""
    return torch.stack([part.std(0) for part in _windows(run.prob, window)]).mean(0)


def dual(run: ProxyRun, size: int, window: int = 10) -> Tensor:
    """As dynunc, each window's times 1 - its mean p (Cho et al. 2025)."""
    return torch.stack([part.std(0) * (1 - part.mean(0)) for part in _windows(run.prob, window)]).mean(0)


def tdds(run: ProxyRun, size: int, window: int = 10) -> Tensor:
    """How unevenly the prediction changes within a window: the norm of its window - 1 changes less their mean; over
    the sliding windows a running mean that gives the last one a weight of .9 (Zhang et al. 2024)."""
    score = torch.zeros_like(run.change[0])
    for part in _windows(run.change, window):
        # A window's first change leads into it from outside. Trap: a port never slides its window.
        change = part[1:]
        score = 0.1 * score + 0.9 * (change - change.mean(0)).norm(dim=0)
    return score


SCORES = {
    score.__name__: score
    for score in (forgetting, confidence, entropy, margin, kcenter, herding, el2n, aum, dynunc, dual, tdds)
}


def beta_density(prob: Tensor, score: Tensor, pruned: float, power: float) -> Tensor:
    """(N,) float64: the density, up to a factor, of Beta(16 - b, b) at each example's mean p (N,), where
    b = 15 (1 - mean p of the 10 highest scores) (1 - pruned ** power) (Cho et al. 2025)."""
    mean = prob.double().mean(0)
    top = mean[score.topk(min(10, len(score))).indices].mean()
    b = 15 * (1 - top) * (1 - pruned**power)
    x = mean.clamp(1e-6, 1 - 1e-6)
    density = (15 - b) * x.log() + (b - 1) * (-x).log1p()
    return (density - density.max()).exp()


def stratified(score: Tensor, strata: int, size: int) -> Tensor:
    """(size,) int64 positions among the scores (n,), which come in random order: their range in `strata` intervals of
    equal width; from the least filled one up each gives all it has, or an equal part of what is left, the first it has
    (Zheng et al. 2023). InputError if all scores are equal.
    """
    # Never learnt, infinite among the forgetting events, comes right above the highest.
    score = score.double().clamp(max=score[score.isfinite()].max() + 1) if score.isinf().any() else score.double()
    low, high = score.min(), score.max()
    if low == high:
        raise InputError(f"sampler option strata={strata} has all {len(score)} examples in one stratum: scores tie")
    # Trap: edges made of the maximum times 1.0001 lose the highest score where that is negative.
    stratum = ((score - low) / (high - low) * strata).long().clamp(max=strata - 1)
    filled = torch.bincount(stratum, minlength=strata)
    taken = torch.zeros_like(filled)
    left = size
    for done, one in enumerate(filled.argsort(stable=True).tolist()):
        taken[one] = min(int(filled[one]), left // (strata - done))
        left -= int(taken[one])
    order = stratum.argsort(stable=True)
    place = torch.arange(len(order), device=order.device) - (filled.cumsum(0) - filled)[stratum[order]]
    return order[place < taken[stratum[order]]]


def _windows(trace: Tensor, window: int) -> Iterator[Tensor]:
    """Each run of so many epochs of (epochs, n), the first to the last."""
    return (trace[first : first + window] for first in range(len(trace) - window + 1))


def _centred(feature: Tensor) -> tuple[Tensor, Tensor]:
    """(N, D) with mean zero, so that the expanded squares cancel less; and the squared norms (N,)."""
    x = feature - feature.mean(0)
    return x, x.square().sum(1)
