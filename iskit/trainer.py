"""The loop. It knows no sampler and no augmentation by name."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from iskit.augment import Pipeline
from iskit.budget import Budget, Meter
from iskit.data import Dataset
from iskit.errors import Diverged
from iskit.feed import Feed
from iskit.history import History
from iskit.proxy import ProxyTrainer
from iskit.samplers import Batch, Outcome, Sampler
from iskit.scorer import Scorer
from iskit.stopwatch import Stopwatch

EVAL_BATCH = 2000


class Trainer:
    """One budgeted run in memory. Iterate over it to train: it gives the progress t in (0, 1] after every step.

        trainer = Trainer(model, data, sampler, augment, budget=0.3, epochs=60, ...)
        for t in trainer:
            ...                      # show t; leave the loop to stop
        trainer.history.frame()

    data, model: on the device to train on. augment: unbound. sampler: unbound. schedule: factor of lr as a function
    of t. cache: folder that keeps the sampler's preparations for further runs, None to prepare anew.
    clock: seconds on the host, for tests of budgets in seconds.
    Raises InputError for a budget that is too small for one batch, Diverged when the loss stops being a number.
    """

    def __init__(
        self,
        model: nn.Module,
        data: Dataset,
        sampler: Sampler,
        augment: Pipeline,
        *,
        budget: float,
        unit: str = "backward",
        epochs: int,
        batch_size: int,
        optimizer: str = "sgd",
        lr: float,
        schedule: Callable[[float], float],
        momentum: float = 0.9,
        weight_decay: float = 1e-4,
        seed: int = 1,
        evals: int = 20,
        precision: str = "float32",
        cache: Path | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ):
        sampler.check(budget=budget, unit=unit, epochs=epochs, batch_size=batch_size)
        self.budget = Budget.of_run(budget, unit, n=len(data), epochs=epochs, batch_size=batch_size)
        device = data.label.device
        self.model, self.data, self.sampler = model, data, sampler
        self.lr, self.schedule, self.evals, self.seed = lr, schedule, evals, seed
        self.device_type, self.bf16 = device.type, precision == "bf16"
        cuda = device.type == "cuda"
        self.generator = torch.cuda.default_generators[device.index or 0] if cuda else torch.default_generator
        self.meter = Meter()
        self.history = History(len(data), device)
        self.watch = Stopwatch(self.meter.seconds, device, clock)
        sampler.bind(label=data.label, budget=self.budget, epochs=epochs, batch_size=batch_size, seed=seed)
        augment.bind(seed=seed, pad=data.pad, flip=data.flip, mean=data.mean)
        self.score = Scorer(model, self.meter, self._scoring)
        self.feed = Feed(data, sampler, augment, self.budget, self.meter, batch_size, seed)
        self.proxy = ProxyTrainer(data, self.meter, batch_size=batch_size, seed=seed, cache=cache, clock=clock)
        parameters = model.parameters()
        self.optimizer: torch.optim.Optimizer
        if optimizer == "adam":
            self.optimizer = torch.optim.Adam(parameters, lr, weight_decay=weight_decay, fused=True)
        else:
            self.optimizer = torch.optim.SGD(parameters, lr, momentum, weight_decay=weight_decay, fused=True)
        self.evaluated = 0  # evaluations done
        self.sums = torch.zeros(3, device=device, dtype=torch.float64)  # training loss, hits, rows since the last one

    def __iter__(self) -> Iterator[float]:
        if self.meter.steps == 0:
            self.watch.switch("prepare")
            self.sampler.prepare(self.proxy)
            self.watch.switch(None)
        self.model.train()
        while (t := self.budget.spent(self.meter)) < 1:
            self.watch.switch("train")
            self._step(t)
            self.watch.switch(None)
            if self.budget.unit == "seconds":
                self.watch.settle()
            t = self.budget.spent(self.meter)
            if t >= (self.evaluated + 1) / self.evals or t >= 1:
                self._evaluate(t)
            yield min(t, 1.0)

    def _step(self, t: float) -> None:
        batch = self.feed.batch(t, self.score)
        # Dropout and the like draw from torch's own generator: seeded a step, so nothing has to be saved. Not by
        # torch.manual_seed: where no GPU is in use it keeps a traceback for later, at every call.
        self.generator.manual_seed((self.seed << 32) + self.meter.steps)
        with self._autocast():
            logits = self.model(batch.image)
        loss = F.cross_entropy(logits.float(), batch.target, reduction="none")
        if self.device_type == "cpu":  # a GPU would have to be waited for: there the next evaluation notices
            self._check(loss, batch, t)
        self.sampler.reduce(loss, batch.weight).backward()
        rate = self.lr * self.schedule(t)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad()
        outcome = Outcome(batch, logits.detach(), loss.detach())
        self.sampler.update(outcome)
        self.meter.trained(len(batch))
        self.history.see(batch.index)
        self._observe(outcome)

    def _observe(self, outcome: Outcome) -> None:
        # A mixed row counts as right if it is given its heaviest class.
        hits = (outcome.logits.argmax(1) == outcome.batch.target.argmax(1)).sum()
        self.sums += torch.stack([outcome.loss.sum(), hits, torch.full_like(hits, len(outcome.batch))])

    def _check(self, loss: Tensor, batch: Batch, t: float) -> None:
        wrong = ~loss.detach().isfinite()
        if wrong.any():
            self._diverged(self.meter.steps + 1, t, f" for the examples {batch.index[wrong].tolist()[:10]}")

    def _diverged(self, step: int, t: float, where: str = "") -> None:
        raise Diverged(
            f"the loss is not a finite number at step {step} (t={t:.3f}, lr={self.lr * self.schedule(t):.3g})"
            f"{where}: try lr={self.lr / 10:g}, or precision='float32'"
        )

    @contextmanager
    def _scoring(self) -> Iterator[None]:
        self.watch.switch("scoring")
        with self._autocast():
            yield
        self.watch.switch("train")

    def _evaluate(self, t: float) -> None:
        # At least one more: 0.29 x 100 is 28.999...96, and the 29th would be due again.
        self.evaluated = max(self.evaluated + 1, int(t * self.evals))
        self.watch.switch("eval")
        accuracy, loss = evaluate(self.model, self.data, bf16=self.bf16)
        self.watch.switch(None)
        self.watch.settle()
        train_loss, hits, rows = self.sums.tolist()
        rate = self.optimizer.param_groups[0]["lr"]
        if train_loss != train_loss or abs(train_loss) == float("inf"):
            self._diverged(self.meter.steps, t)
        self.sums.zero_()
        self.history.record(
            t=t,
            epoch=self.feed.epoch,
            lr=rate,
            meter=self.meter,
            accuracy=accuracy,
            loss=loss,
            equivalent_budget=self.budget.equivalent(self.meter),
            train_accuracy=100 * hits / max(rows, 1),
            train_loss=train_loss / max(rows, 1),
        )

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device_type, torch.bfloat16, enabled=self.bf16, cache_enabled=False)

    def state_dict(self) -> dict[str, Any]:
        """Everything that the rest of the run depends on; take it between steps."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "sampler": self.sampler.state_dict(),
            "feed": self.feed.state_dict(),
            "meter": self.meter.state_dict(),
            "history": self.history.state_dict(),
            "evaluated": self.evaluated,
            "sums": self.sums,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name in ("model", "optimizer", "sampler", "feed", "meter", "history"):
            getattr(self, name).load_state_dict(state[name])
        self.evaluated = state["evaluated"]
        self.sums.copy_(state["sums"])


@torch.no_grad()
def evaluate(model: nn.Module, data: Dataset, *, bf16: bool = False) -> tuple[float, float]:
    """Accuracy in percent and mean cross-entropy on the test set; leaves the model in train mode."""
    model.eval()
    loss = hits = torch.zeros((), device=data.label.device, dtype=torch.float64)
    for image, label in zip(data.test_image.split(EVAL_BATCH), data.test_label.split(EVAL_BATCH), strict=True):
        with torch.autocast(data.label.device.type, torch.bfloat16, enabled=bf16, cache_enabled=False):
            logits = model(data.normalise(image)).float()
        loss = loss + F.cross_entropy(logits, label, reduction="sum")
        hits = hits + (logits.argmax(1) == label).sum()
    model.train()
    n = len(data.test_label)
    return 100 * hits.item() / n, loss.item() / n
