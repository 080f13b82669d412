"""What the methods share that leave examples out of an epoch and still want to know their losses."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from iskit.budget import Budget
from iskit.samplers.base import Batch, Outcome, Sampler, Score


class LeftOut(Sampler):
    """The walk goes through all examples; those left out are scored at their place in it, eval mode, augmented, and
    not trained. A subclass decides in `plan`, by `leave_out`, and hears of each loss in `learn`."""

    needs_labels = True

    def bind(self, *, label: Tensor, budget: Budget, epochs: int, batch_size: int, seed: int) -> None:
        super().bind(label=label, budget=budget, epochs=epochs, batch_size=batch_size, seed=seed)
        # Of the epoch at hand, and of the one before it, whose last rows may come with the first of this one.
        self.out = torch.zeros(2, self.n, dtype=torch.bool, device=self.device)
        self.share = torch.zeros(2, dtype=torch.float64)  # of them in all; on the host, which steers by it

    def leave_out(self, epoch: int, out: Tensor, told: Tensor | float | None = None) -> Tensor | None:
        """The plan of an epoch that trains all but `out` (N,) bool. told: see `tell`; else the share left out."""
        self.out[epoch % 2] = out
        share = out.double().mean().item()
        self.share[epoch % 2] = share
        if share == 0:
            return None
        self.tell(share if told is None else told)
        return torch.ones(self.n, device=self.device)

    def select(self, pool: Batch, score: Score) -> tuple[Tensor, Tensor] | None:
        if not any(self.share.tolist()):
            return None
        out = self.out[pool.epoch % 2, pool.index].cpu().numpy()  # the pass's only wait for a GPU
        if not out.any():
            return None
        asked, trained = (
            torch.from_numpy(np.flatnonzero(which)).to(self.device, non_blocking=True) for which in (out, ~out)
        )
        rows = pool.take(asked)
        logits = score(rows)
        self.learn(rows, logits, F.cross_entropy(logits, rows.target, reduction="none"))
        return trained, pool.weight[trained]

    def update(self, outcome: Outcome) -> None:
        self.learn(outcome.batch, outcome.logits, outcome.loss)

    def learn(self, rows: Batch, logits: Tensor, loss: Tensor) -> None:
        """Logits (m, K) and losses (m,) of rows, trained or scored."""
        raise NotImplementedError

    def numbers(self) -> dict[str, Tensor | float]:
        return {"left_out": float(self.share.mean())}
