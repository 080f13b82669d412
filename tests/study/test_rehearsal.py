"""What runs will cost that nobody has trained: passes are those that the samplers take, and nothing is left out."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from iskit.runs.experiment import Experiment
from iskit.runs.parts import load
from iskit.samplers import samplers
from iskit.study import rehearsal
from iskit.study.rehearsal import Passes, Rehearsal

ONE = Experiment(dataset="digits(limit=200)", model="mlp(width=8)", epochs=10, batch_size=16, device="cpu", budget=0.5)
N, TESTED = 200, 600


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    monkeypatch.setenv("ISKIT_ROOT", str(tmp_path))
    monkeypatch.setattr(rehearsal, "ENOUGH", 1e-9)  # one step


def way(**settings):
    e = replace(ONE, **settings)
    return rehearsal._rehearsed(e, load(e.dataset, rehearsal.files.root(), 0, torch.device("cpu"), 1))


@pytest.mark.parametrize("unit", ["backward", "cost"])
@pytest.mark.parametrize("sampler", list(samplers))
def test_every_sampler_is_rehearsed(sampler, unit):
    found = way(sampler=sampler, unit=unit, budget=1.0)
    trained = found.backward if unit == "backward" else found.backward + found.forward / 3
    assert trained == pytest.approx(N)  # for a budget of one epoch
    assert found.beside > 0


@pytest.mark.parametrize("presample", [2, 5])
def test_scoring_is_counted_as_the_sampler_takes_it(presample):
    assert way(sampler=f"loss(presample={presample}, tau_min=0)").forward == pytest.approx(presample * N)
    assert way(sampler="unif").forward == 0


def test_a_run_costs_its_passes_its_evaluations_and_what_is_beside_them(monkeypatch):
    passes = {"mlp(width=8)": Passes(step=3.0, forward=1.0), "mlp(width=4)": Passes(step=0.3, forward=0.1)}
    monkeypatch.setattr(Rehearsal, "_passes", lambda self, e, model, data: passes[model])
    monkeypatch.setattr(rehearsal, "FOLDER", 0.0)
    one, work = Rehearsal(), ONE.budget * ONE.epochs * N
    evaluated = ONE.evals * (TESTED + N)

    def beside(e):
        return one.ways[next(name for name in one.ways if e.sampler in name)].beside * e.budget * e.epochs

    assert one.seconds(ONE, set()) == pytest.approx(work * 3 + evaluated + beside(ONE))
    scored = replace(ONE, sampler="rho(presample=3, proxy='mlp(width=4)', proxy_epochs=2)")
    known: set[tuple] = set()
    whole = work * (3 + 3 * 1) + evaluated
    # Two proxies, each trained for two epochs on a half and asked about the other after each.
    prepared = 2 * 2 * (N / 2) * (0.3 + 0.1)
    assert one.seconds(scored, known) == pytest.approx(whole + prepared + beside(scored))
    assert one.seconds(replace(scored, budget=0.25), known) < whole / 2 + evaluated + beside(scored)  # proxies are kept
    assert one.seconds(replace(scored, seed=2), known) == pytest.approx(whole + prepared + beside(scored))
    assert one.seconds(replace(ONE, unit="seconds", budget=7.0), set()) == pytest.approx(7 + evaluated)


def test_passes_are_of_the_runs_own_network():
    data = load(ONE.dataset, rehearsal.files.root(), 0, torch.device("cpu"), 1)
    small, large = (Rehearsal()._passes(ONE, model, data) for model in ("mlp(width=8)", "cnn(width=64)"))
    assert 0 < small.forward < large.forward < large.step
    assert isinstance(rehearsal.build(ONE, data), nn.Module)


def test_what_will_diverge_has_a_forecast_all_the_same():
    e = Experiment(dataset="digits(limit=100)", model="cnn(width=4)", epochs=4, evals=2, lr=1e30, momentum=0.0)
    assert Rehearsal().seconds(e, set()) > 0
