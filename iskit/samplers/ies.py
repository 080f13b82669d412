r"""Leaves out what it has mastered: examples whose losses have stopped curving.

cite: Yuan et al. 2025, "Instance-dependent Early Stopping"
changes: which examples, once an epoch
passes: one forward a left-out example and epoch
rule: d_i(e) = l_i(e) - 2 l_i(e - 1) + l_i(e - 2), l_i(e) the loss of i in epoch e, trained or scored; i is left out of
  an epoch while the mean of its last three |d_i| is below the threshold, and returns once it is not; never before six
  losses are known, nor all examples at once. threshold=None: the N x B of the largest mean train, any N x B as long as
  it is not known. No weights. Under mixing the loss is that of the mixed row, kept under its own example
formula: i \text{ is out while } \frac{1}{3} \sum_{k=0}^{2} |\ell_i^{e-k} - 2 \ell_i^{e-k-1} + \ell_i^{e-k-2}| < \delta
when: runs are long and many examples are learnt for good
differs: left-out examples are scored at their place in the epoch's order, not after it; as in the official code on
  augmented images, and a difference may mix losses of train and of eval mode. That code keeps an epoch's exclusions for
  the next where none would qualify (official=True), tests on randomly cropped images and reports the best epoch
neutral: threshold=None, budget=1
"""

import torch
from torch import Tensor

from iskit.budget import Budget, Volume
from iskit.errors import InputError
from iskit.randomness import Stream, permutation
from iskit.samplers.base import Batch, samplers
from iskit.samplers.draw import permuted, ranking
from iskit.samplers.left_out import LeftOut

KNOWN = 6  # losses, and so four differences, before an example may be left out


@samplers.register("ies")
class IES(LeftOut):
    """threshold: of the mean |d|, below which an example is left out; None lets the budget say how many train;
    official: where no example qualifies, those of the epoch before stay out; volume: with threshold=None, how an
    epoch's share of the examples goes over the epochs, see unif; control: permute the means among the examples."""

    def __init__(
        self,
        *,
        threshold: float | None = 1e-3,
        official: bool = False,
        volume: Volume = "constant",
        control: bool = False,
    ):
        if threshold is not None and not 0 < threshold < float("inf"):
            raise InputError(
                f"sampler option threshold={threshold!r} would leave out none or all: it must be above 0 and finite, "
                "such as 0.001, or None for a share of the budget's"
            )
        if official and threshold is None:
            raise InputError("sampler option official=True has no meaning with threshold=None: give a threshold")
        if threshold is not None and volume != "constant":
            raise InputError(f"sampler option volume={volume!r} has no meaning with a threshold: give threshold=None")
        self.threshold, self.official, self.volume, self.control = threshold, official, volume, control

    def bind(self, *, label: Tensor, budget: Budget, epochs: int, batch_size: int, seed: int) -> None:
        super().bind(label=label, budget=budget, epochs=epochs, batch_size=batch_size, seed=seed)
        self.loss = torch.zeros(5, self.n, device=self.device)  # the last ones, the latest at the end
        self.known = torch.zeros(self.n, dtype=torch.int64, device=self.device)

    def plan(self, t: float, epoch: int, size: int) -> Tensor | None:
        curved = permuted(self.curved(), self.seed, epoch) if self.control else self.curved()
        if self.threshold is None:
            shuffled = permutation(self.seed, Stream.TIES, epoch, self.n).to(self.device)
            out = torch.zeros(self.n, dtype=torch.bool, device=self.device)
            out[ranking(curved, shuffled)[size:]] = True
            # While nothing is known all tie, and the choice is uniform.
            return self.leave_out(epoch, out, out.double().mean() * curved.isfinite().any())
        out = curved < self.threshold
        if self.official:
            out = torch.where(out.any(), out, self.out[(epoch - 1) % 2])
        return self.leave_out(epoch, out & ~out.all())  # else the model would stand still, and nothing ever change

    def curved(self) -> Tensor:
        """(N,) mean of the last three |d|, infinite where it is not known."""
        mean = self.loss.diff(n=2, dim=0).abs().mean(0)
        return torch.where(self.known >= KNOWN, mean, torch.inf)

    def learn(self, rows: Batch, logits: Tensor, loss: Tensor) -> None:
        self.loss[:, rows.index] = torch.cat([self.loss[1:, rows.index], loss[None].float()])
        self.known[rows.index] += 1
