"""How much of the data each epoch trains: constant, rising, falling; one budget, exact to the batch."""

import numpy as np
import pytest

from iskit.budget import Budget, cumulated
from iskit.errors import InputError
from iskit.samplers import samplers
from iskit.training.contract import equal, finish, weights

HEEDING = ["unif", "p", "c", "loss_history", "online_batch", "ies(threshold=None", "egreedy(period=3"]


def spec_of(name: str, volume: str) -> str:
    return f"{name}{', ' if '(' in name else '('}volume={volume!r})"


def sizes(make, spec: str, budget: float, epochs: int = 12) -> list[int]:
    """Of the first `epochs` walks that train."""
    trainer = make(spec, budget=budget, epochs=epochs, evals=1, batch_size=7)
    found: list[int] = []
    plan, scores = trainer.sampler.plan, getattr(trainer.sampler, "scores", lambda t, epoch: False)

    def planned(t: float, epoch: int, size: int):
        if not scores(t, epoch):
            found.append(size)
        return plan(t, epoch, size)

    trainer.sampler.plan = planned
    finish(trainer)
    assert 0 <= trainer.meter.backward - round(budget * epochs * 200) < 7
    return found[:epochs]


@pytest.mark.parametrize("budget", [0.07, 0.3, 0.5, 0.8])
@pytest.mark.parametrize("volume", ["rising", "falling"])
def test_epochs_of_unequal_size_train_the_budget_exactly(make, volume, budget):
    found = sizes(make, spec_of("unif", volume), budget)
    d = min(budget, 1 - budget)
    middles = (np.arange(12) + 0.5) / 12
    share = budget - d + 2 * d * (middles if volume == "rising" else 1 - middles)
    assert sum(found) == round(budget * 12 * 200)
    assert np.abs(np.array(found) - share * 200).max() <= 1


@pytest.mark.parametrize("name", HEEDING)
def test_every_sampler_that_heeds_the_size_has_the_same_volumes(make, name):
    unif = sizes(make, spec_of("unif", "rising"), 0.3)
    assert sizes(make, spec_of(name, "rising"), 0.3) == unif
    assert unif[0] < 10 < 100 < unif[-1]


def test_walks_that_only_score_do_not_count(make):
    found = sizes(make, "online_batch(recompute=1, volume='falling')", 0.3)
    assert found == sizes(make, "unif(volume='falling')", 0.3)


def test_only_those_that_heed_the_size_have_the_option():
    offering = {name for name in samplers if "volume" in samplers.options(name)}
    assert offering == {name.partition("(")[0] for name in HEEDING}


@pytest.mark.parametrize("share", [0.05, 0.3, 1 / 3, 0.9])
def test_the_constant_volume_is_what_it_was(share):
    for epoch in range(300):
        assert cumulated("constant", share, 50_000, 200, epoch) == epoch * 50_000 * share
    for volume in ("constant", "rising", "falling"):
        assert cumulated(volume, share, 777, 60, 60) == pytest.approx(777 * 60 * share)
        assert cumulated(volume, share, 777, 60, 61) == pytest.approx(777 * 61 * share)


@pytest.mark.parametrize("name", ["unif", "p", "egreedy(period=3"])
def test_at_budget_1_every_volume_is_sgd(make, name):
    one, full = (finish(make(spec, budget=1)) for spec in (spec_of(name, "falling"), "sgd"))
    assert equal(weights(one), weights(full))


def test_a_volume_that_cannot_be_is_refused(make):
    with pytest.raises(InputError, match="volume='rising' needs a budget counted in examples"):
        make("unif(volume='rising')", budget=5, unit="seconds")
    with pytest.raises(InputError, match="volume='falling' has no meaning with a threshold"):
        make("ies(volume='falling')")
    with pytest.raises(InputError, match="volume='up'"):
        make("unif(volume='up')")


def test_a_resumed_run_goes_on_with_its_volume(make):
    whole, killed, resumed = (make("unif(volume='rising')", budget=0.4, epochs=8) for _ in range(3))
    for t in killed:
        if t > 0.3:
            break
    resumed.load_state_dict(killed.state_dict())
    assert equal(weights(finish(whole)), weights(finish(resumed)))


def test_the_size_of_a_budget_in_cost_is_its_share(make):
    trainer = make("unif(volume='rising')", budget=0.3, unit="cost", epochs=10)
    assert isinstance(trainer.budget, Budget)
    assert 600 <= finish(trainer).meter.backward < 616
