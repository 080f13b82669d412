"""The same training examples at each evaluation, as they are: what the run makes of them, comparable over runs."""

from collections.abc import Callable
from typing import Any

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from iskit.data import Dataset
from iskit.randomness import Stream, permutation

SIZE = 1000  # examples, all of smaller sets


class Sample:
    """index (k,) int64, sorted: drawn by the run's seed from a stream of its own, whatever the method.

    rows: one an evaluation: t, and on the device loss, prob (k,) float32 and count (k,) int64, how often each was
    trained so far.
    """

    def __init__(self, data: Dataset, seed: int):
        drawn = permutation(seed, Stream.SAMPLE, 0, len(data))[:SIZE]
        self.data, self.index = data, drawn.sort().values.to(data.label.device)
        self.rows: list[tuple[float, Tensor, Tensor, Tensor]] = []

    @torch.no_grad()
    def see(self, t: float, logits: Callable[[Tensor], Tensor], counts: Tensor) -> dict[str, float]:
        """An evaluation at progress t; logits: of a function that gives (m, K) for images (m, C, H, W); counts (N,).

        Gives mean loss and accuracy in percent. Waits for the device once, for those.
        """
        data, label = self.data, self.data.label[self.index]
        found = logits(data.normalise(data.images(self.index))).float()
        loss = F.cross_entropy(found, label, reduction="none")
        prob = found.softmax(1).gather(1, label[:, None]).squeeze(1)
        self.rows.append((t, loss, prob, counts[self.index]))
        hits = (found.argmax(1) == label).double()
        mean, accuracy = torch.stack([loss.double().mean(), 100 * hits.mean()]).tolist()
        return {"sample_loss": mean, "sample_accuracy": accuracy}

    def frame(self) -> pd.DataFrame:
        """One row an evaluation and example: t, index; loss, prob of its true class (float32); drawn (int64), how often
        it was trained since the last evaluation."""
        kinds = {"t": "float64", "index": "int64", "loss": "float32", "prob": "float32", "drawn": "int64"}
        index = self.index.cpu().numpy()
        before, parts = torch.zeros_like(self.index), []
        for t, loss, prob, count in self.rows:
            columns = {"loss": loss, "prob": prob, "drawn": count - before}
            numbers = {name: column.cpu().numpy() for name, column in columns.items()}
            parts.append(pd.DataFrame({"t": t, "index": index, **numbers}))
            before = count
        return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(kinds)).astype(kinds)

    def state_dict(self) -> dict[str, Any]:
        return {"rows": list(self.rows)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.rows = list(state["rows"])
