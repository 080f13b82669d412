"""Any sampler in a user's own loop: the model, the loss and the optimizer stay theirs."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from iskit.budget import Budget
from iskit.errors import Diverged, InputError
from iskit.inputs import typed
from iskit.own.asking import buffers_kept
from iskit.own.examples import Examples
from iskit.own.named import packed, plain
from iskit.own.proxy import OwnProxy
from iskit.own.ranks import Ranks, scorer
from iskit.samplers import Batch, Outcome, Sampler
from iskit.training.history import History
from iskit.training.scorer import check_logits
from iskit.training.stopwatch import Stopwatch


class BudgetedLoader:
    """Iterate over it to train; it ends at the first step at or past the budget. Made by `wrap`.

    t: progress; meter: passes, steps and seconds so far, of all ranks together; history.counts (N,): how often each
    example was trained; batch: what was handed out last, e.g. `batch.index`. Leaving the loop and entering it again
    goes on.
    """

    def __init__(
        self,
        model: nn.Module,
        asked: nn.Module,
        examples: Examples,
        budget: Budget,
        proxy: OwnProxy,
        ranks: Ranks,
        clock: Callable[[], float],
    ):
        self.model, self.asked, self.examples, self.budget, self.proxy = model, asked, examples, budget, proxy
        self.sampler, self.meter, self.ranks = examples.sampler, proxy.meter, ranks
        self.acting, device = examples.walk.acting, examples.walk.rows.device
        self.history = History(examples.walk.n, device)
        self.watch = Stopwatch(self.meter.seconds, device, clock)
        self.batch: Batch | None = None
        self.reduced = True  # that batch
        self.whole: Batch | None = None  # of the step at hand, of all ranks and parts
        self.told: list[tuple[Tensor, Tensor]] = []  # logits and losses of its parts, so far

    @property
    def t(self) -> float:
        """The share of the budget that is spent, in [0, 1]."""
        return min(self.budget.spent(self.meter), 1.0)

    @property
    def epoch(self) -> int:
        """Walks through what the sampler planned: the number of the current one, -1 before the first batch."""
        return self.examples.walk.epoch

    def __len__(self) -> int:
        """Steps of the whole run. TypeError where they cannot be known: a wrong number would end a framework's loop."""
        name = type(self.sampler).__name__
        cause = f"unit={self.budget.unit!r}" if self.budget.unit != "backward" else f"{name} with these options"
        if self.budget.unit != "backward" or not self.sampler.whole_batches:
            raise TypeError(f"the number of steps is not known beforehand for {cause}: use loader.t")
        return -(-self.budget.examples // self.examples.batch_size)

    def __iter__(self) -> Iterator[Any]:
        for parts in self._steps(1):
            yield from parts

    def accumulate(self, parts: int) -> Iterator[Iterator[Any]]:
        """As iterating, but each batch comes in so many parts, for batches that the memory does not hold at once.

            for parts in loader.accumulate(4):
                for image, target in parts:
                    logits = model(image)
                    loader.reduce(loss(logits, target), logits).backward()
                optimizer.step()
                optimizer.zero_grad()

        The gradients of the parts add up to that of the batch; what is chosen and counted is the same. InputError for a
        sampler that compares the losses of a whole batch.
        """
        parts = typed("parts", parts, int)
        rows = self.examples.batch_size // self.ranks.count
        if not 1 <= parts <= rows:
            raise InputError(f"parts={parts} must be from 1 to the {rows} examples of a batch")
        if parts > 1 and type(self.sampler).reduce is not Sampler.reduce:
            name = type(self.sampler).__name__
            raise InputError(
                f"{name} compares the losses of a whole batch, which parts={parts} tears apart: set it to 1"
            )
        return self._steps(parts)

    def _steps(self, parts: int) -> Iterator[Iterator[Any]]:
        # Not kept: in a cycle of references the workers would be left to a late and slow end.
        score = scorer(self.ranks, self.asked, self.meter, self._scoring)
        try:
            if self.epoch < 0 and self.proxy.make is not None:
                self.watch.switch("prepare")
                self.sampler.prepare(self.proxy)
                self.ranks.same(self.sampler.state_dict().values(), self.history.counts.device)
            while self.t < 1:
                self.watch.switch("train")
                if self.meter.steps == 1:
                    self.ranks.check_shared(self.model)
                if self.whole is None:
                    self.whole = self.examples.batch(self.t, score)
                self.told = []
                yield self._parts(self.whole.take(self.ranks.slice(len(self.whole))), parts)
                if self.whole is not None:
                    raise InputError(
                        "a batch was left without loader.reduce(loss, logits): call it once for each batch, "
                        "it weights the losses and counts the step"
                    )
                self.watch.switch(None)
                if self.budget.unit == "seconds":
                    self.watch.settle()
        finally:
            self.watch.switch(None)
            self.watch.settle()

    def _parts(self, mine: Batch, parts: int) -> Iterator[Any]:
        for rows in torch.arange(len(mine)).tensor_split(min(parts, len(mine))):
            self.batch, self.reduced = mine.take(slice(int(rows[0]), int(rows[-1]) + 1)), False
            yield self.examples.given(self.batch)

    def rate(self, schedule: Callable[[float], float]) -> float:
        """The factor of the learning rate for the batch handed out, as the sampler wants it; ask before `reduce`.

        schedule: gives it for a share of the run in [0, 1], mostly t: lambda t: 1 - t, say. Some methods have a clock
        or a factor of their own, such as selective_backprop(official=True).
        """
        return self.sampler.rate(self.t, schedule)

    def reduce(self, loss: Tensor, logits: Tensor) -> Tensor:
        """The scalar to minimise, from the losses (b,) and logits (b, C) of the batch handed out. Counts the step.

        InputError for a loss that is reduced already or not of this batch, Diverged for one that is not finite.
        """
        for name, value in {"loss": loss, "logits": logits}.items():
            if not isinstance(value, Tensor):
                raise InputError(f"{name} is a {type(value).__name__}: give a tensor, a row for each example")
        batch = self.batch
        if batch is None or self.reduced:
            raise InputError("loader.reduce was called without a new batch: call it once for each batch of the loop")
        rows = len(batch)
        if loss.shape != (rows,):
            found = "a single number, reduced already" if loss.ndim == 0 else f"of shape {tuple(loss.shape)}"
            raise InputError(
                f'loss is {found}: give one number for each of the {rows} examples, reduction="none" in torch\'s losses'
            )
        if self.examples.classes:
            check_logits(logits, rows)
        self.reduced = True
        self.told.append((logits.detach(), loss.detach()))
        whole = self.whole
        assert whole is not None
        done, mine = sum(len(told) for _, told in self.told), len(whole) // self.ranks.count
        if done < mine:
            return self._weighted(loss, batch.weight, rows / mine)
        seen, losses = (self.ranks.gather(torch.cat(parts)) for parts in zip(*self.told, strict=True))
        # One synchronisation a step: the run stops before the optimizer spoils the parameters.
        wrong = ~losses.isfinite()
        if wrong.any():
            raise Diverged(
                f"the loss is not a finite number at step {self.meter.steps} (t={self.t:.3f}) for the examples "
                f"{whole.index[wrong].tolist()[:10]}: try a learning rate a tenth as large, or look at their values"
            )
        if rows == mine:
            scalar = self.ranks.share(loss, lambda loss: self.sampler.reduce(loss, whole.weight))
            self.acting.reduced(self.sampler.heard(), len(whole))
        else:
            scalar = self._weighted(loss, batch.weight, rows / mine)
        self.sampler.update(Outcome(whole, seen, losses))
        self.meter.trained(len(whole))
        self.history.see(whole.index)
        self.whole = None
        return scalar

    def _weighted(self, loss: Tensor, weight: Tensor, share: float) -> Tensor:
        """Of a part of the batch, which has this share of its rows."""
        return share * self.sampler.reduce(loss, weight)

    @contextmanager
    def evaluation(self) -> Iterator[None]:
        """Time spent within stands apart and is not charged to a budget in seconds."""
        phase = self.watch.phase
        self.watch.switch("eval")
        try:
            yield
        finally:
            self.watch.switch(phase)
            self.watch.settle()

    @contextmanager
    def _scoring(self) -> Iterator[None]:
        self.watch.switch("scoring")
        with buffers_kept(self.model):
            yield
        self.watch.switch("train")

    def state_dict(self) -> dict[str, Any]:
        """All that the rest of the run depends on beside the user's model, optimizer and random state."""
        waiting = None if self.whole is None else plain(self.whole.columns())
        return {
            "sampler": self.sampler.state_dict(),
            "examples": self.examples.state_dict(),
            "meter": self.meter.state_dict(),
            "history": self.history.state_dict(),
            "batch": waiting,  # handed out but not reduced: it is handed out again
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from there, exactly. InputError if the state is of a data set of another size."""
        n, given = self.examples.walk.n, len(state["history"]["counts"])
        if given != n:
            raise InputError(f"the state is of a run on {given} examples, this dataset has {n}: wrap the same data")
        for name in ("sampler", "examples", "meter", "history"):
            getattr(self, name).load_state_dict(state[name])
        self.whole = None if state["batch"] is None else Batch(**packed(state["batch"]))
        self.batch, self.reduced, self.told = self.whole, self.whole is None, []
