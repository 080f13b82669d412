"""Any sampler in a user's own loop: the model, the loss and the optimizer stay theirs."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from iskit.budget import Budget, Meter
from iskit.errors import Diverged, InputError
from iskit.examples import Examples, check_labels, has_classes, read_target, source
from iskit.history import History
from iskit.samplers import Batch, Outcome, samplers
from iskit.stopwatch import Stopwatch
from iskit.walk import Walk


def wrap(
    dataset: Any,
    model: nn.Module,
    *,
    sampler: str,
    batch_size: int,
    budget: float,
    epochs: int,
    unit: str = "backward",
    seed: int = 1,
    num_workers: int = 0,
    clock: Callable[[], float] = time.perf_counter,
) -> "BudgetedLoader":
    """Batches of `dataset` as `sampler` chooses them, until `budget` is spent: one loop is the whole run.

        loader = iskit.wrap(dataset, model, sampler="p", batch_size=128, budget=0.3, epochs=10)
        loss = nn.CrossEntropyLoss(reduction="none")
        for image, target in loader:
            logits = model(image)
            loader.reduce(loss(logits, target), logits).backward()
            optimizer.step()
            optimizer.zero_grad()

    dataset: (input, target) tensors, a TensorDataset, or a data set with __len__ and __getitem__ that gives such
    pairs; its transforms draw alike in any process and after a restart. Targets are class ids, soft rows that sum
    to 1, or, for samplers that look at neither, anything.
    model: gives logits (b, C); it is used only for scoring, in eval mode, without gradient, on its own device.
    sampler: a spec as `iskit methods` lists them; budget, unit: a share of the full run in (0, 1], of examples
    trained ("backward") or of passes ("cost"), or a time in "seconds"; epochs: of the full run.
    num_workers: processes that make the items of a data set; tensors need none. clock: seconds, for tests.
    Raises InputError for what cannot work, before any training.
    """
    if not isinstance(model, nn.Module):
        raise InputError(f"model is a {type(model).__name__}: give a torch.nn.Module that returns logits (b, C)")
    data = source(dataset, seed=seed, num_workers=num_workers)
    method = samplers.create(sampler)
    method.check(budget=budget, unit=unit, epochs=epochs, batch_size=batch_size)
    limit = Budget.of_run(budget, unit, n=len(data), epochs=epochs, batch_size=batch_size)
    image, target = data.peek()
    classes = 0
    if has_classes(target):
        classes = logits_of(model, image[:2].to(device_of(model))).shape[1]
        check_labels(target, classes)
    elif method.needs_labels:
        raise InputError(
            f"sampler={sampler!r} needs classes, but the dataset's targets are {target.dtype} {tuple(target.shape)}: "
            "give class ids as integers or rows that sum to 1, or use a sampler that needs none, such as unif"
        )
    label = read_target(target, classes)[0] if len(target) == len(data) else torch.full((len(data),), -1)
    label = label.to(device_of(model))
    method.bind(label=label, budget=limit, epochs=epochs, batch_size=batch_size, seed=seed)
    meter = Meter()
    examples = Examples(Walk(method, limit, meter, len(data), seed, label.device), method, batch_size, data, classes)
    return BudgetedLoader(model, examples, limit, meter, clock)


class BudgetedLoader:
    """Iterate over it to train; it ends at the first step at or past the budget. Made by `wrap`.

    meter: passes, steps and seconds so far; history.counts (N,): how often each example was trained;
    t: progress; batch: the examples handed out last. Leaving the loop and entering it again goes on.
    """

    def __init__(self, model: nn.Module, examples: Examples, budget: Budget, meter: Meter, clock: Callable[[], float]):
        self.model, self.examples, self.budget, self.meter = model, examples, budget, meter
        self.sampler, device = examples.sampler, examples.walk.rows.device
        self.history = History(examples.walk.n, device)
        self.watch = Stopwatch(meter.seconds, device, clock)
        self.batch: Batch | None = None
        self.reduced = True

    @property
    def t(self) -> float:
        """The share of the budget that is spent, in [0, 1]."""
        return min(self.budget.spent(self.meter), 1.0)

    @property
    def epoch(self) -> int:
        """Walks begun through what the sampler planned, -1 before the first batch."""
        return self.examples.walk.epoch

    def __len__(self) -> int:
        """Steps of the whole run."""
        if self.budget.unit != "backward":
            raise TypeError(f"the number of steps is not known beforehand for unit={self.budget.unit!r}: use loader.t")
        return -(-self.budget.examples // self.examples.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        try:
            while self.t < 1:
                self.watch.switch("train")
                if self.reduced:
                    self.batch = self.examples.batch(self.t, self.score)
                    self.reduced = False
                assert self.batch is not None
                yield self.batch.image, self.examples.given_target(self.batch)
                if not self.reduced:
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

    def reduce(self, loss: Tensor, logits: Tensor) -> Tensor:
        """The scalar to minimise, from the per-example loss (b,) and the logits (b, C) of the batch handed out.

        Counts the step and tells the sampler what it showed. InputError for a reduced loss or a batch that is
        not the loader's, Diverged for a loss that is not finite.
        """
        batch = self.batch
        if batch is None or self.reduced:
            raise InputError("loader.reduce was called without a new batch: call it once for each batch of the loop")
        size = len(batch)
        if loss.shape != (size,):
            found = "a single number, reduced already" if loss.ndim == 0 else f"of shape {tuple(loss.shape)}"
            raise InputError(
                f'loss is {found}: give one number for each of the {size} examples, reduction="none" in torch\'s losses'
            )
        if self.examples.classes:
            check_logits(logits, size)
        # One synchronisation a step: it stops the run before the optimizer spoils the parameters.
        wrong = ~loss.detach().isfinite()
        if wrong.any():
            raise Diverged(
                f"the loss is not a finite number at step {self.meter.steps} (t={self.t:.3f}) for the examples "
                f"{batch.index[wrong].tolist()[:10]}: look at them for bad values, or try a learning rate a tenth as large"
            )
        scalar = self.sampler.reduce(loss, batch.weight)
        self.sampler.update(Outcome(batch, logits.detach(), loss.detach()))
        self.meter.trained(size)
        self.history.see(batch.index)
        self.reduced = True
        return scalar

    def score(self, batch: Batch) -> Tensor:
        """Logits (m, C) of candidates, charged to the meter and to its own time."""
        self.watch.switch("scoring")
        logits = logits_of(self.model, batch.image)
        self.meter.scored(len(batch))
        self.watch.switch("train")
        return logits

    @contextmanager
    def evaluation(self) -> Iterator[None]:
        """Time spent within stands apart and is not charged to a budget in seconds."""
        phase = self.watch.phase
        self.watch.switch("eval")
        try:
            yield
        finally:
            self.watch.switch(phase)

    def state_dict(self) -> dict[str, Any]:
        """All that the rest of the run depends on beside the user's model, optimizer and random state."""
        waiting = None if self.reduced or self.batch is None else vars(self.batch)
        return {
            "sampler": self.sampler.state_dict(),
            "examples": self.examples.state_dict(),
            "meter": self.meter.state_dict(),
            "history": self.history.state_dict(),
            "batch": waiting,  # handed out but not reduced: handed out again
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from there, exactly. InputError if the state is of a data set of another size."""
        if len(state["history"]["counts"]) != self.examples.walk.n:
            raise InputError(
                f"the state is of a run on {len(state['history']['counts'])} examples, "
                f"this dataset has {self.examples.walk.n}: wrap the same data and load it again"
            )
        for name in ("sampler", "examples", "meter", "history"):
            getattr(self, name).load_state_dict(state[name])
        self.reduced = state["batch"] is None
        self.batch = None if self.reduced else Batch(**state["batch"])


def device_of(model: nn.Module) -> torch.device:
    first = next(chain(model.parameters(), model.buffers()), None)
    return torch.device("cpu") if first is None else first.device


def in_eval_mode(model: nn.Module, image: Tensor) -> Any:
    """The model's output in eval mode, without gradient; every module's mode and buffers are as before."""
    modes = {module: module.training for module in model.modules()}
    buffers = {buffer: (buffer._version, buffer.clone()) for buffer in model.buffers()}
    model.eval()
    try:
        with torch.no_grad():
            return model(image)
    finally:
        for module, training in modes.items():
            module.training = training
        with torch.no_grad():
            for buffer, (version, before) in buffers.items():
                if buffer._version != version:  # a user's module may change its buffers in any mode
                    buffer.copy_(before)


def logits_of(model: nn.Module, image: Tensor) -> Tensor:
    """(m, C) float32 in eval mode. InputError if the model gives anything else."""
    logits = in_eval_mode(model, image)
    check_logits(logits, len(image))
    return logits.float()


def check_logits(logits: Any, size: int) -> None:
    """InputError unless they are (size, C)."""
    if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != size:
        found = f"shape {tuple(logits.shape)}" if isinstance(logits, Tensor) else type(logits).__name__
        raise InputError(f"the model gives {found} for {size} examples: samplers need logits of shape ({size}, C)")
