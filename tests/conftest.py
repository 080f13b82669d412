"""What all tests share: a tiny data set, the digits, and a Trainer made from spec strings."""

import multiprocessing
from collections.abc import Callable
from typing import Any

import pytest
import torch
from figures import pytest_runtest_logreport, pytest_sessionfinish  # noqa: F401 - hooks
from skips import pytest_make_collect_report, pytest_runtest_makereport  # noqa: F401 - hooks

from iskit.augment import Pipeline
from iskit.data import Dataset, datasets
from iskit.models import models
from iskit.samplers import samplers
from iskit.training.schedules import schedules
from iskit.training.trainer import Trainer

torch.set_num_threads(1)  # tests run beside each other, one a core


@pytest.fixture(scope="session")
def tiny() -> Dataset:
    """200 + 80 grey 8 x 8 images of 4 classes: a blurred quarter each, in noise, so that a few epochs learn them."""
    random = torch.Generator().manual_seed(0)
    label = torch.randint(4, (280,), generator=random)
    corner = torch.stack([label // 2, label % 2], dim=1) * 4
    image = torch.randint(0, 100, (280, 8, 8, 1), generator=random)
    for number, (row, column) in enumerate(corner.tolist()):
        image[number, row : row + 4, column : column + 4] += 80
    image = image.to(torch.uint8)
    return Dataset(
        image=image[:200],
        label=label[:200],
        test_image=image[200:],
        test_label=label[200:],
        mean=(0.27,),
        std=(0.18,),
        classes=("a", "b", "c", "d"),
        flip=False,
        pad=1,
    )


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return datasets.create("digits", tmp_path_factory.mktemp("data")).load()


@pytest.fixture
def warm_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers are forked from a process that has imported torch, one for all such tests, which saves seconds for each.

    As spawned ones they inherit nothing of the test's process: what they are given is pickled.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["iskit.study.local", "iskit.study.sweep", "iskit.bench.report"])
    monkeypatch.setattr("iskit.study.local.multiprocessing.get_context", lambda method: context)


@pytest.fixture
def make(tiny: Dataset) -> Callable[..., Trainer]:
    """`make("p(smooth=False)", budget=0.5)` -> a Trainer on the tiny data set; its model depends on the seed alone."""

    def make_trainer(sampler: str = "unif", augment: str = "none", data: Dataset = tiny, **settings: Any) -> Trainer:
        settings = {"budget": 0.5, "epochs": 4, "batch_size": 16, "lr": 0.05, "evals": 3, "seed": 1} | settings
        model = settings.pop("model", "cnn(width=4)")
        settings["schedule"] = schedules.partial(settings.pop("schedule", "linear"))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings["seed"])
            network = models.create(model, len(data.classes), data.channels, data.size)
        return Trainer(network, data, samplers.create(sampler), Pipeline.parse(augment), **settings)

    return make_trainer
