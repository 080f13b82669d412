r"""Each epoch trains a fresh uniform subset.

cite: Arazo et al. 2021, "How Important is Importance Sampling for Deep Budgeted Training?" (unif-SGD)
changes: which examples, once an epoch
passes: none extra
rule: each epoch, N x B examples without replacement, all equally likely
formula: P(i \in S_e) = B, \quad |S_e| = N B \text{ in each epoch } e
when: as the baseline that any other must beat at the same budget; and where nothing is known of the data
differs: an epoch's last partial batch is carried into the next epoch, not dropped; volume is no part of the paper:
  from 0, or 2 B - 1, to 2 B, or 1, in a straight line (rising), or back (falling)
neutral: budget=1
"""

import torch
from torch import Tensor

from iskit.budget import Volume
from iskit.randomness import Stream, uniform_all
from iskit.samplers.base import Sampler, samplers
from iskit.samplers.draw import successive


@samplers.register("unif", "unif-SGD")
class Unif(Sampler):
    """volume: how an epoch's share of the examples goes over the epochs, its mean the budget."""

    def __init__(self, *, volume: Volume = "constant"):
        self.volume = volume

    def plan(self, t: float, epoch: int, size: int) -> Tensor | None:
        if size >= self.n:
            return None
        draws = uniform_all(self.seed, Stream.CHOICE, epoch, self.n, self.device)
        return successive(torch.ones_like(draws), size, draws).float()
