r"""Drops some of the examples it has learnt best, lets the others of them count more, and ends on all.

cite: Qin et al. 2024, "InfoBatch: Lossless Training Speed Up by Unbiased Dynamic Data Pruning"
changes: which examples and their weights, once an epoch
passes: none extra
rule: in epochs that begin at t < 1 - anneal, each example whose last loss is below the mean is dropped with
  probability prune, else weighted 1 / (1 - prune); the others weigh 1; all weights times |kept| / N, so that a batch's
  mean estimates the mean gradient. Under mixing the loss is that of the mixed row, kept under its own example
formula: w_i = \frac{|\text{kept}|}{N} \cdot \frac{1}{1 - r} \text{ where } \ell_i < \bar \ell \text{, kept with
  probability } 1 - r; \quad w_i = \frac{|\text{kept}|}{N} \text{ elsewhere}
when: the mean gradient should stay that of all examples, and a part of the epochs' work is saving enough
differs: the published weights lack |kept| / N, a hidden factor N / |kept| on the learning rate (kept_mean=True);
  each epoch prunes once, by the run's own seed; never trained examples are never dropped
neutral: prune=0
"""

import torch
from torch import Tensor

from iskit.budget import Budget
from iskit.errors import InputError
from iskit.randomness import Stream, uniform_all
from iskit.samplers.base import samplers
from iskit.samplers.draw import permuted
from iskit.samplers.last_loss import LastLoss


@samplers.register("infobatch")
class InfoBatch(LastLoss):
    """prune: share of the well learnt to drop; anneal: last share of the run that trains on everything; kept_mean:
    weights as published, larger steps; control: permute the losses among the examples."""

    def __init__(self, *, prune: float = 0.5, anneal: float = 0.125, kept_mean: bool = False, control: bool = False):
        if not 0 <= prune < 1:
            raise InputError(f"sampler option prune={prune!r} must be a share of at least 0 and below 1")
        if not 0 <= anneal <= 1:
            raise InputError(f"sampler option anneal={anneal!r} must be a share of the run between 0 and 1")
        self.prune, self.anneal, self.kept_mean, self.control = prune, anneal, kept_mean, control

    def bind(self, *, label: Tensor, budget: Budget, epochs: int, batch_size: int, seed: int) -> None:
        super().bind(label=label, budget=budget, epochs=epochs, batch_size=batch_size, seed=seed)
        self.kept = torch.ones((), device=self.device)  # share of the examples, in the epoch at hand

    def plan(self, t: float, epoch: int, size: int) -> Tensor | None:
        if self.prune == 0 or t >= 1 - self.anneal:
            self.kept.fill_(1)
            return None
        loss = permuted(self.loss, self.seed, epoch) if self.control else self.loss
        known = loss.isfinite()
        mean = torch.where(known, loss, 0.0).double().sum() / known.sum()  # none known: NaN, nothing lies below it
        well_learnt = loss < mean
        self.tell(torch.where(well_learnt, 1 - self.prune, 1.0))
        dropped = well_learnt & (uniform_all(self.seed, Stream.CHOICE, epoch, self.n, self.device) < self.prune)
        weight = torch.where(well_learnt, 1 / (1 - self.prune), 1.0).masked_fill(dropped, 0.0)
        self.kept.copy_((~dropped).float().mean())
        # Trap: a batch's mean runs over kept examples only, so as published each step is N / |kept| too large.
        return weight if self.kept_mean else weight * self.kept

    def numbers(self) -> dict[str, Tensor | float]:
        return {"kept": self.kept}
