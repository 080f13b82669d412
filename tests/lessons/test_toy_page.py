"""The toy's closed form: against draws, against a distribution found by search, over a run's moments."""

import numpy as np
import pandas as pd
import pytest
import torch
from judged import runs

from iskit.errors import InputError
from iskit.lessons import toy
from iskit.lessons.moments import Moments, exact, models, moments
from iskit.lessons.toy import Excess
from iskit.own.diagnosis import least, variance
from iskit.runs.experiment import Experiment
from iskit.runs.run import Run
from iskit.samplers.gnorm import probability

SETTINGS = {"dataset": "toy", "model": "logistic", "augment": "none", "budget": 0.2, "batch_size": 20}


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """Of a short uniform run that keeps its weights twice."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ISKIT_ROOT", str(tmp_path_factory.mktemp("project")))
        experiment = Experiment(study="t", keep_model=2, epochs=4, evals=1, **SETTINGS)
        Run(experiment).train()
        yield moments({**experiment.to_dict(), "path": str(Run(experiment).path)})


@pytest.fixture
def gradients():
    """(6, 3) float64, of quite different lengths."""
    draws = torch.Generator().manual_seed(1)
    return torch.randn(6, 3, generator=draws, dtype=torch.float64) * torch.tensor([4.0, 2, 1, 0.5, 0.2, 0.1])[:, None]


@pytest.mark.parametrize("power", [0.0, 1.0, -0.5])
def test_the_variance_is_that_of_weighted_draws(gradients, power):
    norm, mean = gradients.norm(dim=1), gradients.mean(0)
    q, b, many = probability(norm**power), 4, 200_000
    rows = torch.multinomial(q.expand(many, -1), b, replacement=True, generator=torch.Generator().manual_seed(2))
    estimate = (gradients[rows] / (len(q) * q[rows])[:, :, None]).mean(1)
    told = variance(norm, mean.square().sum(), q, b)
    assert (estimate - mean).square().sum(1).mean().item() == pytest.approx(told.item(), rel=0.03)
    torch.testing.assert_close(estimate.mean(0), mean, atol=5 * (told.item() / many) ** 0.5, rtol=0)  # unbiased


def test_no_distribution_that_a_search_finds_is_better_than_the_norms(gradients):
    norm, square = gradients.norm(dim=1), gradients.mean(0).square().sum()
    bound = least(norm, square, 4)
    logit = torch.zeros(6, dtype=torch.float64, requires_grad=True)
    search = torch.optim.LBFGS([logit], max_iter=500, tolerance_grad=1e-12, tolerance_change=1e-14)

    def closure():
        search.zero_grad()
        loss = variance(norm, square, logit.softmax(0), 4)
        loss.backward()
        return loss

    search.step(closure)
    found = variance(norm, square, logit.softmax(0), 4)
    assert found.item() == pytest.approx(bound.item(), rel=1e-6)
    torch.testing.assert_close(logit.detach().softmax(0), norm / norm.sum(), atol=1e-4, rtol=0)
    assert variance(norm, square, probability(norm), 4).item() == pytest.approx(bound.item())


def test_old_scores_lose_what_fresh_ones_gain_and_uniform_draws_bound_the_loss(kept):
    fresh, old = kept.variances(), kept.variances(age=2)
    assert kept.t.tolist() == [0.0, 0.5, 1.0]
    assert np.allclose(fresh["drawn"], fresh["bound"])
    assert fresh["drawn"].iloc[-1] < 0.3
    assert old["drawn"].iloc[0] == fresh["drawn"].iloc[0]  # there is no earlier moment
    assert old["drawn"].iloc[-1] > 1.5
    for mix in (0.1, 0.5, 1.0):
        second = kept.square[-1] / kept.b  # what the bound of the second moment leaves out
        uniform = variance(kept.norm[-1], kept.square[-1], torch.full_like(kept.norm[-1], 1 / 1000), kept.b)
        most = ((uniform + second) / mix - second) / uniform
        assert kept.variances(age=2, mix=mix)["drawn"].iloc[-1] <= most.item() * (1 + 1e-9)
    assert np.allclose(kept.variances(age=2, mix=1.0)["drawn"], 1)


def test_the_moments_are_those_of_the_weights_that_were_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("ISKIT_ROOT", str(tmp_path))
    experiment = Experiment(study="t", keep_model=2, epochs=2, evals=1, **SETTINGS)
    Run(experiment).train()
    row = {**experiment.to_dict(), "path": str(Run(experiment).path)}
    (t, _, _), (_, _, _), (_, last, data) = models(row)
    assert t == 0
    inputs = torch.cat([data.normalise(data.image).flatten(1), torch.ones(1000, 1)], dim=1)
    error = last(data.normalise(data.image)).detach().softmax(1) - torch.nn.functional.one_hot(data.label, 2)
    gradient = (error[:, :, None] * inputs[:, None, :]).flatten(1).double()
    norm, square = exact(last, data)
    torch.testing.assert_close(norm, gradient.norm(dim=1), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(square, gradient.mean(0).square().sum(), rtol=1e-3, atol=1e-9)
    (Run(experiment).path / "model-0.5.pt").unlink()
    with pytest.raises(InputError, match=r"model-0\.5\.pt is missing"):
        moments(row)
    with pytest.raises(InputError, match="keep_model=10"):
        moments({**row, "keep_model": 0})


def test_stale_norms_are_those_of_the_first_time(tmp_path, monkeypatch):
    monkeypatch.setenv("ISKIT_ROOT", str(tmp_path))
    _, fresh, stale = toy.samplers("t")
    passes = {}
    for spec in (fresh, stale):
        found = Run(Experiment(study="t", epochs=2, evals=1, sampler=spec, **SETTINGS)).train()
        passes[spec] = found["passes"]["forward_only"]
    pool = 3 * 1000  # a forward and a backward pass for each candidate
    assert passes[stale] <= 2 * pool  # until each example was one once: pools do not begin with epochs
    assert passes[fresh] == (found["steps"] - 1) * pool  # the first step only measures
    assert toy.named(stale.removeprefix("./")) == "stale norms"


def test_the_excess_is_above_what_the_hard_points_cost_and_tells_worse_from_better(monkeypatch):
    least_loss = 0.2 * np.log(2)
    near, far = (least_loss + np.array([1.0, 1.1, 0.9, 1.0, 1.2, 0.8]) * one for one in (1e-4, 1e-3))
    frame = runs({"unif": [80.0] * 6, "p": [80.0] * 6}, dataset="toy(hard=0.2)")

    def trained(losses):
        past = {
            path: pd.DataFrame({"t": [0.25, 0.5, 1.0], "sample_loss": [9.0, loss - 1e-5, loss + 1e-5]})
            for path, loss in zip(frame["path"], losses, strict=True)
        }
        monkeypatch.setattr(toy, "history_of", past.__getitem__)
        return frame

    assert Excess().came(trained([*near, *far])) == {"worse": 1}
    assert "p-SGD 10 times (10 to 10)" in Excess().sentence(frame)
    assert Excess().came(trained([*far, *near])) == {"better": 1}
    assert Excess().came(trained([*far, *far[::-1]])) == {"": 1}


def test_moments_of_equal_gradients_gain_nothing():
    even = Moments(np.array([0.0]), torch.ones(1, 10, dtype=torch.float64), torch.tensor([0.5]), 4)
    assert even.variances()["bound"].item() == pytest.approx(1)
