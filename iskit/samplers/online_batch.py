r"""Draws by rank: the higher the last known loss, the likelier, ever less so as the run goes on.

cite: Loshchilov & Hutter 2015, "Online Batch Selection for Faster Training of Neural Networks"
changes: which examples, once an epoch
passes: none extra; N forward passes each `recompute` epochs if that is set, and in unit=cost the budget pays for them
rule: r = 1 .. N the rank by last known loss, highest first, never trained before all, ties at random;
  P(r) proportional to exp(-log(s_e) r / N), s_e = pressure ** (1 - t); N x B draws by P without replacement, no
  weights: biased on purpose. Under mixing the loss is that of the mixed row, kept under its own example
formula: P_i \propto \exp\left( -\log(s_e) \frac{r_i}{N} \right), \quad s_e = s^{1 - t}, \quad r_i \text{ the rank by
  loss}
when: scoring must cost nothing, and the preference should fade as the run ends; few labels are wrong
differs: once an epoch instead of once a step, without replacement; recomputed losses are of augmented examples,
  scored as they would be trained
neutral: budget=1
"""

import torch
from torch import Tensor

from iskit.budget import Volume
from iskit.errors import InputError
from iskit.randomness import Stream, permutation, uniform_all
from iskit.samplers.base import samplers
from iskit.samplers.draw import permuted, ranking, successive
from iskit.samplers.last_loss import LastLoss
from iskit.samplers.recompute import Recompute


@samplers.register("online_batch")
class OnlineBatch(Recompute, LastLoss):
    """pressure: how much likelier the first rank is than the last, at t = 0; recompute: after so many epochs comes a
    walk over all examples that only refreshes their losses, 0 never; volume: how an epoch's share of the examples
    goes over the epochs, see unif; control: permute the losses."""

    def __init__(
        self, *, pressure: float = 100.0, recompute: int = 0, volume: Volume = "constant", control: bool = False
    ):
        if pressure < 1:
            raise InputError(f"sampler option pressure={pressure!r} must be at least 1, which draws uniformly")
        if recompute < 0:
            raise InputError(f"sampler option recompute={recompute} must be a number of epochs, or 0 for never")
        self.pressure, self.recompute, self.volume, self.control = pressure, recompute, volume, control
        self.needs_labels = recompute > 0

    def plan(self, t: float, epoch: int, size: int) -> Tensor | None:
        if self.scores(t, epoch) or size >= self.n:
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

    def refresh(self, index: Tensor, loss: Tensor) -> None:
        self.loss[index] = loss
