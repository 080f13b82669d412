"""How far a run's choices were from uniform ones, and its weights from equal ones, without waiting for the device."""

from collections import deque
from typing import Any

import torch
from torch import Tensor

from iskit.samplers.draw import distance

# How a group of rows was chosen, (3,) float64: acted, on, weighted; None: uniformly, with equal weights, so all 0.
Way = Tensor | None
Rows = deque[tuple[Way, int]]  # ways and how many rows came so, in their order


class Acting:
    """sums (3,) float64, over the rows trained: `acted`, how far from a uniform one the choice was that brought the row
    (see `Sampler.tell`); `on`, 1 where that is above 0; `weighted`, mean |w / mean w - 1| / 2 over the weights w that
    were given together, by one `plan` or one `select`.

    Rows are trained in the order in which they were chosen, so it is enough to know how many came in which way.
    shown: of the rows fetched but not yet shown to `select`; kept: of those that wait for a full batch.
    """

    def __init__(self, device: torch.device):
        self.sums = torch.zeros(3, dtype=torch.float64, device=device)
        self.acted, self.on, _ = self.sums.unbind()
        self.shown: Rows = deque()
        self.kept: Rows = deque()

    def way(self, told: Tensor | float | None, weight: Tensor) -> Tensor:
        """Of rows that get these weights (m,), m at least 1, after a choice of which this was told."""
        acted = torch.empty_like(self.acted)
        # Not torch.tensor: it would copy from the host, and wait.
        acted.copy_(told) if isinstance(told, Tensor) else acted.fill_(told or 0.0)
        return torch.stack([acted, (acted > 0).double(), distance(weight)])

    def fetched(self, way: Way, rows: int) -> None:
        """So many rows of an epoch that was planned in this way were fetched."""
        self.shown.append((way, rows))

    def selected(self, pool: int, chosen: tuple[Tensor, Tensor] | None, told: Tensor | float | None) -> None:
        """Of the next rows shown, a pool of so many, these were chosen with these weights; None: all as they are."""
        shown = _first(self.shown, pool)
        if chosen is None:
            self.kept += shown
            return
        rows, weight = chosen
        if len(rows) == 0:
            return
        way = self.way(told, weight)
        if told is None:  # what counts is how their epochs were planned
            ways = torch.cat([(torch.zeros_like(way) if one is None else one).expand(m, 3) for one, m in shown])
            way[:2] = ways[rows, :2].mean(0)
        self.kept.append((way, len(rows)))

    def trained(self, rows: int) -> None:
        """The next so many of the rows kept are trained."""
        for way, m in _first(self.kept, rows):
            if way is not None:
                self.sums.add_(way, alpha=m)

    def reduced(self, told: Tensor | float | None, rows: int) -> None:
        """In the backward pass of a batch of so many rows this was told."""
        if told is not None:
            self.acted += told * rows
            self.on += (told > 0) * rows

    def means(self, rows: int) -> dict[str, float]:
        """The three by name, over so many rows trained. Waits for the device."""
        return dict(zip(("acted", "on", "weighted"), (self.sums / max(rows, 1)).tolist(), strict=True))

    def state_dict(self) -> dict[str, Any]:
        return {"sums": self.sums, "shown": list(self.shown), "kept": list(self.kept)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.sums.copy_(state["sums"])
        self.shown, self.kept = deque(state["shown"]), deque(state["kept"])


def _first(waiting: Rows, rows: int) -> Rows:
    """Takes the first so many rows out of those that wait."""
    taken: Rows = deque()
    while rows:
        way, m = waiting.popleft()
        if m > rows:
            waiting.appendleft((way, m - rows))
        taken.append((way, min(m, rows)))
        rows -= taken[-1][1]
    return taken
