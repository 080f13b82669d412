"""What training steps add up to between two evaluations. It stays on the device: nothing here waits for it."""

import torch
from torch import Tensor


class Tally:
    """loss, hits, rows () float64: sums over the rows trained. alright () bool: whether every loss so far was a number;
    fine () int64: how many batches before the first with one that is not; wrong (b,) int64: its examples with such a
    loss, else -1."""

    def __init__(self, batch_size: int, device: torch.device):
        self.loss, self.hits, self.rows = torch.zeros(3, device=device, dtype=torch.float64).unbind()
        self.alright = torch.ones((), dtype=torch.bool, device=device)
        self.wrong = torch.full((batch_size,), -1, device=device)
        self.fine = torch.zeros((), dtype=torch.int64, device=device)

    def see(self, index: Tensor, target: Tensor, logits: Tensor, loss: Tensor) -> None:
        """A batch of at most b rows: examples index (m,), soft targets and logits (m, K), loss (m,)."""
        self.loss += loss.sum()
        # A mixed row counts as right if it is given its heaviest class.
        self.hits += (logits.argmax(1) == target.argmax(1)).sum()
        self.rows += len(loss)
        finite = loss - loss == 0  # as isfinite, in half the operations: of a tiny network's step they are a part
        first = self.wrong[: len(loss)]
        first.copy_(torch.where(self.alright, index.masked_fill(finite, -1), first))
        self.alright &= finite.all()
        self.fine += self.alright

    def means(self) -> tuple[float, float]:
        """Of the rows seen: loss, and hits in percent. Waits for the device."""
        loss, hits, rows = torch.stack([self.loss, self.hits, self.rows]).tolist()
        return loss / max(rows, 1), 100 * hits / max(rows, 1)

    def reset(self) -> None:
        for count in (self.loss, self.hits, self.rows, self.fine):
            count.zero_()
        self.alright.fill_(True)
        self.wrong.fill_(-1)

    def state_dict(self) -> dict[str, Tensor]:
        return dict(vars(self))

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        for name, value in state.items():
            getattr(self, name).copy_(value)
