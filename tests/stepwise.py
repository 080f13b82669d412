"""What the tests of step-wise samplers share: a small run, and samplers shown pools by hand."""

from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from iskit.augment import Pipeline
from iskit.budget import Budget
from iskit.data import Dataset, datasets
from iskit.samplers import Batch, samplers
from iskit.training.schedules import linear
from iskit.training.trainer import Trainer


@cache
def small(limit: int = 100) -> Dataset:
    """A few real images."""
    return datasets.create(f"digits(limit={limit})", Path(".")).load()


def network(data: Dataset) -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(data.channels, 4, 3, stride=2),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(36, len(data.classes)),
    )


def trainer(data: Dataset, spec: str, *, augment: str = "standard", **settings) -> Trainer:
    settings = {"budget": 0.5, "epochs": 5, "batch_size": 16, "lr": 0.1, "schedule": linear, "evals": 1, **settings}
    if spec == "sgd":
        settings |= {"budget": 1.0}
    return Trainer(network(data), data, samplers.create(spec), Pipeline.parse(augment), **settings)


def bound_sampler(
    spec: str,
    *,
    n: int = 64,
    batch_size: int = 8,
    budget: float = 0.5,
    unit: str = "backward",
    epochs: int = 100,
    seed: int = 1,
) -> Any:
    """A sampler that has met n examples, for tests that show it pools by hand."""
    sampler = samplers.create(spec)
    sampler.check(budget=budget, unit=unit, epochs=epochs, batch_size=batch_size)
    label = torch.zeros(n, dtype=torch.int64)
    amount = Budget(budget, unit, full=epochs * n)
    sampler.bind(label=label, budget=amount, epochs=epochs, batch_size=batch_size, seed=seed)
    return sampler


def pool_of(size: int, start: int = 0, n: int = 64) -> Batch:
    index = (start + torch.arange(size)) % n
    target = F.one_hot(torch.zeros(size, dtype=torch.int64), 2).float()
    return Batch(
        index, torch.zeros_like(index), torch.zeros_like(index), torch.zeros(size, 1), target, torch.ones(size)
    )


class Losses:
    """A score with which row r of the pool has the loss (and the exact norm) given for it."""

    def __init__(self, loss: torch.Tensor):
        self.loss = loss

    def __call__(self, pool: Batch) -> torch.Tensor:
        logits = torch.zeros(len(pool), 2, dtype=self.loss.dtype)
        logits[:, 1] = torch.expm1(self.loss).log()  # log(1 + e^z) = loss
        return logits

    def gradient_norm(self, pool: Batch) -> torch.Tensor:
        return self.loss


def within(seen: float, expected: float, error: float) -> bool:
    """At 3 sigma; error: the standard deviation of `seen`."""
    return abs(seen - expected) < 3 * error
