"""Draws the batch by gradient norms that are never computed anew, and weights it back.

cite: none, an example: what becomes of importance sampling when its scores grow old
changes: which candidates and with what weights, once a step
passes: one forward and one backward for each example, once
rule: as gnorm(score='full', tau_min=0), with s_i as it was when example i was first a candidate
differs: nothing
neutral: presample=1
"""

from typing import Any

import torch
from torch import Tensor

from iskit.samplers.base import Batch, Score
from iskit.samplers.gnorm import GradientNorm


class Stale(GradientNorm):
    """presample: candidates for each example trained."""

    def __init__(self, *, presample: int = 50):
        super().__init__(presample=presample, tau_min=0.0, score="full")

    def bind(self, **run: Any) -> None:
        super().bind(**run)
        self.known = torch.zeros(self.n, device=self.device)

    def select(self, pool: Batch, score: Score) -> tuple[Tensor, Tensor] | None:
        new = self.known[pool.index] == 0
        if self.on and new.any():
            self.known[pool.index[new]] = score.gradient_norm(pool)[new]
        return super().select(pool, self)  # type: ignore[arg-type]  # asks for norms alone

    def gradient_norm(self, pool: Batch) -> Tensor:
        return self.known[pool.index]
