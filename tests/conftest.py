"""What all tests share: a tiny data set, the digits, and a Trainer made from spec strings."""

import multiprocessing
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from figures import pytest_runtest_logreport, pytest_sessionfinish  # noqa: F401 - hooks
from skips import pytest_make_collect_report, pytest_runtest_makereport  # noqa: F401 - hooks

from iskit.data import Dataset, datasets
from iskit.training import contract
from iskit.training.trainer import Trainer

torch.set_num_threads(1)  # tests run beside each other, one a core


@pytest.fixture(scope="session")
def tiny() -> Dataset:
    """200 + 80 grey 8 x 8 images of 4 classes, learnt within a few epochs."""
    return contract.corners()


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


@pytest.fixture(scope="session")
def proxies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache of the proxies' results: a proxy of the same recipe is trained once for all tests of a process."""
    return tmp_path_factory.mktemp("proxies")


@pytest.fixture
def make(tiny: Dataset, proxies: Path) -> Callable[..., Trainer]:
    """`make("p(smooth=False)", budget=0.5)` -> a Trainer on the tiny data set; its model depends on the seed alone."""
    return partial(contract.make, data=tiny, cache=proxies)
