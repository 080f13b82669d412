"""Turns a sampler's choices into full batches of augmented examples."""

from typing import Any

import torch
import torch.nn.functional as F

from iskit.augment import Pipeline
from iskit.budget import Budget, Meter
from iskit.data import Dataset
from iskit.randomness import Stream, permutation
from iskit.samplers import Batch, Sampler, Score

CHUNK = 4096  # rows augmented at once: large enough to hide overheads, small enough for a CPU's cache


class Feed:
    """Walks the plan's rows in the common order, epoch after epoch, and hands out batches of `batch_size`.

    A walk's last partial batch is carried into the next. Rows a selector keeps wait until a batch is full.
    """

    def __init__(
        self,
        data: Dataset,
        sampler: Sampler,
        augment: Pipeline,
        budget: Budget,
        meter: Meter,
        batch_size: int,
        seed: int,
    ):
        self.data, self.sampler, self.augment = data, sampler, augment
        self.budget, self.meter = budget, meter
        self.batch_size, self.seed = batch_size, seed
        self.epoch = -1  # the current walk; -1 before the first
        self.position = 0  # rows of it handed out
        self.number = 0  # batches mixed so far
        empty = torch.empty(0, dtype=torch.int64, device=data.label.device)
        self.rows = empty  # the walk's examples, in order
        self.row_weight = empty.float()
        self.view = data.image[:0]  # augmented images of rows view_start .. view_start + len(view)
        self.view_start = 0
        self.mixed: Batch | None = None  # candidates mixed but not yet shown to the sampler
        self.kept: Batch | None = None  # rows selected, waiting for a full batch

    def batch(self, t: float, score: Score) -> Batch:
        """The next batch at progress t. RuntimeError if the sampler keeps nothing over a whole epoch of candidates."""
        seen = 0
        while self.kept is None or len(self.kept) < self.batch_size:
            pool = self._pool(self.sampler.candidates(), t)
            chosen = self.sampler.select(pool, score)
            if chosen is not None:
                rows, weight = chosen
                pool = pool.take(rows)
                pool.weight = weight
            if len(pool):
                self.kept = pool if self.kept is None else Batch.cat([self.kept, pool])
                seen = 0
            else:
                seen += self.sampler.candidates()
                if seen > len(self.data):
                    raise RuntimeError(f"sampler kept none of {seen} candidates in a row: loosen its options")
        batch, self.kept = _split(self.kept, self.batch_size)
        return batch

    def _pool(self, count: int, t: float) -> Batch:
        """`count` candidates, augmented, and mixed in groups of batch_size however many are shown at once."""
        parts = [] if self.mixed is None else [self.mixed]
        have = sum(map(len, parts))
        while have < count:
            group = self._group(t)
            group.image, group.target = self.augment.mix(group.image, group.target, self.number)
            self.number += 1
            parts.append(group)
            have += len(group)
        pool, self.mixed = _split(Batch.cat(parts), count)
        return pool

    def _group(self, t: float) -> Batch:
        """The next batch_size rows, normalised but not mixed."""
        parts = []
        missing = self.batch_size
        while missing:
            self._advance(t)
            stop = min(self.position + missing, self.view_start + len(self.view))
            index = self.rows[self.position : stop]
            label = self.data.label[index]
            parts.append(
                Batch(
                    index=index,
                    epoch=torch.full_like(index, self.epoch),
                    label=label,
                    image=self.data.normalise(self.view[self.position - self.view_start : stop - self.view_start]),
                    target=F.one_hot(label, len(self.data.classes)).float(),
                    weight=self.row_weight[self.position : stop],
                )
            )
            missing -= len(index)
            self.position = stop
        return Batch.cat(parts)

    def _advance(self, t: float) -> None:
        """Makes sure that the next row is planned and augmented."""
        empty = 0
        while self.position == len(self.rows):
            self.epoch += 1
            self._plan(t)
            empty += len(self.rows) == 0
            if empty > 100_000:
                raise RuntimeError("sampler planned no example in 100,000 epochs: loosen its options")
        if self.position == self.view_start + len(self.view):
            self._augment()

    def _plan(self, t: float) -> None:
        n, share = len(self.data), self.budget.share(self.meter)
        size = round((self.epoch + 1) * n * share) - round(self.epoch * n * share)
        order = permutation(self.seed, Stream.ORDER, self.epoch, n).to(self.data.label.device)
        weight = self.sampler.plan(t, self.epoch, size)
        if weight is None:
            self.rows, self.row_weight = order, torch.ones(n, device=order.device)
        else:
            ordered = weight[order]
            self.rows = order[ordered > 0]
            self.row_weight = ordered[ordered > 0]
        self.position = self.view_start = 0
        self.view = self.view[:0]

    def _augment(self) -> None:
        index = self.rows[self.position : self.position + CHUNK]
        self.view = self.augment.image(self.data.image.index_select(0, index), index, self.epoch)
        self.view_start = self.position

    def state_dict(self) -> dict[str, Any]:
        return {
            "epoch": self.epoch,
            "position": self.position,
            "number": self.number,
            "rows": self.rows,
            "row_weight": self.row_weight,
            "mixed": None if self.mixed is None else vars(self.mixed),
            "kept": None if self.kept is None else vars(self.kept),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.epoch, self.position, self.number = state["epoch"], state["position"], state["number"]
        self.rows, self.row_weight = state["rows"], state["row_weight"]
        self.mixed, self.kept = (None if state[key] is None else Batch(**state[key]) for key in ("mixed", "kept"))
        # Augmented images are draws of (seed, epoch, example): they are made again, the same.
        self.view, self.view_start = self.view[:0], self.position


def _split(batch: Batch, count: int) -> tuple[Batch, Batch | None]:
    if len(batch) == count:
        return batch, None
    return batch.take(slice(count)), batch.take(slice(count, None))
