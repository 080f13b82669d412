r"""Trains from easy to hard again and again: a window slides over groups of examples of like loss.

cite: Zhou et al. 2025, "Scale Efficient Training for Large Datasets" (SeTa)
changes: which examples, once an epoch
passes: none extra
rule: in epoch e, counted from 0, of a random (1 - prune) N examples, by their last losses (3 if never trained) in
  `groups` groups by one-dimensional k-means, lowest first, W = round(groups x scale) groups are trained, from group
  s = e mod (groups - W + 1) on; in the first epoch all of them; in epochs that begin at t >= 1 - anneal the random
  examples, whatever their loss. No weights. Under mixing the loss is that of the mixed row, kept under its own example
formula: \text{train groups } s, \ldots, s + W - 1 \text{ of } G \text{ by loss}, \quad s = e \bmod (G - W + 1)
when: easy examples should come before hard ones, again and again
differs: groups are very unequal, so that what an epoch trains depends on the data: the run ends at its budget; where
  k-means leaves a group empty, as with equal losses, the groups are equal parts of the order by loss; anneal is .125 of
  the budget, not of the epochs
neutral: prune=0, scale=1
"""

import torch
from torch import Tensor

from iskit.budget import Budget
from iskit.errors import InputError
from iskit.randomness import Stream, permutation
from iskit.samplers.base import samplers
from iskit.samplers.draw import permuted
from iskit.samplers.last_loss import LastLoss

UNKNOWN = 3.0  # the loss of what was never trained
ROUNDS = 100  # of k-means, at most


@samplers.register("seta")
class SeTa(LastLoss):
    """prune: share of the examples that an epoch leaves out at random; groups: of like loss; scale: share of the groups
    in the window; anneal: last share of the run without groups; control: permute the losses among the examples."""

    def __init__(
        self,
        *,
        prune: float = 0.1,
        groups: int = 10,
        scale: float = 0.5,
        anneal: float = 0.125,
        control: bool = False,
    ):
        if not 0 <= prune < 1:
            raise InputError(f"sampler option prune={prune!r} must be a share of at least 0 and below 1")
        if groups < 1:
            raise InputError(f"sampler option groups={groups} must be at least 1")
        if not 0 < scale <= 1 or round(groups * scale) == 0:
            raise InputError(
                f"sampler option scale={scale!r} of {groups} groups must be a share of at least one of them, at most 1"
            )
        if not 0 <= anneal <= 1:
            raise InputError(f"sampler option anneal={anneal!r} must be a share of the run between 0 and 1")
        self.prune, self.groups, self.window = prune, groups, round(groups * scale)
        self.anneal, self.control = anneal, control

    def bind(self, *, label: Tensor, budget: Budget, epochs: int, batch_size: int, seed: int) -> None:
        super().bind(label=label, budget=budget, epochs=epochs, batch_size=batch_size, seed=seed)
        self.count = round((1 - self.prune) * self.n)
        if self.groups > self.count:
            raise InputError(
                f"sampler option groups={self.groups} is more than the {self.count} examples that an epoch groups, so "
                f"that some would have no member: set it to at most {self.count}"
            )

    def plan(self, t: float, epoch: int, size: int) -> Tensor | None:
        count = self.count
        whole = self.window == self.groups or epoch == 0 or t >= 1 - self.anneal
        if whole and count == self.n:
            return None
        rows = permutation(self.seed, Stream.CHOICE, epoch, self.n)[:count].to(self.device)
        if not whole:
            loss = permuted(self.loss, self.seed, epoch) if self.control else self.loss
            # Within groups the order is by loss, ties in that of the draw.
            loss, order = loss[rows].masked_fill_(loss[rows].isinf(), UNKNOWN).sort(stable=True)
            edges = grouped(loss, self.groups)
            first = epoch % (self.groups - self.window + 1)
            rows = rows[order[int(edges[first]) : int(edges[first + self.window])]]
            self.tell(1 - len(rows) / count)
        weight = torch.zeros(self.n, device=self.device)
        weight[rows] = 1
        return weight


def grouped(value: Tensor, k: int) -> Tensor:
    """(k + 1,) int64 places at which k groups of the sorted values (m,) begin and, the last one, end.

    k-means in one dimension (Lloyd's steps from equal parts to a fixed point): its groups are intervals, so a step
    needs sums between places and the places of k - 1 midpoints. Equal parts if there are fewer than k distinct groups.
    """
    m = len(value)
    equal = torch.arange(k + 1, device=value.device) * m // k
    total = torch.cat([value.new_zeros(1, dtype=torch.float64), value.double().cumsum(0)])
    edges = equal
    for _ in range(ROUNDS):
        mean = total[edges].diff() / edges.diff()
        inner = torch.searchsorted(value, ((mean[1:] + mean[:-1]) / 2).to(value.dtype))
        new = torch.cat([equal[:1], inner, equal[-1:]])
        if torch.equal(new, edges):
            break
        if (new.diff() == 0).any():
            return equal
        edges = new
    return edges
