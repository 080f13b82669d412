"""The variance of gradient estimates in closed form, against draws; correlations against NumPy and SciPy."""

from math import sqrt
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import stats
from torch import nn

from iskit.data import Dataset, datasets
from iskit.errors import InputError
from iskit.own.diagnosis import compare, diagnose, variance
from iskit.samplers.gnorm import bound, probability, tau, with_replacement

SCORES = ["uniform", "loss", "gnorm", "full"]


@pytest.fixture(scope="module")
def data() -> Dataset:
    return datasets.create("digits(limit=200)", Path(".")).load()


@pytest.fixture(scope="module")
def model(data: Dataset) -> nn.Module:
    """A little trained, so that the norms differ."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 10))
    optimizer = torch.optim.SGD(model.parameters(), 0.3)
    for _ in range(25):
        F.cross_entropy(model(data.normalise(data.image)), data.label).backward()
        optimizer.step()
        optimizer.zero_grad()
    return model


@pytest.fixture(scope="module")
def pool(data: Dataset) -> tuple[torch.Tensor, torch.Tensor]:
    return data.normalise(data.image[:40]), F.one_hot(data.label[:40], 10).float()


@pytest.fixture(scope="module")
def gradients(model: nn.Module, pool: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """(n, P) float64, one row an example, by plain autograd."""
    model.eval()
    rows = []
    for image, target in zip(*pool, strict=True):
        gradient = torch.autograd.grad(F.cross_entropy(model(image[None]), target[None]), list(model.parameters()))
        rows.append(torch.cat([g.flatten() for g in gradient]).double())
    model.train()
    return torch.stack(rows)


def scores(model: nn.Module, pool: tuple[torch.Tensor, torch.Tensor], gradients: torch.Tensor) -> dict:
    model.eval()
    logits = model(pool[0]).detach()
    model.train()
    loss = F.cross_entropy(logits, pool[1], reduction="none")
    return dict(zip(SCORES, (torch.ones(40), loss, bound(logits, pool[1]), gradients.norm(dim=1)), strict=True))


@pytest.mark.parametrize("name", SCORES)
def test_the_variance_is_what_draws_show(model, pool, gradients, name):
    closed = compare(model, *pool, batch_size=5)["variance"][name]
    g = probability(scores(model, pool, gradients)[name])
    numbers = torch.Generator().manual_seed(1)
    mean = gradients.mean(0)
    square = []
    for _ in range(4000):
        rows = with_replacement(g, torch.rand(5, generator=numbers, dtype=torch.float64))
        estimate = (gradients[rows] / (40 * g[rows])[:, None]).mean(0)
        square.append((estimate - mean).square().sum().item())
    assert abs(np.mean(square) - closed) < 3 * np.std(square) / sqrt(4000)


def test_exact_norms_are_the_best_score_and_variance_falls_with_the_batch(model, pool):
    frame = compare(model, *pool, batch_size=5)
    assert frame["variance"].idxmin() == "full"
    assert frame["relative"]["uniform"] == 1
    assert frame["relative"]["gnorm"] < 1
    larger = compare(model, *pool, batch_size=20)
    np.testing.assert_allclose(larger["variance"] * 4, frame["variance"])
    np.testing.assert_allclose(larger["relative"], frame["relative"])


def test_equal_gradients_do_not_vary_under_uniform_draws():
    norm = torch.full((6,), 2.0, dtype=torch.float64)
    assert variance(norm, torch.tensor(4.0), torch.full((6,), 1 / 6, dtype=torch.float64), 3).item() == pytest.approx(0)


def test_correlations_and_tau_are_those_of_scipy_and_the_sampler(model, pool, gradients):
    frame = compare(model, *pool, batch_size=5)
    by_name = scores(model, pool, gradients)
    norm = by_name["full"].numpy()
    for name in ("loss", "gnorm", "full"):
        value = by_name[name].numpy()
        assert frame["correlation"][name] == pytest.approx(stats.pearsonr(value, norm)[0], rel=1e-4)
        assert frame["rank_correlation"][name] == pytest.approx(stats.spearmanr(value, norm)[0], abs=0.01)
        assert frame["tau"][name] == pytest.approx(tau(probability(by_name[name])).item(), rel=1e-4)
    assert np.isnan(frame["correlation"]["uniform"])
    assert np.isnan(frame["rank_correlation"]["uniform"])
    assert frame["tau"]["uniform"] == pytest.approx(1)


def test_diagnose_draws_a_pool_and_leaves_the_model_alone(model, data):
    model[2].eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    frame = diagnose(model, data, pool=64, batch_size=16)
    assert list(frame.index) == SCORES
    assert frame.equals(diagnose(model, data, pool=64, batch_size=16))
    assert not frame.equals(diagnose(model, data, pool=64, batch_size=16, seed=2))
    assert torch.equal(torch.get_rng_state(), state)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])
    assert all(p.grad is None for p in model.parameters())
    assert [module.training for module in model] == [True, True, False, True, True]
    model.train()


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"pool": 201}, "pool=201 is more than the 200"), ({"pool": 0}, "pool=0"), ({"batch_size": 0}, "batch_size=0")],
)
def test_an_impossible_pool_is_refused(model, data, settings, message):
    with pytest.raises(InputError, match=message):
        diagnose(model, data, **settings)


def test_data_of_another_kind_is_refused(model):
    with pytest.raises(InputError, match="data is a tuple: give an"):
        diagnose(model, (torch.zeros(8, 1), torch.zeros(8)))
