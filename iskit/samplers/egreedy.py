r"""Trains the examples of highest score, and a few others at random; scores are running means of losses.

cite: Raju et al. 2021, "Accelerating Deep Learning with Dynamic Data Pruning" (epsilon-greedy)
changes: which examples, once an epoch
passes: N forward passes after each `period` epochs, and in unit=cost the budget pays for them
rule: after each `period` epochs all N are scored: score_i becomes (1 - alpha) score_i + alpha l_i, l_i the loss in eval
  mode; each epoch trains the (1 - eps) N B of highest score, ties at random, and eps N B of the others, all equally
  likely; any N B until the first scores. No weights: biased on purpose. Under mixing l_i is that of the mixed row
formula: s_i \leftarrow (1 - \alpha) s_i + \alpha \ell_i, \quad \text{train the } (1 - \varepsilon) N B \text{ largest
  and } \varepsilon N B \text{ others}
when: the losses of all examples can be had now and then, and few labels are wrong
differs: no official code is known, so that eps, alpha and period are ours; losses are of augmented examples, scored as
  they would be trained
neutral: budget=1
"""

import torch
from torch import Tensor

from iskit.budget import Budget, Volume
from iskit.errors import InputError
from iskit.randomness import Stream, permutation, uniform_all
from iskit.samplers.base import samplers
from iskit.samplers.draw import permuted, ranking, successive
from iskit.samplers.recompute import Recompute


@samplers.register("egreedy")
class EGreedy(Recompute):
    """eps: share of the trained ones that are drawn at random; alpha: of the new loss in the score; period: epochs
    between two scorings; volume: how an epoch's share of the examples goes over the epochs, see unif; control: permute
    the scores among the examples."""

    needs_labels = True

    def __init__(
        self,
        *,
        eps: float = 0.1,
        alpha: float = 0.8,
        period: int = 5,
        volume: Volume = "constant",
        control: bool = False,
    ):
        if not 0 <= eps <= 1:
            raise InputError(f"sampler option eps={eps!r} must be a share between 0 and 1")
        if not 0 < alpha <= 1:
            raise InputError(f"sampler option alpha={alpha!r} must be above 0, which never learns, and at most 1")
        if period < 1:
            raise InputError(f"sampler option period={period} must be a number of epochs, at least 1")
        self.eps, self.alpha, self.period, self.volume, self.control = eps, alpha, period, volume, control

    def bind(self, *, label: Tensor, budget: Budget, epochs: int, batch_size: int, seed: int) -> None:
        super().bind(label=label, budget=budget, epochs=epochs, batch_size=batch_size, seed=seed)
        self.recompute = 0 if budget.unit != "seconds" and budget.amount == 1 else self.period  # nothing to choose
        self.score = torch.zeros(self.n, device=self.device)

    def plan(self, t: float, epoch: int, size: int) -> Tensor | None:
        if self.scores(t, epoch) or size >= self.n:
            return None
        score = permuted(self.score, self.seed, epoch) if self.control else self.score
        greedy = round((1 - self.eps) * size)
        first = ranking(score, permutation(self.seed, Stream.TIES, epoch, self.n).to(self.device))[:greedy]
        # Drawn first for certain, the rest alike.
        chance = torch.full((self.n,), (size - greedy) / (self.n - greedy), dtype=torch.float64, device=self.device)
        chance[first] = 1.0
        self.tell(torch.where(score.any(), chance, 1.0))
        drawn = torch.ones_like(chance)
        drawn[first] = torch.inf
        return successive(drawn, size, uniform_all(self.seed, Stream.CHOICE, epoch, self.n, self.device)).float()

    def refresh(self, index: Tensor, loss: Tensor) -> None:
        self.score[index] = torch.lerp(self.score[index], loss, self.alpha)
