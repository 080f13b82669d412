"""How far from uniform a run chose and weighted: against what is written down by hand, row by row, while it trains."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from iskit.budget import Budget, Meter
from iskit.samplers import Sampler, draw, samplers
from iskit.samplers.draw import distances
from iskit.training.trainer import Trainer
from iskit.training.walk import Walk

ALL = list(samplers)
CHOOSING = {"rho": "rho(presample=2, proxy_epochs=1)", "gnorm": "gnorm(tau_min=0)", "loss": "loss(tau_min=0)",
            "ies": "ies(threshold=None)",
            "ordered": "ordered(ladder=(1, 2, 3))", "subset": "subset(by='confidence', proxy_epochs=2)"}  # fmt: skip
LATE = {"ies": 12}  # epochs of what cannot act in the first six
NEVER = {"sgd", "scan", "unif"}


def finish(trainer: Trainer) -> dict[str, float]:
    for _ in trainer:
        pass
    return trainer.history.rows[-1]


def tv(weight) -> float:
    """1/2 sum |q - 1/m| as it is defined."""
    weight = np.asarray(weight, dtype=np.float64)
    if (weight == weight[0]).all():
        return 0.0
    return 0.5 * np.abs(weight / weight.sum() - 1 / len(weight)).sum()


def distance(weight):
    """Of one among others, which must not matter."""
    other = torch.arange(1.0, 4.0)
    return distances([other, weight, other])[1]


@pytest.mark.parametrize("distance", [distance, draw.distance])
def test_distance_by_hand(distance):
    assert distance(torch.tensor([1.0, 1.0, 2.0])).item() == pytest.approx(1 / 6, rel=1e-12)
    for k in (1, 3, 10):
        assert distance((torch.arange(10) < k).float()).item() == pytest.approx(1 - k / 10, abs=1e-12)
    random = np.random.default_rng(0).gamma(0.3, size=1000)
    assert distance(torch.tensor(random)).item() == pytest.approx(tv(random), rel=1e-12)
    for value in (0.1, 1 / 3, 1e-10, 7e5):
        assert distance(torch.full((12345,), value, dtype=torch.float64)).item() == 0


# --- plans: what each epoch's rows were chosen with, by the epoch that each trained row bears ---


def of_p(sampler, t: float):
    return np.ones(sampler.n) if t < sampler.warmup else sampler.probability()


def of_infobatch(sampler, t: float):
    loss = sampler.loss.double().numpy()
    known = np.isfinite(loss)
    if t >= 1 - sampler.anneal or not known.any():
        return np.ones(sampler.n)
    return np.where(loss < loss[known].mean(), 1 - sampler.prune, 1.0)


def of_online_batch(sampler, t: float):
    """Rank by rank; examples that were never trained come first and share what their ranks have."""
    ranks = np.exp(-np.log(sampler.pressure ** (1 - t)) * np.arange(1, sampler.n + 1) / sampler.n)
    loss = sampler.loss.numpy()
    order, unknown = np.argsort(-loss, kind="stable"), np.isinf(loss)
    q = np.empty(sampler.n)
    q[order] = ranks
    if unknown.any():
        q[unknown] = ranks[: unknown.sum()].mean()
    return q


PLANS: dict[str, Callable] = {
    "p": of_p,
    "p(warmup=0.5)": of_p,
    "c": of_p,
    "c(control=True)": of_p,
    "loss_history": lambda sampler, t: sampler.priority() ** sampler.alpha,
    "loss_history(control=True)": lambda sampler, t: sampler.priority() ** sampler.alpha,
    "infobatch": of_infobatch,
    "online_batch": of_online_batch,
    "online_batch(recompute=1)": of_online_batch,
    "subset(by='confidence', proxy_epochs=2)": lambda sampler, t: sampler.kept,
}


@pytest.mark.parametrize("spec", PLANS)
def test_plans_by_hand(make, spec):
    trainer = make(spec, budget=0.6, epochs=8, lr=0.1)
    sampler, plan = trainer.sampler, trainer.sampler.plan
    acted, weighted, rows = {}, {}, []

    def planned(t, epoch, size):
        q = PLANS[spec](sampler, t)
        weight = plan(t, epoch, size)
        acted[epoch] = 0.0 if weight is None else tv(q)
        weighted[epoch] = 0.0 if weight is None else tv(weight[weight > 0])
        return weight

    update = sampler.update
    sampler.plan = planned
    sampler.update = lambda outcome: (rows.extend(outcome.batch.epoch.tolist()), update(outcome))
    last = finish(trainer)
    assert last["acted"] == pytest.approx(np.mean([acted[epoch] for epoch in rows]), rel=1e-6)
    assert last["on"] == pytest.approx(np.mean([acted[epoch] > 0 for epoch in rows]), rel=1e-12)
    if "recompute" not in spec:  # there, of what `select` lets through
        assert last["weighted"] == pytest.approx(np.mean([weighted[epoch] for epoch in rows]), rel=1e-5, abs=1e-12)
    assert 0 < last["acted"] < last["on"] <= 1
    assert (last["weighted"] > 0) == ("loss_history" in spec or spec == "infobatch")


# --- selections: rows are trained in the order in which they were chosen ---

POOLS = ["gnorm(tau_min=0)", "gnorm", "loss(tau_min=0, control=True)", "gnorm(form='constant_time', tau_min=1.0)",
         "selective_backprop(history=64)", "selective_backprop(history=64, control=True)",
         "rho(presample=4, proxy_epochs=1)"]  # fmt: skip


@pytest.mark.parametrize("spec", POOLS)
def test_selections_by_hand(make, spec):
    trainer = make(spec, budget=0.6, epochs=8)
    sampler, select = trainer.sampler, trainer.sampler.select
    q: list = []
    chosen: list[tuple[float, float]] = []

    def listen(name, read):
        method = getattr(sampler, name)
        setattr(sampler, name, lambda *given: (found := method(*given), q.append(read(found)))[0])

    if "gnorm" in spec or "loss" in spec:
        listen("distribution", lambda g: g.clone())
    elif "selective" in spec:
        listen("percentile", lambda share: share**sampler.beta)

    def selected(pool, score):
        q.clear()
        first = int(getattr(sampler, "seen", 0))
        found = select(pool, score)
        if found is None:
            chosen.extend([(0.0, 0.0)] * len(pool))
            return found
        if "rho" in spec:
            value = 1 - 1 / 4
        else:
            if "selective" in spec:
                q[0][: max(0, sampler.warmup - first)] = 1
            value = tv(q[0]) if q[0].sum() else 0.0
        chosen.extend([(value, tv(found[1]) if len(found[1]) else 0.0)] * len(found[0]))
        return found

    sampler.select = selected
    last = finish(trainer)
    acted, weighted = np.array(chosen[: trainer.meter.backward]).T
    assert last["acted"] == pytest.approx(acted.mean(), rel=1e-6)
    assert last["on"] == pytest.approx((acted > 0).mean(), rel=1e-12)
    assert last["weighted"] == pytest.approx(weighted.mean(), rel=1e-5, abs=1e-12)
    if "tau_min=0" in spec or "rho" in spec:
        assert last["on"] > 0.95  # tau is 0 before the first step


def test_reductions_by_hand(make):
    trainer = make("ordered(ladder=(1, 2, 99))", budget=1, epochs=4)
    sampler, update, steps = trainer.sampler, trainer.sampler.update, []
    sampler.update = lambda outcome: (steps.append(1 - 0.5 ** int(sampler.halvings)), update(outcome))
    last = finish(trainer)
    assert {0.0, 0.75} <= set(steps)
    assert last["acted"] == pytest.approx(np.mean(steps), rel=1e-12)
    assert last["on"] == pytest.approx(np.mean(np.array(steps) > 0), rel=1e-12)
    assert last["weighted"] == 0
    assert last["sampler_q"] == 4


def test_rows_chosen_but_not_trained_do_not_count():
    """Two epochs of other plans, and batches that end between."""

    class Two(Sampler):
        def plan(self, t, epoch, size):
            self.tell(0.25 if epoch == 0 else torch.tensor(0.75))
            return torch.ones(10)

    sampler, budget = Two(), Budget(1.0, "backward", full=20)
    sampler.bind(label=torch.zeros(10, dtype=torch.int64), budget=budget, epochs=2, batch_size=4, seed=1)
    walk = Walk(sampler, budget, Meter(), 10, 1, torch.device("cpu"))
    for _ in range(2):
        walk.advance(0.0)
        walk.take(10)
    acting = walk.acting
    acting.selected(12, None, None)
    for trained, mean in ((4, 0.25), (8, 0.25), (12, (10 * 0.25 + 2 * 0.75) / 12)):
        acting.trained(4)
        assert acting.means(trained)["acted"] == pytest.approx(mean)
    state = acting.state_dict()
    assert [rows for _, rows in state["shown"]] == [8]
    assert not state["kept"]


# --- what holds for all ---


@pytest.mark.parametrize("name", ALL)
def test_every_sampler_tells_how_far_it_acted(make, name):
    spec = CHOOSING.get(name, name)
    trainer = make(spec, budget=1 if name == "sgd" else 0.5, epochs=LATE.get(name, 6))
    last = finish(trainer)
    for row in trainer.history.rows:
        assert all(0 <= row[column] <= 1 for column in ("acted", "on", "weighted")), row
    if name in NEVER:
        assert (last["acted"], last["on"], last["weighted"]) == (0, 0, 0)
    else:
        assert 0 < last["acted"] < last["on"]
    assert last["unique_examples"] == (trainer.history.counts > 0).sum()
    for key in trainer.sampler.numbers():
        assert isinstance(last[f"sampler_{key}"], float)


@pytest.mark.parametrize("spec", ["gnorm(tau_min=1000)", "loss(tau_min=1000)", "ordered(ladder=())", "p(warmup=1.0)",
                                  "subset(by='random')", "infobatch(anneal=1.0)", "rho(presample=1)"])  # fmt: skip
def test_idle_is_exactly_0(make, spec):
    last = finish(make(spec, budget=0.5))
    assert (last["acted"], last["on"], last["weighted"]) == (0, 0, 0)


CONTROLLED = [name for name in ALL if "control" in samplers.options(name)]


@pytest.mark.parametrize("name", CONTROLLED)
def test_controls_act_about_as_much_as_their_methods(make, name):
    spec = CHOOSING.get(name, name)
    control = f"{spec[:-1]}, control=True)" if spec.endswith(")") else f"{spec}(control=True)"
    one, other = (finish(make(which, budget=0.5, epochs=LATE.get(name, 8))) for which in (spec, control))
    assert other["acted"] == pytest.approx(one["acted"], rel=0.4)
    assert other["on"] == pytest.approx(one["on"], abs=0.1)


@pytest.mark.parametrize("stop", [3, 11, 17])
@pytest.mark.parametrize("name", ALL)
def test_a_resumed_run_has_the_same_columns(make, name, stop, tmp_path):
    settings = {"budget": 1 if name == "sgd" else 0.5, "epochs": 6}
    whole, killed, resumed = (make(CHOOSING.get(name, name), **settings) for _ in range(3))
    for step, _ in enumerate(killed, 1):
        if step == stop:
            break
    torch.save(killed.state_dict(), tmp_path / "state.pt")
    resumed.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    for trainer in (whole, resumed):
        finish(trainer)
    one, other = (trainer.history.frame().filter(regex="^(?!seconds_)") for trainer in (whole, resumed))
    assert one.equals(other)
    assert whole.sample.frame().equals(resumed.sample.frame())
    assert torch.equal(whole.correct, resumed.correct)
