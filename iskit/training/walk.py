"""From a sampler's choices to full batches: which rows come next, which of them are kept. No images, no files."""

from typing import Any

import torch
from torch import Tensor

from iskit.budget import Budget, Meter, cumulated
from iskit.errors import InputError
from iskit.randomness import Stream, permutation
from iskit.samplers import Batch, Sampler, Score
from iskit.training.acting import Acting

PATIENCE = 10_000  # candidates a selector may pass over in a row: one that remembers losses must first see them fall


class Walk:
    """The rows to visit, epoch after epoch: the sampler's plan in the experiment's common order.

    rows: this epoch's examples in order; weight: how much each counts; position: how many of them were taken;
    epoch: -1 before the first. n: examples in all; device: of the rows.
    """

    def __init__(self, sampler: Sampler, budget: Budget, meter: Meter, n: int, seed: int, device: torch.device):
        if sampler.volume != "constant" and budget.unit == "seconds":
            raise InputError(
                f"sampler option volume={sampler.volume!r} needs a budget counted in examples: unit='seconds' is none"
            )
        self.sampler, self.budget, self.meter, self.n, self.seed = sampler, budget, meter, n, seed
        self.epochs = max(1, round(budget.full / n))
        self.epoch = -1
        self.position = 0
        self.rows = torch.empty(0, dtype=torch.int64, device=device)
        self.weight = self.rows.float()
        self.acting = Acting(device)

    def advance(self, t: float) -> None:
        """Makes sure that there is a next row. RuntimeError if the sampler plans nothing for 100,000 epochs."""
        empty = 0
        while self.position == len(self.rows):
            self.epoch += 1
            self._plan(t)
            empty += len(self.rows) == 0
            if empty > 100_000:
                raise RuntimeError("sampler planned no example in 100,000 epochs: loosen its options")

    def take(self, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """The next `count` rows of this epoch: index, epoch and weight, each (count,)."""
        taken = slice(self.position, self.position + count)
        self.position += count
        self.acting.fetched(count)
        index = self.rows[taken]
        return index, torch.full_like(index, self.epoch), self.weight[taken]

    def _plan(self, t: float) -> None:
        size = self._size()
        order = permutation(self.seed, Stream.ORDER, self.epoch, self.n).to(self.rows.device)
        weight = self.sampler.plan(t, self.epoch, size)
        told = self.sampler.heard()
        if weight is None:
            self.rows, self.weight = order, torch.ones(self.n, device=order.device)
        else:
            self.rows = order[(weight > 0)[order]]
            self.weight = weight[self.rows]
        self.acting.plan(told, None if weight is None else self.weight)
        self.position = 0

    def _size(self) -> int:
        """How many examples this epoch may train: so rounded that all epochs together train the budget exactly."""
        sampler, share = self.sampler, self.budget.share(self.meter)
        constant = sampler.volume == "constant"  # where walks that only score were always counted too
        done = self.epoch if constant else sampler.trained_before(self.epoch)
        before, after = (
            round(cumulated(sampler.volume, share, self.n, self.epochs, number)) for number in (done, done + 1)
        )
        return after - before

    def state_dict(self) -> dict[str, Any]:
        return {
            "epoch": self.epoch,
            "position": self.position,
            "rows": self.rows,
            "weight": self.weight,
            "acting": self.acting.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.epoch, self.position = state["epoch"], state["position"]
        self.rows, self.weight = state["rows"], state["weight"]
        self.acting.load_state_dict(state["acting"])


class Batches:
    """Fetches the walk's rows and hands out batches of `batch_size`; a subclass says how examples are fetched.

    A walk's last partial batch is carried into the next. Rows a selector keeps wait until a batch is full.
    """

    def __init__(self, walk: Walk, sampler: Sampler, batch_size: int):
        self.walk, self.sampler, self.batch_size = walk, sampler, batch_size
        if sampler.candidates() > max(walk.n, batch_size):  # a batch that is too large is refused with the budget
            raise InputError(
                f"the sampler asks for {sampler.candidates()} candidates a step, more than the {walk.n} training "
                f"examples: lower its pool or batch_size={batch_size}"
            )
        self.number = 0  # batches mixed so far
        self.mixed: Batch | None = None  # candidates mixed but not yet shown to the sampler
        self.kept: Batch | None = None  # rows selected, waiting for a full batch

    def read(self, most: int) -> tuple[Tensor, Tensor, Tensor]:
        """label, image and target of the walk's next rows: at least one, at most `most`, as many as are at hand."""
        raise NotImplementedError

    def forget(self) -> None:
        """Drops what was fetched ahead: the walk has jumped."""

    def mix(self, group: Batch, number: int) -> None:
        """Mixes the rows of group `number` with each other: images, targets, parts if they are asked for."""

    def batch(self, t: float, score: Score) -> Batch:
        """The next batch at progress t. RuntimeError if an epoch of candidates (at least PATIENCE) is not kept."""
        budget, meter, sampler = self.walk.budget, self.walk.meter, self.sampler
        seen = 0
        while (waiting := 0 if self.kept is None else len(self.kept)) < (size := sampler.size(waiting)):
            count = sampler.candidates()
            paid = budget.affords(budget.spent(meter), count * sampler.price)
            pool = self._pool(count if paid else self.batch_size, t)
            chosen = sampler.select(pool, score) if paid else None
            self.walk.acting.selected(len(pool), chosen, sampler.heard())
            if chosen is not None:
                rows, weight = chosen
                pool = pool.take(rows)
                pool.weight = weight
            if len(pool):
                self.kept = pool if self.kept is None else Batch.cat([self.kept, pool])
                seen = 0
            else:
                seen += count
                if seen > max(self.walk.n, PATIENCE):
                    raise RuntimeError(f"sampler kept none of {seen} candidates in a row: loosen its options")
        assert self.kept is not None  # no sampler asks for 0 rows
        batch, self.kept = _split(self.kept, size)
        self.walk.acting.trained(len(batch))
        return sampler.finish(batch)

    def _pool(self, count: int, t: float) -> Batch:
        """`count` candidates, augmented, and mixed in groups of batch_size however many are shown at once."""
        parts = [] if self.mixed is None else [self.mixed]
        have = sum(map(len, parts))
        while have < count:
            group = self._group(t)
            self.mix(group, self.number)
            self.number += 1
            parts.append(group)
            have += len(group)
        pool, self.mixed = _split(Batch.cat(parts), count)
        return pool

    def _group(self, t: float) -> Batch:
        """The next batch_size rows, not mixed; fewer at the end of an epoch, if the sampler keeps epochs apart."""
        parts = []
        missing = self.batch_size
        while missing:
            self.walk.advance(t)
            label, image, target = self.read(missing)
            index, epoch, weight = self.walk.take(len(label))
            parts.append(Batch(index, epoch, label, image, target, weight))
            missing -= len(label)
            if self.sampler.epochs_apart and self.walk.position == len(self.walk.rows):
                break
        return Batch.cat(parts)

    def state_dict(self) -> dict[str, Any]:
        return {
            "walk": self.walk.state_dict(),
            "number": self.number,
            "mixed": None if self.mixed is None else self.mixed.columns(),
            "kept": None if self.kept is None else self.kept.columns(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.walk.load_state_dict(state["walk"])
        self.number = state["number"]
        self.mixed, self.kept = (None if state[key] is None else Batch(**state[key]) for key in ("mixed", "kept"))
        # What was fetched ahead is a function of (seed, epoch, example): it is fetched again, the same.
        self.forget()


def _split(batch: Batch, count: int) -> tuple[Batch, Batch | None]:
    if len(batch) == count:
        return batch, None
    return batch.take(slice(count)), batch.take(slice(count, None))
