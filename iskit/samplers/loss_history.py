r"""Draws more often what had a high loss when last trained, and corrects for it by weights.

cite: Schaul et al. 2015, "Prioritized Experience Replay", as the history baseline of Katharopoulos & Fleuret 2018
changes: which examples and their weights, once an epoch
passes: none extra
rule: P_i proportional to (last loss) ** alpha, the current maximum if never trained; N x B draws without replacement;
  weight_i = (N x B / (N pi_i)) ** beta over its maximum, pi_i the probability to be among the drawn: for few draws
  pi_i = N B P_i, the paper's 1 / (N P_i). Under mixing the loss is that of the mixed row, kept under its own example
formula: P_i \propto \ell_i^{\alpha}, \quad w_i = \frac{(B / \pi_i)^{\beta}}{\max_j (B / \pi_j)^{\beta}}
when: importance sampling without a scoring pass; losses must not grow old, so small sets and many epochs
differs: drawn once an epoch without replacement, hence pi_i and not N B P_i; beta stays as given (the paper raises it
  from .4 to 1). Two ways of Katharopoulos & Fleuret's library are left out: losses predicted by a small LSTM, which
  learns from the very losses kept here, with a rate and a size to be tuned, and which its authors gave up for gnorm's
  bound; and 1.5 million images augmented beforehand: of CIFAR's 30 each, of which a run of 60 epochs at B = .3 trains
  18, so that most would be drawn without ever having had a loss, where here each image keeps one
neutral: budget=1
"""

import torch
from torch import Tensor

from iskit.budget import Volume
from iskit.errors import InputError
from iskit.randomness import Stream, uniform_all
from iskit.samplers.base import samplers
from iskit.samplers.draw import inclusion, permuted, successive
from iskit.samplers.last_loss import LastLoss


@samplers.register("loss_history")
class LossHistory(LastLoss):
    """alpha: 0 draws uniformly, 1 in proportion to the loss; beta: 0 no correction, 1 a full one, unbiased up to a
    factor; volume: how an epoch's share of the examples goes over the epochs, see unif; control: permute the losses
    among the examples. Defaults: Schaul et al.'s for the proportional variant."""

    def __init__(self, *, alpha: float = 0.6, beta: float = 0.4, volume: Volume = "constant", control: bool = False):
        for name, value in {"alpha": alpha, "beta": beta}.items():
            if not 0 <= value <= 1:
                raise InputError(f"sampler option {name}={value!r} must lie between 0 and 1")
        self.alpha, self.beta, self.volume, self.control = alpha, beta, volume, control

    def plan(self, t: float, epoch: int, size: int) -> Tensor | None:
        if size >= self.n:
            return None
        score = self.priority() ** self.alpha
        self.tell(score)
        if self.control:
            score = permuted(score, self.seed, epoch)
        draws = uniform_all(self.seed, Stream.CHOICE, epoch, self.n, self.device)
        drawn = successive(score, size, draws)
        # Trap: 1 / (N P), the weights of draws with replacement, would bias draws without.
        weight = (size / (self.n * inclusion(score, drawn, draws))) ** self.beta
        weight = torch.where(drawn, weight, 0.0)
        return (weight / weight.max()).float()

    def priority(self) -> Tensor:
        """(N,) float64: last loss; never trained: the current maximum, all equal if none was."""
        loss = self.loss.double().clamp(min=1e-10)
        known = loss.isfinite()
        highest = torch.where(known.any(), torch.where(known, loss, 0.0).max(), 1.0)
        return torch.where(known, loss, highest)
