"""Importance sampling where it can be proved: with fresh scores it reaches the bound, with stale ones it loses.

Of a gradient that is estimated from one example, drawn with the probability q_i and weighted by 1 / (N q_i), the second
moment is mean(g_i^2 / (N q_i)), g_i the norm of the example's own gradient. It is smallest, mean(g)^2, for q in
proportion to g; uniform draws have mean(g^2); draws by scores s of another time mean(g^2 / s) mean(s). Of the mean of b
draws, the variance is what that exceeds the true gradient's square by, divided by b.
"""

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from iskit.budget import Budget
from iskit.data import datasets
from iskit.errors import InputError
from iskit.runs.experiment import Experiment
from iskit.runs.run import Run
from iskit.samplers import Batch, samplers
from iskit.training import contract

SETTINGS = {"model": "logistic", "epochs": 10, "batch_size": 20, "lr": 0.1}
EXACT = "gnorm(score='full', presample=50, tau_min=0)"  # 50 batches are the whole training set
DRAWS = 3000


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    return datasets.create("toy", tmp_path_factory.mktemp("data")).load()


@pytest.fixture(scope="module")
def trained(toy):
    """Of an ordinary run: the gradients (N, 8) of all examples at its end, and their norms before its first step."""
    trainer = contract.make("unif", data=toy, **SETTINGS)
    first = gradients(trainer.model, toy.normalise(toy.image), toy.label).norm(dim=1)
    contract.finish(trainer)
    return gradients(trainer.model, toy.normalise(toy.image), toy.label), first


def gradients(model, image: Tensor, label: Tensor) -> Tensor:
    """(m, 8) of each example's own loss, in closed form: p - y for both classes, times the coordinates and 1."""
    error = model(image).detach().softmax(1) - F.one_hot(label, 2)
    inputs = torch.cat([image.flatten(1), torch.ones(len(image), 1)], dim=1)
    return (error[:, :, None] * inputs[:, None, :]).flatten(1).double()


def variance(gradient: Tensor, score: Tensor, b: int = 20) -> float:
    """Of the mean of b draws by the score, in closed form."""
    square = gradient.square().sum(1)
    return float((square / score).mean() * score.double().mean() - gradient.mean(0).square().sum()) / b


def measured(gradient: Tensor, score: Tensor, data) -> float:
    """The same of the sampler's own draws: the mean square error of what they estimate."""
    n, b = len(data), 20
    sampler = samplers.create(EXACT)
    budget = Budget.of_run(1.0, "backward", n=n, epochs=10, batch_size=b)
    sampler.bind(label=data.label, budget=budget, epochs=10, batch_size=b, seed=1)
    sampler.tau.fill_(1.0)  # on
    assert sampler.candidates() == n
    index, target = torch.arange(n), F.one_hot(data.label, 2).float()
    pool = Batch(index, torch.zeros_like(index), data.label, data.normalise(data.image), target, torch.ones(n))
    given = SimpleNamespace(gradient_norm=lambda pool: score)
    truth, errors = gradient.mean(0), []
    for _ in range(DRAWS):
        rows, weight = sampler.select(pool, given)
        errors.append((gradient[rows] * weight[:, None]).mean(0) - truth)
    return float(torch.stack(errors).square().sum(1).mean())


def test_fresh_scores_reach_the_bound_and_stale_ones_lose_to_uniform_draws(toy, trained):
    gradient, first = trained
    norm = gradient.norm(dim=1)
    scores = {"fresh": norm, "uniform": torch.ones(len(toy)), "stale": first}
    found = {name: measured(gradient, score, toy) for name, score in scores.items()}
    for name, score in scores.items():
        assert found[name] == pytest.approx(variance(gradient, score), rel=0.15), name
    bound = float(norm.mean() ** 2 - gradient.mean(0).square().sum()) / 20
    assert variance(gradient, norm) == pytest.approx(bound)
    assert found["fresh"] < found["uniform"] / 5
    assert found["stale"] > found["uniform"] * 2


def test_what_is_gained_and_lost_is_known_beforehand(trained):
    """In the end only the hard tenth has gradients, all about as large: fresh scores gain tenfold. At first the easy
    ones had those that are larger as their coordinates: stale scores draw them in vain."""
    gradient, first = trained
    hard = gradient.norm(dim=1) > 0.3
    assert hard.sum() == 100
    square = gradient.square().sum(1)
    assert square[hard].sum() / square.sum() > 0.95
    assert variance(gradient, torch.ones(1000)) / variance(gradient, gradient.norm(dim=1)) == pytest.approx(10, rel=0.1)
    expected = float(first.mean() / first[hard].mean())
    assert variance(gradient, first) / variance(gradient, torch.ones(1000)) == pytest.approx(expected, rel=0.1)
    assert expected > 2.5


def test_the_trainer_s_scores_are_fresh_at_every_step(toy):
    """Each step draws by the norms of that step's own gradients: weight_i = mean(g) / g_i."""
    trainer = contract.make(EXACT.replace("50", "5"), data=toy, **SETTINGS)
    select, steps = trainer.sampler.select, []

    def watched(pool, score):
        chosen = select(pool, score)
        if chosen:
            rows, weight = chosen
            norm = gradients(trainer.model, pool.image, pool.label).norm(dim=1)
            torch.testing.assert_close(weight, (norm.mean() / norm[rows]).float(), rtol=1e-3, atol=1e-5)
            steps.append(len(pool))
        return chosen

    trainer.sampler.select = watched
    contract.finish(trainer)
    assert set(steps) == {100}
    assert len(steps) > 200


def test_an_ordinary_run_learns_all_that_can_be_learnt(tmp_path, monkeypatch):
    monkeypatch.setenv("ISKIT_ROOT", str(tmp_path))
    run = Run(Experiment(dataset="toy(hard=0.2)", augment="none", sampler="p", budget=0.5, **SETTINGS), tmp_path)
    assert run.train()["accuracy"] == 90  # all easy ones, and half of the hard
    assert datasets.create("toy(hard=0)", tmp_path).load().image[:, 0, 0, 0].unique().tolist() == [32, 224]
    with pytest.raises(InputError, match=r"hard=1\.5 must be a share"):
        datasets.create("toy(hard=1.5)", tmp_path)
