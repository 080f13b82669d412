"""Draws by rank: the higher the last known loss, the likelier, ever less so as the run goes on.

cite: Loshchilov & Hutter 2015, "Online Batch Selection for Faster Training of Neural Networks"
changes: which examples, once an epoch
passes: none extra; N forward passes each `recompute` epochs if that is set, and in unit=cost the budget pays for them
rule: r = 1 .. N the rank by last known loss, highest first, never trained before all, ties at random;
  P(r) proportional to exp(-log(s_e) r / N), s_e = pressure ** (1 - t); N x B draws by P without replacement, no
  weights: biased on purpose. Under mixing the loss is that of the mixed row, kept under its own example
differs: once an epoch instead of once a step, without replacement; recomputed losses are of augmented examples,
  scored as they would be trained
neutral: budget=1
"""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from iskit.budget import Budget
from iskit.errors import InputError
from iskit.randomness import Stream, permutation, uniform_all
from iskit.samplers.base import Batch, Score, samplers
from iskit.samplers.draw import permuted, ranking, successive
from iskit.samplers.last_loss import LastLoss


@samplers.register("online_batch")
class OnlineBatch(LastLoss):
    """pressure: how much likelier the first rank is than the last, at t = 0; recompute: after so many epochs comes a
    walk over all examples that only refreshes their losses, 0 never; control: permute the losses."""

    def __init__(self, *, pressure: float = 100.0, recompute: int = 0, control: bool = False):
        if pressure < 1:
            raise InputError(f"sampler option pressure={pressure!r} must be at least 1, which draws uniformly")
        if recompute < 0:
            raise InputError(f"sampler option recompute={recompute} must be a number of epochs, or 0 for never")
        self.pressure, self.recompute, self.control = pressure, recompute, control
        self.needs_labels = recompute > 0

    def bind(self, *, label: Tensor, budget: Budget, epochs: int, batch_size: int, seed: int) -> None:
        super().bind(label=label, budget=budget, epochs=epochs, batch_size=batch_size, seed=seed)
        self.spent = torch.tensor(2**62)  # the first epoch that was too late for a walk that only scores; on the host

    def plan(self, t: float, epoch: int, size: int) -> Tensor | None:
        # A walk that cannot be paid whole is not begun. Before its end one more batch may be trained, and its last pool
        # is paid whole, though some of its rows are of the next epoch.
        price = self.n + 4 * self.batch_size
        if self.recompute and self.only_scores(epoch) and not self.budget.affords(t, price):
            self.spent.clamp_(max=epoch)
        if size >= self.n or (self.recompute and self.only_scores(epoch)):
            return None
        loss = permuted(self.loss, self.seed, epoch) if self.control else self.loss
        # Trap: ranked by position, ties (before the first epoch, all) would favour the head of the data set.
        order = ranking(loss, permutation(self.seed, Stream.TIES, epoch, self.n).to(self.device))
        probability = torch.empty(self.n, dtype=torch.float64, device=self.device)
        probability[order] = self.probability(t)
        known = loss.isfinite()  # the others tie: each of them comes as likely as they do on average
        tied = torch.where(known, 0.0, probability).sum() / (~known).sum()
        self.tell(torch.where(known, probability, tied))
        return successive(probability, size, uniform_all(self.seed, Stream.CHOICE, epoch, self.n, self.device)).float()

    def probability(self, t: float) -> Tensor:
        """(N,) float64: P of the ranks, highest loss first; sums to 1."""
        rank = torch.arange(1, self.n + 1, dtype=torch.float64, device=self.device)
        share = self.pressure ** ((t - 1) * rank / self.n)
        return share / share.sum()

    def only_scores(self, epoch: Any) -> Any:
        """Whether an epoch (int), or each of several (array), is a walk that trains nothing."""
        return (epoch % (self.recompute + 1) == self.recompute) & (epoch < int(self.spent))

    def select(self, pool: Batch, score: Score) -> tuple[Tensor, Tensor] | None:
        if not self.recompute:
            return None
        scored = self.only_scores(pool.epoch.cpu().numpy())  # the pass's only wait for a GPU
        if not scored.any():
            return None
        asked, trained = (
            torch.from_numpy(np.flatnonzero(which)).to(self.device, non_blocking=True) for which in (scored, ~scored)
        )
        rows = pool.take(asked)
        self.loss[rows.index] = F.cross_entropy(score(rows), rows.target, reduction="none")
        return trained, pool.weight[trained]
