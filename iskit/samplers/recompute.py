"""Walks over all examples that only score them: what methods share that refresh all losses now and then."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from iskit.budget import Budget
from iskit.samplers.base import Batch, Sampler, Score


class Recompute(Sampler):
    """recompute: after so many epochs comes a walk that trains nothing, 0 never. A subclass asks `scores` in `plan`,
    and hears of the losses in `refresh`."""

    recompute: int

    def bind(self, *, label: Tensor, budget: Budget, epochs: int, batch_size: int, seed: int) -> None:
        super().bind(label=label, budget=budget, epochs=epochs, batch_size=batch_size, seed=seed)
        self.spent = torch.tensor(2**62)  # the first epoch that was too late for a walk that only scores; on the host

    def scores(self, t: float, epoch: int) -> bool:
        """Whether the walk about to begin only scores."""
        # A walk that cannot be paid whole is not begun. Before its end one more batch may be trained, and its last pool
        # is paid whole, though some of its rows are of the next epoch.
        price = self.n + 4 * self.batch_size
        if self.recompute and self.only_scores(epoch) and not self.budget.affords(t, price):
            self.spent.clamp_(max=epoch)
        return bool(self.recompute and self.only_scores(epoch))

    def trained_before(self, epoch: int) -> int:
        return epoch - epoch // (self.recompute + 1) if self.recompute else epoch

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
        self.refresh(rows.index, F.cross_entropy(score(rows), rows.target, reduction="none"))
        return trained, pool.weight[trained]

    def refresh(self, index: Tensor, loss: Tensor) -> None:
        """Losses (m,) of the examples `index` (m,), in eval mode, augmented."""
        raise NotImplementedError
