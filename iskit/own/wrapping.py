"""Wraps a user's data and model, or says what cannot work before any training."""

import time
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from iskit.budget import Budget, Meter
from iskit.errors import InputError, shown
from iskit.inputs import typed
from iskit.own.asking import asked_first, check_model, device_of
from iskit.own.examples import Examples, check_labels, has_classes, read_target, source
from iskit.own.loader import BudgetedLoader
from iskit.own.named import Called, Named
from iskit.own.proxy import OwnProxy
from iskit.own.ranks import Ranks, fingerprint
from iskit.samplers import samplers
from iskit.training.scorer import check_logits
from iskit.training.walk import Walk

WORKERS = 1024  # processes


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
    target: str | None = None,
    proxy: Callable[[], nn.Module] | None = None,
    group: dist.ProcessGroup | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> BudgetedLoader:
    """Batches of `dataset` as `sampler` chooses them, until `budget` is spent: one loop is the whole run.

        loader = iskit.wrap(dataset, model, sampler="gnorm(presample=3)", batch_size=128, budget=0.3, epochs=10)
        loss = nn.CrossEntropyLoss(reduction="none")
        for image, target in loader:
            logits = model(image)
            loader.reduce(loss(logits, target), logits).backward()
            optimizer.step()
            optimizer.zero_grad()

    A learning rate that falls over the run is set before the step, e.g. to 0.1 * loader.rate(lambda t: 1 - t).
    dataset: two tensors (input, target), a TensorDataset, or a data set with __len__ and __getitem__ that gives such
    pairs; its random transforms draw alike in any process and after a restart. Targets are class ids, rows that sum
    to 1, or, for samplers that look at no labels, anything.
    model: gives logits (b, C). It is used only for scoring: in eval mode, without gradient, by cross-entropy.
    Batches come on its device.
    sampler: a spec, see `iskit methods`. budget, unit: a share of the full run in (0, 1], of examples trained
    (backward) or of all passes (cost), or seconds. epochs: of the full run.
    num_workers: processes that make the items of a data set; tensors need none.
    target: of a data set that gives dictionaries, the key of the label. Batches are dictionaries then, and the model is
    asked by name, as model(**inputs); of what it gives `logits` are taken, if there are any.
    A model in DistributedDataParallel shares the run with its other ranks: wrap on each of them alike. batch_size is
    that of all together; each reads the whole batch and is handed its slice. unit="seconds" is not for them.
    group: of a model that a framework puts into DistributedDataParallel only later, the ranks that will share it.
    proxy: makes a small model, for samplers that train some before the run; it takes the place of their own option.
    Raises InputError for what cannot work, before any training.
    """
    check_model(model)
    for name, value in {"proxy": proxy, "clock": clock}.items():
        if value is not None and not callable(value):
            raise InputError(f"{name}={shown(value)} must be a function without arguments")
    if group is not None and not isinstance(group, dist.ProcessGroup):
        raise InputError(f"group={shown(group)} must be of torch.distributed, such as torch.distributed.group.WORLD")
    sampler, unit, budget = typed("sampler", sampler, str), typed("unit", unit, str), typed("budget", budget, float)
    epochs, batch_size = typed("epochs", epochs, int), typed("batch_size", batch_size, int)
    seed, num_workers = typed("seed", seed, int), typed("num_workers", num_workers, int)
    for name, number, highest in (("seed", seed, 2**32 - 1), ("num_workers", num_workers, WORKERS)):
        if not 0 <= number <= highest:
            raise InputError(f"{name}={number} must be from 0 to {highest}")
    ranks = Ranks(model, group)
    data = source(dataset, seed=seed, num_workers=num_workers, target=target)
    n, device = len(data), device_of(model)
    if ranks.count > 1:
        settings = {"sampler": sampler, "batch_size": batch_size, "budget": budget, "unit": unit, "epochs": epochs}
        ranks.agree({"dataset": f"{n} examples, {fingerprint(*data.peek())}", **settings, "seed": seed})
    ranks.slice(batch_size)
    if ranks.count > 1 and unit == "seconds":
        raise InputError("unit='seconds' is not for several ranks, whose clocks differ: use backward or cost")
    method = samplers.create(sampler)
    method.check(budget=budget, unit=unit, epochs=epochs, batch_size=batch_size)
    limit = Budget.of_run(budget, unit, n=n, epochs=epochs, batch_size=batch_size)
    image, label = data.peek()
    asked = Called(model.module if isinstance(model, DistributedDataParallel) else model)
    if method.price > 1 and isinstance(image, Named):
        raise InputError(
            f"sampler={sampler!r} takes gradients an example, which inputs by name do not give: give one tensor"
        )
    classes = 0
    if has_classes(label):
        logits = asked_first(asked, image, device)
        check_logits(logits, len(image[:2]))
        classes = logits.shape[1]
        check_labels(label, classes)
    elif method.needs_labels:
        raise InputError(
            f"sampler={sampler!r} needs classes, but the dataset's targets are {label.dtype} of shape "
            f"{tuple(label.shape)}: give class ids as integers or rows that sum to 1, or use a sampler such as unif"
        )
    known = read_target(label, classes)[0] if len(label) == n else torch.full((n,), -1)
    method.bind(label=known.to(device), budget=limit, epochs=epochs, batch_size=batch_size, seed=seed)
    meter = Meter()
    prepare = OwnProxy(proxy, data, meter, classes=classes, batch_size=batch_size, seed=seed, device=device)
    if proxy is None:
        method.prepare(prepare)  # now, so that a sampler that asks it is refused now
    walk = Walk(method, limit, meter, n, seed, device)
    ids = classes > 0 and not label.is_floating_point()
    examples = Examples(walk, method, batch_size, data, classes, ids, target)
    return BudgetedLoader(model, asked, examples, limit, prepare, ranks, clock)
