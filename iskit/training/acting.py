"""How far a run's choices were from uniform ones, and its weights from equal ones, without waiting for the device."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from iskit.samplers.draw import distance, distances

Told = Tensor | float | None  # see `Sampler.tell`


@dataclass(eq=False)
class Way:
    """How a group of rows was chosen. told: what the sampler told of it; weight (m,): what the rows were given.

    value (3,) float64: acted, on, weighted, once they are computed, for many groups at once: of a tiny network's step
    the few operations a group would be a part. rows: how many of the group were trained since the sums were last made.
    """

    told: Told = None
    weight: Tensor | None = None
    value: Tensor | None = None
    rows: int = 0


Rows = deque[tuple[Way | None, int]]  # ways and how many rows came so, in their order; None: uniformly, all as it was


class Acting:
    """sums (3,) float64, over the rows trained: `acted`, how far from a uniform one the choice was that brought the row
    (see `Sampler.tell`); `on`, 1 where that is above 0; `weighted`, mean |w / mean w - 1| / 2 over the weights w that
    were given together, by one `plan` or one `select`.

    Rows are trained in the order in which they were chosen, so it is enough to know how many came in which way.
    shown: of the rows fetched but not yet shown to `select`; kept: of those that wait for a full batch; met: the ways
    of rows trained, not in the sums yet.
    """

    def __init__(self, device: torch.device):
        self.sums = torch.zeros(3, dtype=torch.float64, device=device)
        self.acted, self.on, _ = self.sums.unbind()
        self.shown: Rows = deque()
        self.kept: Rows = deque()
        self.met: list[Way] = []
        self.planned: Way | None = None  # of the epoch at hand

    def plan(self, told: Told, weight: Tensor | None) -> None:
        """The next rows are of an epoch whose rows got these weights (m,), after a choice of which this was told; None:
        of all, as they are."""
        self.planned = None
        if weight is not None and len(weight):
            # At once: as many numbers as there are examples need not be kept.
            acted = distance(told) if isinstance(told, Tensor) and told.dim() else self._numbers([told])[0]
            self.planned = Way(value=torch.stack([acted, (acted > 0).double(), distance(weight)]))

    def fetched(self, rows: int) -> None:
        """So many rows of the epoch were fetched."""
        self.shown.append((self.planned, rows))

    def selected(self, pool: int, chosen: tuple[Tensor, Tensor] | None, told: Told) -> None:
        """Of the next rows shown, a pool of so many, these were chosen with these weights; None: all as they are."""
        shown = _first(self.shown, pool)
        if chosen is None:
            self.kept += shown
            return
        rows, weight = chosen
        if len(rows) == 0:
            return
        way = Way(told, weight)
        if told is None and any(one is not None for one, _ in shown):  # what counts is how their epochs were planned
            self._evaluate([way])
            assert way.value is not None
            uniform = torch.zeros_like(way.value)
            planned = [(uniform if one is None or one.value is None else one.value).expand(m, 3) for one, m in shown]
            way.value[:2] = torch.cat(planned)[rows, :2].mean(0)
        self.kept.append((way, len(rows)))

    def trained(self, rows: int) -> None:
        """The next so many of the rows kept are trained."""
        for way, m in _first(self.kept, rows):
            if way is not None:
                if way.rows == 0:
                    self.met.append(way)
                way.rows += m

    def reduced(self, told: Told, rows: int) -> None:
        """In the backward pass of a batch of so many rows this was told."""
        if told is not None:
            self.acted += told * rows
            self.on += (told > 0) * rows

    def means(self, rows: int) -> dict[str, float]:
        """The three by name, over so many rows trained. Waits for the device."""
        if self.met:
            self._evaluate(self.met)
            counts = torch.tensor([way.rows for way in self.met], dtype=torch.float64, device=self.sums.device)
            self.sums += (torch.stack([way.value for way in self.met]) * counts[:, None]).sum(0)  # type: ignore[misc]
            for way in self.met:
                way.rows = 0
            self.met = []
        return dict(zip(("acted", "on", "weighted"), (self.sums / max(rows, 1)).tolist(), strict=True))

    def _evaluate(self, ways: Sequence[Way]) -> None:
        """Gives each its value. The same for a way whatever others there are: a restart must not change it."""
        new = [way for way in ways if way.value is None]
        if not new:
            return
        vectors = {n: way.told for n, way in enumerate(new) if isinstance(way.told, Tensor) and way.told.dim()}
        acted = self._numbers([0.0 if n in vectors else way.told for n, way in enumerate(new)])
        if vectors:
            places = torch.tensor(list(vectors)).to(acted.device, non_blocking=True)
            acted.index_copy_(0, places, distances(list(vectors.values())))
        weighted = distances([way.weight for way in new])  # type: ignore[misc]
        for way, value in zip(new, torch.stack([acted, (acted > 0).double(), weighted], dim=1).unbind(), strict=True):
            way.value = value
            way.told = way.weight = None

    def _numbers(self, told: Sequence[Told]) -> Tensor:
        """What was told as one number each, (k,) float64; 0 for nothing. No wait: none is read back."""
        known = [0.0 if one is None or isinstance(one, Tensor) else one for one in told]
        found = torch.tensor(known, dtype=torch.float64).to(self.sums.device, non_blocking=True)
        for number, one in enumerate(told):
            if isinstance(one, Tensor):
                found[number].copy_(one)
        return found

    def state_dict(self) -> dict[str, Any]:
        queues = {name: list(getattr(self, name)) for name in ("shown", "kept")}
        at_hand = [self.planned] if self.planned else []
        ways = list(
            dict.fromkeys([*at_hand, *self.met, *(way for queue in queues.values() for way, _ in queue if way)])
        )
        self._evaluate(ways)
        number = {way: place for place, way in enumerate(ways)}
        return {
            "sums": self.sums,
            "values": [way.value for way in ways],
            "rows": [way.rows for way in ways],
            "met": [number[way] for way in self.met],
            "planned": self.planned and number[self.planned],
            **{name: [(way and number[way], m) for way, m in queue] for name, queue in queues.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.sums.copy_(state["sums"])
        ways = [Way(value=value, rows=rows) for value, rows in zip(state["values"], state["rows"], strict=True)]
        self.met = [ways[place] for place in state["met"]]
        self.planned = None if state["planned"] is None else ways[state["planned"]]
        self.shown, self.kept = (
            deque((None if place is None else ways[place], m) for place, m in state[name]) for name in ("shown", "kept")
        )


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
