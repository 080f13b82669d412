"""A whole budgeted run in one line, on a user's own model and data."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from iskit.errors import Diverged, InputError, shown, suggest
from iskit.inputs import guard, typed
from iskit.own.asking import ask, asked_first, check_model
from iskit.own.examples import Source, check_labels, has_classes, sizes, source
from iskit.own.wrapping import wrap
from iskit.training.history import History, numbers
from iskit.training.schedules import schedules

CROSS_ENTROPY = nn.CrossEntropyLoss(reduction="none")
OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": partial(torch.optim.SGD, momentum=0.9),
    "adam": torch.optim.Adam,
}


def fit(
    model: nn.Module,
    train: Any,
    *,
    sampler: str,
    budget: float,
    optimizer: str | torch.optim.Optimizer,
    epochs: int,
    batch_size: int,
    validation: Any = None,
    lr: float | None = None,
    schedule: str = "linear",
    loss: Callable[[Tensor, Tensor], Tensor] = CROSS_ENTROPY,
    unit: str = "backward",
    seed: int = 1,
    evals: int = 20,
    num_workers: int = 0,
    proxy: Callable[[], nn.Module] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> History:
    """Trains `model` on `train` until `budget` is spent; the model is left in eval mode.

        history = iskit.fit(model, train, sampler="p", budget=0.3, optimizer="adam", lr=1e-3,
                            epochs=10, batch_size=128, validation=test)
        history.frame()

    train, validation: as `wrap` takes them; validation is measured `evals` times, evenly over the run, and at its end.
    optimizer: one of torch's on this model's parameters, or "sgd" (momentum .9) or "adam" with `lr`.
    schedule: factor of the learning rate over the run; loss: one number an example; clock: seconds on the host, for
    tests of budgets in seconds. The rest: as in `wrap`.
    Raises InputError for what cannot work, before any training; Diverged, with the `history` so far, if the loss
    stops being a number.
    """
    check_model(model)
    if not callable(loss):
        raise InputError(f"loss={shown(loss)} must be a function of logits and targets: one number an example")
    stepper = _optimizer(model, optimizer, lr)
    factor = schedules.partial(schedule)
    factor(0.0)
    evals = typed("evals", evals, int)
    if evals < 1:
        raise InputError(f"evals={evals!r} must be at least 1")
    held = None if validation is None else source(validation, num_workers=num_workers, name="validation")
    loader = wrap(
        train,
        model,
        sampler=sampler,
        batch_size=batch_size,
        budget=budget,
        epochs=epochs,
        unit=unit,
        seed=seed,
        num_workers=num_workers,
        proxy=proxy,
        clock=clock,
    )
    highest = [group["lr"] for group in stepper.param_groups]
    classes = loader.examples.classes > 0
    device = loader.history.counts.device
    if held is not None:
        _check_validation(held, model, loader.examples.classes, device)
    seen = torch.zeros(3, dtype=torch.float64, device=device)  # since the last evaluation, see `tally`
    done = 0

    def record() -> None:
        with loader.evaluation():
            measured = {f"train_{name}": value for name, value in means(seen).items()}
            if held is not None:
                measured |= means(evaluate(model, held, loss, batch_size, classes, device))
            seen.zero_()
        rate = stepper.param_groups[0]["lr"]
        measured["equivalent_budget"] = loader.budget.equivalent(loader.meter)
        measured |= loader.acting.means(loader.meter.backward) | numbers(loader.sampler)
        loader.history.record(t=loader.t, epoch=loader.epoch, lr=rate, meter=loader.meter, **measured)

    model.train()
    try:
        for image, target in loader:
            share = loader.rate(factor)
            with guard("model and loss cannot take a batch of the training set", "change them, or batch_size"):
                logits = model(image)
                losses = loss(logits, target)
            loader.reduce(losses, logits).backward()
            for group, rate in zip(stepper.param_groups, highest, strict=True):
                group["lr"] = rate * share
            stepper.step()
            stepper.zero_grad()
            seen += tally(logits.detach(), target, losses.detach(), classes)
            if (done + 1) / evals <= loader.t < 1:
                done = max(done + 1, int(loader.t * evals))
                record()
    except Diverged as error:
        error.history = loader.history
        raise
    record()
    model.eval()
    return loader.history


def tally(logits: Tensor, target: Tensor, loss: Tensor, classes: bool) -> Tensor:
    """(3,) float64: summed loss, rows given their (heaviest) class, rows."""
    hits = torch.full_like(loss, torch.nan).sum()
    if classes:
        hits = (logits.argmax(1) == (target.argmax(1) if target.is_floating_point() else target)).sum()
    return torch.stack([loss.sum().double(), hits.double(), torch.full_like(hits, len(loss)).double()])


def means(sums: Tensor) -> dict[str, float]:
    """Accuracy in percent (not a number without classes) and mean loss."""
    loss, hits, rows = sums.tolist()
    return {"accuracy": 100 * hits / max(rows, 1), "loss": loss / max(rows, 1)}


def evaluate(
    model: nn.Module, data: Source, loss: Callable, batch_size: int, classes: bool, device: torch.device
) -> Tensor:
    """The tally of a whole data set in eval mode."""
    sums = torch.zeros(3, dtype=torch.float64, device=device)
    groups = sizes(len(data), batch_size, batch_size)
    for image, target in data.fetch(torch.arange(len(data)), groups, epoch=0):
        target = target.to(device)
        logits = ask(model, image.to(device))
        sums += tally(logits, target, loss(logits, target), classes)
    return sums


def _check_validation(held: Source, model: nn.Module, classes: int, device: torch.device) -> None:
    """InputError if it is empty or its targets are not of the training set's kind; an image that the model cannot
    take makes the model raise here, before the long work."""
    if len(held) == 0:
        raise InputError("validation is empty: give at least one example, or validation=None")
    image, target = held.peek()
    asked_first(model, image, device, "validation")
    if has_classes(target) != (classes > 0):
        kinds = ("classes", "no classes") if classes else ("no classes", "classes")
        raise InputError(f"the training set's targets are {kinds[0]}, those of validation {kinds[1]}: give both alike")
    if classes:
        check_labels(target, classes, "validation")


def _optimizer(model: nn.Module, optimizer: str | torch.optim.Optimizer, lr: float | None) -> torch.optim.Optimizer:
    if isinstance(optimizer, torch.optim.Optimizer):
        if lr is not None:
            raise InputError(f"lr={lr!r} is given beside an optimizer, which has its own: leave it out")
        own = set(map(id, model.parameters()))
        if not any(id(p) in own for group in optimizer.param_groups for p in group["params"]):
            raise InputError("optimizer holds no parameter of this model: make it on model.parameters()")
        return optimizer
    if typed("optimizer", optimizer, str) not in OPTIMIZERS:
        raise InputError(f"optimizer={shown(optimizer)} is unknown: {suggest(str(optimizer), OPTIMIZERS)}")
    if not any(True for _ in model.parameters()):
        raise InputError("model has no parameters to train: give one that has")
    if lr is None or typed("lr", lr, float) <= 0:
        raise InputError(f"lr={shown(lr)} must be a number above 0 for optimizer={optimizer!r}")
    return OPTIMIZERS[optimizer](model.parameters(), lr=float(lr))
