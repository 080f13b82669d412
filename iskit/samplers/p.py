r"""Draws more often what the model has been least sure of.

cite: Chang, Learned-Miller & McCallum 2017, "Active Bias" (p-SGD, as in Arazo et al. 2021)
changes: which examples, once an epoch
passes: none extra
rule: m_i = mean over the times i was trained of (1 - p_i), the current maximum if never;
  P_i = (s_i + eps) / sum, s = m, eps = mean(s); N x B draws by P without replacement, no weights: biased on purpose
formula: m_i = \text{mean of } 1 - p_i \text{ when trained}, \quad P_i = \frac{m_i + \bar m}{\sum_j (m_j + \bar m)}
when: scoring must cost nothing; beware of wrong labels, whose p_i stays low, so that they are preferred
differs: from the official code: partial batches are carried over; scores stay with their own examples under RICAP,
  but with augment ricap(official=True), where they go to the wrong ones as they do there; official=True:
  a warm-up of k epochs has k - 1 of them, as the code counts from 1 and asks for less than k
neutral: budget=1
"""

import torch
from torch import Tensor

from iskit.budget import Budget, Volume
from iskit.errors import InputError
from iskit.randomness import Stream, uniform_all
from iskit.samplers.base import Outcome, Sampler, samplers
from iskit.samplers.draw import permuted, successive


@samplers.register("p", "p-SGD")
class P(Sampler):
    """warmup: share of the run sampled uniformly; smooth: add the mean score to all; average: of all predictions
    so far, else the last one; official: the warm-up of the published code, in epochs and one epoch short; volume:
    how an epoch's share of the examples goes over the epochs, see unif; control: permute the scores among the
    examples."""

    needs_labels = True

    def __init__(
        self,
        *,
        warmup: float = 0.0,
        smooth: bool = True,
        average: bool = True,
        official: bool = False,
        volume: Volume = "constant",
        control: bool = False,
    ):
        if not 0 <= warmup <= 1:
            raise InputError(f"sampler option warmup={warmup!r} must be a share of the run between 0 and 1")
        self.warmup, self.smooth, self.average = warmup, smooth, average
        self.official, self.volume, self.control = official, volume, control

    def bind(self, *, label: Tensor, budget: Budget, epochs: int, batch_size: int, seed: int) -> None:
        super().bind(label=label, budget=budget, epochs=epochs, batch_size=batch_size, seed=seed)
        self.error_sum = torch.zeros(self.n, device=self.device)
        self.trained = torch.zeros(self.n, device=self.device)

    def plan(self, t: float, epoch: int, size: int) -> Tensor | None:
        if size >= self.n:
            return None
        # As published: `epoch < warmup`, the first epoch being 1.
        warm = epoch + 1 < round(self.warmup * self.epochs) if self.official else t < self.warmup
        score = torch.ones(self.n, device=self.device) if warm else self.probability()
        self.tell(score)
        if self.control:
            score = permuted(score, self.seed, epoch)
        draws = uniform_all(self.seed, Stream.CHOICE, epoch, self.n, self.device)
        return successive(score.double(), size, draws).float()

    def probability(self) -> Tensor:
        """(N,) P: the probability of each example to be drawn first."""
        s = self.score(self.mean_error()).clamp(min=1e-10)
        if self.smooth:
            s = s + s.mean()
        return s / s.sum()

    def mean_error(self) -> Tensor:
        """(N,) m: mean of 1 - p over the times trained; never trained: the current maximum, 1 if none was."""
        seen = self.trained > 0
        mean = self.error_sum / self.trained.clamp(min=1)
        highest = torch.where(seen.any(), mean.max(), 1.0)
        return torch.where(seen, mean, highest)

    def score(self, mean_error: Tensor) -> Tensor:
        return mean_error

    def update(self, outcome: Outcome) -> None:
        index, error = outcome.batch.index, 1 - outcome.prob
        if self.average:
            # Accumulates: the carried rows of one epoch may meet the same example of the next in one batch.
            self.error_sum.index_add_(0, index, error)
            self.trained.index_add_(0, index, torch.ones_like(error))
        else:
            self.error_sum[index] = error
            self.trained.index_fill_(0, index, 1)  # `[index] = 1` may copy the number to a GPU, and wait
