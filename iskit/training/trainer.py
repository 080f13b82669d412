"""The loop. It knows no sampler and no augmentation by name."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from iskit.augment import Pipeline
from iskit.budget import Budget, Meter
from iskit.data import Dataset
from iskit.errors import Diverged
from iskit.randomness import torch_seed
from iskit.samplers import Outcome, Proxy, Sampler
from iskit.training.evaluation import EVAL_BATCH, measure
from iskit.training.feed import Feed
from iskit.training.graphs import Steps, compiled, recorder, undone
from iskit.training.history import History, numbers
from iskit.training.numerics import numerics
from iskit.training.proxy import ProxyTrainer
from iskit.training.sample import Sample
from iskit.training.scorer import Scorer, eval_mode
from iskit.training.stats import flagged
from iskit.training.stopwatch import Stopwatch
from iskit.training.tally import Tally


class Trainer:
    """One budgeted run in memory. Iterate over it to train: it gives the progress t in (0, 1] after every step.

        trainer = Trainer(model, data, sampler, augment, budget=0.3, epochs=60, ...)
        for t in trainer:
            ...                      # show t; leave the loop to stop
        trainer.history.frame()

    data, model: on the device to train on. augment: unbound. sampler: unbound. schedule: factor of lr as a function
    of t. precision: float32, bf16, or auto: bf16 on a GPU. compile: off, or auto: on a GPU the model is compiled and
    steps run as CUDA graphs. deterministic: bit-repeatable on a GPU too. cache: folder that keeps the sampler's
    preparations for further runs, None to prepare anew. clock: seconds on the host, for tests of budgets in seconds.
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
        precision: str = "auto",
        compile: str = "auto",
        deterministic: bool = False,
        cache: Path | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ):
        sampler.check(budget=budget, unit=unit, epochs=epochs, batch_size=batch_size)
        self.budget = Budget.of_run(budget, unit, n=len(data), epochs=epochs, batch_size=batch_size)
        self.device = device = data.label.device
        self.model, self.data, self.sampler, self.batch_size = model, data, sampler, batch_size
        self.lr, self.schedule, self.evals, self.seed = lr, schedule, evals, seed
        cuda = device.type == "cuda"
        self.bf16 = precision == "bf16" or (precision == "auto" and cuda)
        self.deterministic = deterministic
        self.may_wait = not cuda  # a GPU would stand still while the host looks at what it found
        self.generator = torch.cuda.default_generators[device.index or 0] if cuda else torch.default_generator
        self.meter = Meter()
        self.history = History(len(data), device)
        self.tally = Tally(batch_size, device)
        self.sample = Sample(data, seed)
        self.correct = torch.zeros(len(data.test_label), dtype=torch.bool, device=device)  # at the last evaluation
        self.times: list[tuple[float, float]] = []  # t and learning rate of each step since the last evaluation
        self.started = 0  # steps before those
        self.watch = Stopwatch(self.meter.seconds, device, clock)
        sampler.bind(label=data.label, budget=self.budget, epochs=epochs, batch_size=batch_size, seed=seed)
        augment.bind(seed=seed, pad=data.pad, flip=data.flip, mean=data.mean)
        self.score = Scorer(model, self.meter, self._scoring, self.logits)
        self.feed = Feed(data, sampler, augment, self.budget, self.meter, batch_size, seed)
        self.acting = self.feed.walk.acting
        self.proxy: Proxy = ProxyTrainer(data, self.meter, batch_size=batch_size, seed=seed, cache=cache, clock=clock)
        # A tensor, changed in place: a captured step reads it anew. Float32 is what the GPU's kernels read.
        self.rate = torch.tensor(lr, dtype=torch.float32 if cuda else torch.float64, device=device)
        self.optimizer: torch.optim.Optimizer
        parameters, decay = model.parameters(), weight_decay
        if optimizer == "adam":
            self.optimizer = torch.optim.Adam(parameters, self.rate, weight_decay=decay, fused=True, capturable=cuda)
        else:
            self.optimizer = torch.optim.SGD(parameters, self.rate, momentum, weight_decay=decay, fused=True)
        record = recorder(device, compile)
        # The compiler's choice of kernels may differ from process to process.
        fast = compiled(model) if record and not deterministic else None
        self.learn, self.infer = (
            Steps(partial(work, model), None if fast is None else partial(work, fast), record, self._trial)
            for work in (self._learn, self._infer)
        )
        self.captures = record is not None
        self.evaluated = 0  # evaluations done

    def __iter__(self) -> Iterator[float]:
        if self.meter.steps == 0:
            with numerics(self.device, self.deterministic), self.watch.during("prepare"):
                self.sampler.prepare(self.proxy)
        self.model.train()
        while (t := self.budget.spent(self.meter)) < 1:
            with numerics(self.device, self.deterministic):  # not around the yield: other runs may take turns
                t = self._advance(t)
            yield min(t, 1.0)

    def _advance(self, t: float) -> float:
        """A step, and an evaluation if one is due; the new t."""
        with self.watch.during("train"):
            self._step(t)
        if self.budget.unit == "seconds":
            self.watch.settle()
        t = self.budget.spent(self.meter)
        if t >= (self.evaluated + 1) / self.evals or t >= 1:
            self._evaluate(t)
        return t

    def _step(self, t: float) -> None:
        batch = self.feed.batch(t, self.score)
        # Dropout and the like draw from torch's own generator: seeded a step, so nothing has to be saved. Not by
        # torch.manual_seed: where no GPU is in use it keeps a traceback for later, at every call.
        self.generator.manual_seed(torch_seed(self.seed, self.meter.steps))
        rate = self.lr * self.sampler.rate(t, self.schedule)
        self.rate.fill_(rate)
        self.times.append((t, rate))
        key, reason = self._captured(len(batch))
        logits, loss = self.learn(batch.index, batch.image, batch.target, batch.weight, key=key, reason=reason)
        self.sampler.update(Outcome(batch, logits, loss))
        self.meter.trained(len(batch))

    def _learn(
        self, network: Callable[[Tensor], Tensor], index: Tensor, image: Tensor, target: Tensor, weight: Tensor
    ) -> tuple[Tensor, Tensor]:
        """All that a step computes: logits (b, K) and losses (b,). A graph may replay it: no host, no waiting."""
        with self._autocast():
            logits = network(image)
        loss = F.cross_entropy(logits.float(), target, reduction="none")
        self.tally.see(index, target, logits.detach(), loss.detach())
        if self.may_wait:
            self._check()  # before the optimizer spoils the model
        scalar = self.sampler.reduce(loss, weight)
        self.acting.reduced(self.sampler.heard(), len(loss))
        scalar.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.history.see(index)
        return logits.detach(), loss.detach()

    def _infer(self, network: Callable[[Tensor], Tensor], image: Tensor) -> tuple[Tensor]:
        with eval_mode(self.model), torch.no_grad(), self._autocast():
            return (network(image).float(),)

    def logits(self, image: Tensor) -> Tensor:
        """(m, K) float32 for images (m, C, H, W), in eval mode."""
        rows = len(image)
        full = rows % self.batch_size == 0 or rows == min(EVAL_BATCH, len(self.data.test_label))
        return self.infer(image, key=rows if full else None)[0]

    def _captured(self, rows: int) -> tuple[Any, str]:
        """What a captured step depends on beside tensors; None if it cannot be captured, and why."""
        frozen, name = self.sampler.frozen(), type(self.sampler).__name__
        if frozen is None:
            return None, f"{name}.reduce may do something else at each step"
        if rows != self.batch_size:
            return None, f"{name} changes how many rows a step trains"
        return frozen, ""

    @contextmanager
    def _trial(self) -> Iterator[None]:
        with self.watch.during("warmup"), undone(self._changed, self.generator):
            try:
                yield
            finally:
                self.optimizer.zero_grad()  # of a trial that failed amid a step

    def _changed(self) -> Iterable[Tensor]:
        """The tensors that a step changes."""
        remembered = chain.from_iterable(state.values() for state in self.optimizer.state.values())
        state = chain(remembered, self.sampler.state_dict().values())
        yield from (value for value in state if isinstance(value, Tensor))
        yield from chain(
            self.model.parameters(),
            self.model.buffers(),
            self.tally.state_dict().values(),
            [self.history.counts, self.acting.sums],
        )

    def _check(self) -> None:
        """Diverged if a step since the last evaluation had a loss that is not a number. Waits for the device."""
        if self.tally.alright:
            return
        fine = int(self.tally.fine)
        (t, rate), step = self.times[fine], self.started + fine + 1
        examples = [index for index in self.tally.wrong.tolist() if index >= 0][:10]
        raise Diverged(
            f"the loss is not a finite number at step {step} (t={t:.3f}, lr={rate:.3g}) "
            f"for the examples {examples}: try lr={self.lr / 10:g}, or precision='float32'"
        )

    def _begin_tally(self) -> None:
        self.tally.reset()
        self.times.clear()
        self.started = self.meter.steps

    @contextmanager
    def _scoring(self) -> Iterator[None]:
        with self.watch.during("scoring"), self._autocast():
            yield

    def _evaluate(self, t: float) -> None:
        # At least one more: 0.29 x 100 is 28.999...96, and the 29th would be due again.
        self.evaluated = max(self.evaluated + 1, int(t * self.evals))
        with self.watch.during("eval"):
            found = measure(self.logits, self.data)
            sample = self.sample.see(min(t, 1.0), self.logits, self.history.counts)
        self.correct.copy_(found.correct)
        self.watch.settle()
        self._check()
        train_loss, train_accuracy = self.tally.means()
        _, rate = self.times[-1]
        self._begin_tally()
        self.history.record(
            t=t,
            epoch=self.feed.epoch,
            lr=rate,
            meter=self.meter,
            accuracy=found.accuracy,
            loss=found.loss,
            worst_class_accuracy=found.worst_class_accuracy,
            equivalent_budget=self.budget.equivalent(self.meter),
            train_accuracy=train_accuracy,
            train_loss=train_loss,
            **sample,
            **self.acting.means(self.meter.backward),
            **flagged(self.history.counts, self.data.flags),
            **numbers(self.sampler),
        )

    def _autocast(self) -> torch.autocast:
        # A cache of the weights in bf16 would outlive a captured step, and be stale in the next.
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16, cache_enabled=False)

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
            "tally": self.tally.state_dict(),
            "sample": self.sample.state_dict(),
            "correct": self.correct,
            "times": self.times,
            "started": self.started,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name in ("model", "optimizer", "sampler", "feed", "meter", "history", "tally", "sample"):
            getattr(self, name).load_state_dict(state[name])
        self.correct.copy_(state["correct"])
        self.evaluated, self.times, self.started = state["evaluated"], list(state["times"]), state["started"]
        # Loading gives the optimizer new tensors, which captured steps would not see.
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate.fill_(group["lr"])
        self.learn.forget()
