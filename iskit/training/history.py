"""What a run looked like: one row an evaluation, and how often each example was trained."""

from typing import Any

import pandas as pd
import torch
from torch import Tensor

from iskit.budget import Meter
from iskit.samplers import Sampler
from iskit.training.stats import coverage, effective_sample_size, entropy, unique


class History:
    """rows: one dict an evaluation; counts (N,) int64: how often each example was trained."""

    def __init__(self, n: int, device: torch.device):
        self.counts = torch.zeros(n, dtype=torch.int64, device=device)
        self.rows: list[dict[str, Any]] = []

    def see(self, index: Tensor) -> None:
        self.counts.index_add_(0, index, torch.ones_like(index))

    def record(self, *, t: float, epoch: int, lr: float, meter: Meter, **measured: float) -> None:
        """measured: accuracy, loss, worst_class_accuracy on the test set; sample_loss, sample_accuracy of a fixed
        sample of the training set, as it is; train_loss, train_accuracy: unweighted means since the last row of the
        rows drawn, as augmented, which cannot be compared over samplers and augmentations; ..."""
        self.rows.append(
            {
                "t": min(t, 1.0),
                "epoch": epoch,
                "step": meter.steps,
                **measured,
                "lr": lr,
                **{f"seconds_{phase}": seconds for phase, seconds in meter.seconds.items()},
                "forward_only": meter.forward_only,
                "forward": meter.forward,
                "backward": meter.backward,
                "entropy": entropy(self.counts),
                "coverage": coverage(self.counts),
                "unique_examples": unique(self.counts),
                "effective_sample_size": effective_sample_size(self.counts),
            }
        )

    def frame(self) -> pd.DataFrame:
        return pd.DataFrame(self.rows)

    def state_dict(self) -> dict[str, Any]:
        return {"counts": self.counts, "rows": [dict(row) for row in self.rows]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.counts.copy_(state["counts"])
        self.rows = [dict(row) for row in state["rows"]]


def numbers(sampler: Sampler) -> dict[str, float]:
    """A sampler's own numbers as columns of the history, `sampler_tau` and the like. Waits for the device."""
    return {f"sampler_{name}": float(number) for name, number in sampler.numbers().items()}
