"""Draws that several samplers share."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from iskit.randomness import Stream, uniform_all


def successive(score: Tensor, size: int, uniform: Tensor) -> Tensor:
    """Draws `size` examples without replacement, one after the other with probability proportional to the score.

    score (N,) positive, need not sum to 1; uniform (N,) in (0, 1). Returns a (N,) bool mask.
    Keys score / E with E ~ Exp(1), the largest win (Efraimidis & Spirakis 2006): the law of NumPy's
    choice(replace=False, p=score), without its loop, synchronisation or 2^24 limit of torch.multinomial.
    """
    mask = torch.zeros_like(score, dtype=torch.bool)
    mask[torch.topk(score / -uniform.log(), size, sorted=False).indices] = True
    return mask


def distances(weights: Sequence[Tensor]) -> Tensor:
    """(k,) float64 in [0, 1): how far each of k weights (m_i,), which need not sum to 1, are from equal ones.

    1/2 sum |q_i - 1/m| with q = weight / sum: the share of the weight that would have to move. Exactly 0 if all are
    equal; not a number if all are 0, or there are none.
    """
    device = weights[0].device
    size = torch.tensor([len(weight) for weight in weights]).to(device, non_blocking=True)
    which = torch.arange(len(weights), device=device).repeat_interleave(size, output_size=sum(map(len, weights)))
    flat = torch.cat(list(weights)).double()
    nothing = torch.zeros(len(weights), dtype=torch.float64, device=device)
    mean = nothing.index_add(0, which, flat) / size
    # What rounding makes of equal weights is no choice.
    return F.threshold(nothing.index_add(0, which, (flat - mean[which]).abs()) / (2 * size * mean), 1e-9, 0.0)


def distance(weight: Tensor) -> Tensor:
    """() float64: that of one weight (m,), in fewer operations; the last bits may differ from those of `distances`."""
    weight = weight.double()
    mean = weight.mean()
    return F.threshold((weight - mean).abs().mean() / (2 * mean), 1e-9, 0.0)


def permuted(score: Tensor, seed: int, number: int) -> Tensor:
    """The random control: the same scores (n,) in a random order, so their distribution without their information.

    number: of the epoch or the pool; each has its own permutation, drawn on the score's device.
    """
    order = uniform_all(seed, Stream.CONTROL, number, len(score), score.device).argsort(stable=True)
    return score[order]


def inclusion(score: Tensor, mask: Tensor, uniform: Tensor) -> Tensor:
    """(N,) probability of each example to be in the set that `successive` drew with these arguments, given the others.

    Given the largest key left out, example i is in if its E is below score / key: probability 1 - exp(-score / key).
    The drawn values divided by it sum, in expectation, to the sum over all examples (Cohen & Kaplan 2007, "rank
    conditioning"). Trap: size x P, the law of draws with replacement, is too small a divisor here for low scores
    and exceeds 1 for high ones.
    """
    largest = torch.where(mask, 0.0, score / -uniform.log()).max()
    return -torch.expm1(-score / largest)


def ranking(score: Tensor, shuffled: Tensor) -> Tensor:
    """(N,) int64: the examples from the highest score to the lowest, ties in the order that `shuffled` (N,) has."""
    return shuffled[score[shuffled].argsort(descending=True, stable=True)]
