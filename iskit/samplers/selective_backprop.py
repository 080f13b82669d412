r"""Trains a candidate the more likely, the higher its loss ranks among the last ones seen.

cite: Jiang et al. 2019, "Accelerating Deep Learning by Focusing on the Biggest Losers"
changes: which candidates, once a step
passes: one forward a candidate after the first epoch, which trains everything; equivalent budget about B + 1/3
rule: H = the last 1024 losses (N if less), this pool's among them; percentile_i = #{h in H: h < loss_i} / |H|;
  kept with probability percentile_i ^ beta, 1 / (beta + 1) of all, plain mean, no weights: biased on purpose.
  Not given, beta spends the budget with epoch T: keep = (B T - 1) / (T - 1), beta = 1 / keep - 1; if B T < 2,
  everything is trained only until H is full. Mixed candidates are scored as mixed, with their soft targets
formula: P(\text{keep } i) = \left( \frac{\text{number of } h \in H \text{ with } h < \ell_i}{|H|} \right)^{\beta},
  \quad \beta = \frac{1}{\text{keep}} - 1
when: forward passes are cheap beside backward ones, and few labels are wrong
differs: from the official code: H starts with the first epoch's training losses, not empty; beta follows the budget,
  not 3; a kept row keeps its own mixed target; the learning rate follows the budget spent; kept rows wait for a full
  batch. official=True: H is empty when selection begins, beta=3 if not given; the learning rate follows the candidates
  shown (after the first of 12 epochs still 11/12 of it), at its end from T epochs on; an epoch's last rows are trained
  at its end, however few, but for a single one, which batch norm cannot take; and the code's defect: all rows of a
  batch are given the first one's mixing weights (lam of mixup, the areas of ricap's patches by their place) though
  they come from many batches of candidates; without mixing there is none.
  With its documented spelling `ricap` that code trains without RICAP, as it compares with "RICAP": not so here
neutral: beta=0
"""

from collections.abc import Callable
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from iskit.budget import Budget
from iskit.errors import InputError
from iskit.randomness import Stream, generator
from iskit.samplers.base import Batch, Outcome, Sampler, Score, samplers
from iskit.samplers.draw import permuted


@samplers.register("selective_backprop", "SB", "selective_backpropagation", revised={"official=True": 2})
class SelectiveBackprop(Sampler):
    """beta: how sharply high losses are preferred, None derives it from the budget; history: losses in H;
    stale: scores an example only every so many epochs, and else takes its last loss (StaleSB);
    official: as the published code does, with its defect under mixing; control: permute the losses among the
    candidates."""

    needs_labels = True

    def __init__(
        self,
        *,
        beta: float | None = None,
        history: int = 1024,
        stale: int = 1,
        official: bool = False,
        control: bool = False,
    ):
        if beta is not None and not beta >= 0:
            raise InputError(f"sampler option beta={beta!r} must be 0 (keep all) or above, or None: from the budget")
        for name, value in {"history": history, "stale": stale}.items():
            if value < 1:
                raise InputError(f"sampler option {name}={value} must be at least 1")
        self.given = 3.0 if official and beta is None else beta
        self.history, self.stale, self.official, self.control = history, stale, official, control
        self.needs_parts = self.epochs_apart = official
        self.whole_batches = not official

    def check(self, *, budget: float, unit: str, epochs: int, batch_size: int) -> None:
        if self.history < batch_size:
            raise InputError(f"sampler option history={self.history} must hold a batch: set it to {batch_size} or more")
        if unit == "seconds" and self.given is None:
            raise InputError(
                "sampler option beta=None needs a budget in examples, unit='seconds' is none: give beta, such as 3"
            )

    def bind(self, *, label: Tensor, budget: Budget, epochs: int, batch_size: int, seed: int) -> None:
        super().bind(label=label, budget=budget, epochs=epochs, batch_size=batch_size, seed=seed)
        self.recent = torch.zeros(min(self.history, self.n), device=self.device)  # H, a ring: the oldest goes first
        counted = budget.unit != "seconds"
        # Candidates trained without selection: the first epoch, or what fills H if that is too much of the budget.
        self.warmup = len(self.recent) if counted and budget.examples < 2 * self.n else self.n
        if counted and budget.examples <= min(self.warmup, budget.full - 1):
            raise InputError(
                f"budget={budget.amount:g} is {budget.examples} examples, but the first {self.warmup} are trained "
                f"without selection: raise budget or epochs, or lower the sampler option history={self.history}"
            )
        self.beta = self.derived() if self.given is None else self.given
        # Candidates before the first pool that is scored: the official H is read as if they had not been.
        whole = self.warmup if self.warmup == self.n else self.warmup // batch_size * batch_size
        self.unknown = whole if self.official else 0
        self.seen = torch.zeros((), dtype=torch.int64)  # candidates; stays on the host, which steers by it
        self.chosen = torch.zeros((), dtype=torch.int64)  # of those that were scored; on the host too
        self.last = torch.zeros(self.n if self.stale > 1 else 0, device=self.device)

    def derived(self) -> float:
        """The beta with which the budget ends with the last epoch. InputError if there is none."""
        rest = self.budget.full - self.warmup
        keep = (self.budget.examples - self.warmup) / rest if rest else 1.0
        if self.budget.unit == "cost":
            keep -= 1 / 3  # what scoring a candidate costs, in examples trained
        if keep <= 0:
            raise InputError(
                f"budget={self.budget.amount:g} in unit='cost' does not pay for scoring every example once an epoch: "
                "raise budget above 0.34, or give the sampler option beta, such as 3, which ends before the last epoch"
            )
        return 1 / keep - 1

    def candidates(self) -> int:
        """Officially no pool reaches into the next epoch."""
        return min(self.batch_size, self.n - int(self.seen) % self.n) if self.official else self.batch_size

    def size(self, waiting: int) -> int:
        ended = self.official and int(self.seen) % self.n == 0
        return waiting if ended and 1 < waiting < self.batch_size else self.batch_size

    def rate(self, t: float, schedule: Callable[[float], float]) -> float:
        return schedule(min(int(self.seen) / self.budget.full, 1.0) if self.official else t)

    def select(self, pool: Batch, score: Score) -> tuple[Tensor, Tensor] | None:
        first = int(self.seen)
        self.seen += len(pool)
        outright = max(0, self.warmup - first)
        if outright >= len(pool):
            return None
        loss = self.loss(pool, score, first)
        self.remember(loss)
        if self.control:
            loss = permuted(loss, self.seed, first)
        draws = torch.from_numpy(generator(self.seed, Stream.CHOICE, first).random(len(pool)))
        chance = self.percentile(loss) ** self.beta
        chance[:outright] = 1.0
        self.tell(chance)
        rows = (
            (draws.to(self.device, non_blocking=True) < chance).nonzero().squeeze(1)
        )  # the pass's only wait for a GPU
        self.chosen += len(rows) - outright
        return rows, torch.ones(len(rows), device=self.device)

    def loss(self, pool: Batch, score: Score, first: int) -> Tensor:
        """(m,) losses of candidates first, first + 1, ... of the run, fresh if one of their epochs is due."""
        epochs = range(first // self.n, (first + len(pool) - 1) // self.n + 1)
        start = self.warmup // self.n  # the first epoch that selects
        if self.stale > 1 and all((epoch - start) % self.stale for epoch in epochs):
            return self.last[pool.index]
        loss = F.cross_entropy(score(pool), pool.target, reduction="none")
        if self.stale > 1:
            self.last[pool.index] = loss
        return loss

    def remember(self, loss: Tensor) -> None:
        """Puts the losses of the candidates seen last into H."""
        place = torch.arange(len(loss), device=self.device) + (int(self.seen) - self.unknown - len(loss))
        self.recent[place % len(self.recent)] = loss

    def percentile(self, loss: Tensor) -> Tensor:
        """(m,) float64: the share of H strictly below each loss."""
        known = self.recent[: int(self.seen) - self.unknown].sort().values
        return torch.searchsorted(known, loss).double() / len(known)

    def numbers(self) -> dict[str, Tensor | float]:
        scored = int(self.seen) - self.warmup
        return {"kept": int(self.chosen) / scored if scored > 0 else 1.0}

    def finish(self, batch: Batch) -> Batch:
        if batch.parts is None or batch.share is None:
            return batch
        # Trap: rows mixed in other batches had other shares, which is what their images show.
        target = (batch.share[0, :, None] * batch.parts).sum(1)
        return replace(batch, target=target, parts=None, share=None)

    def update(self, outcome: Outcome) -> None:
        if int(self.seen) <= self.warmup:  # nothing is scored yet: the training losses are for free
            self.remember(outcome.loss)
            if self.stale > 1:
                self.last[outcome.batch.index] = outcome.loss
