"""The memory of the history-based samplers: each example's loss when it was last trained."""

import torch
from torch import Tensor

from iskit.budget import Budget
from iskit.samplers.base import Outcome, Sampler


class LastLoss(Sampler):
    """loss (N,): last known loss, infinite for examples never trained.

    Under mixing it is the loss of the mixed row against its soft target, kept under the row's own index.
    """

    def bind(self, *, label: Tensor, budget: Budget, epochs: int, batch_size: int, seed: int) -> None:
        super().bind(label=label, budget=budget, epochs=epochs, batch_size=batch_size, seed=seed)
        self.loss = torch.full((self.n,), torch.inf, device=self.device)

    def update(self, outcome: Outcome) -> None:
        self.loss[outcome.batch.index] = outcome.loss
