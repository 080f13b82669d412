"""The meter's arithmetic and what of the budget it has spent, in each unit."""

import itertools

import pytest

from iskit.budget import PHASES, UNITS, Budget, Meter
from iskit.errors import InputError


def metered(trained=(), scored=0, **seconds) -> Meter:
    meter = Meter()
    for examples in trained:
        meter.trained(examples)
    meter.scored(scored)
    meter.seconds.update(seconds)
    return meter


def test_a_meter_counts_passes_steps_and_cost():
    meter = metered(trained=(32, 32, 8), scored=100)
    meter.scored(20)
    assert (meter.forward_only, meter.forward, meter.backward, meter.steps) == (120, 72, 72, 3)
    assert meter.cost == 120 + 72 + 2 * 72  # a backward pass counts as two forward passes


def test_preparations_are_in_their_own_line():
    meter = metered(trained=(32,))
    meter.prepared += 1000
    assert meter.cost == 96
    assert Budget(0.5, "cost", full=64).spent(meter) == 1


def test_the_budget_pays_for_training_and_scoring_not_for_evaluation_or_warmup():
    meter = metered(train=5.0, scoring=2.0, eval=100.0, warmup=50.0)
    assert meter.training_seconds == 7
    assert set(meter.seconds) == set(PHASES)


def test_a_meter_goes_through_a_state_dict():
    meter = metered(trained=(32, 16), scored=7, train=1.5)
    meter.prepared = 3
    other = Meter()
    other.load_state_dict(meter.state_dict())
    assert other == meter
    meter.seconds["train"] = 99.0
    assert other.seconds["train"] == 1.5  # a copy
    assert Meter().seconds["train"] == 0


@pytest.mark.parametrize(
    ("unit", "amount", "meter", "spent"),
    [
        ("backward", 0.5, metered(), 0),
        ("backward", 0.5, metered(trained=[10] * 25), 0.5),
        ("backward", 0.5, metered(trained=[10] * 25, scored=10_000), 0.5),  # scoring is free in this unit
        ("backward", 0.5, metered(trained=[10] * 50), 1),
        ("backward", 0.5, metered(trained=[10] * 51), 1.02),
        ("cost", 0.5, metered(trained=[10] * 25), 0.5),
        ("cost", 0.5, metered(trained=[10] * 25, scored=750), 1),
        ("cost", 0.5, metered(scored=1500), 1),
        ("seconds", 20, metered(trained=[10] * 1000, scored=99), 0),
        ("seconds", 20, metered(train=4.0, scoring=6.0, eval=90.0), 0.5),
    ],
)
def test_spent(unit, amount, meter, spent):
    assert Budget(amount, unit, full=1000).spent(meter) == pytest.approx(spent, rel=1e-15)


def test_scoring_must_leave_something_to_train_with_where_it_is_paid_for():
    for full in (1000, 1437 * 60, 50_000 * 200):
        budget = Budget(0.29, "cost", full)
        whole = 3 * budget.examples
        for cost in (0, 7, whole // 3, whole - 12, whole - 1):
            t = budget.spent(Meter(forward_only=cost))
            assert budget.affords(t, whole - cost - 1)
            assert not budget.affords(t, whole - cost)
    for unit in ("backward", "seconds"):
        assert Budget(0.5, unit, full=1000).affords(0.999, 10**9)


@pytest.mark.parametrize("unit", ["backward", "cost"])
def test_the_end_is_exact(unit):
    """No rounding decides whether a step is the last: 1 is reached with the last example, not before, not after."""
    for full, percent in itertools.product((1437, 50_000 * 200), range(1, 101)):
        budget = Budget(percent / 100, unit, full)
        assert budget.examples == pytest.approx(full * percent / 100, abs=0.5)
        last = Meter(forward=budget.examples, backward=budget.examples)
        before = Meter(forward=budget.examples - 1, backward=budget.examples - 1)
        assert budget.spent(last) == 1
        assert budget.spent(before) < 1


def test_the_full_budget_is_all_examples():
    assert Budget(1, "backward", full=71_820).examples == 71_820
    assert Budget(1e-9, "backward", full=1000).examples == 1  # never an empty run


def test_the_share_of_an_epoch_is_the_budget_in_passes():
    for unit in ("backward", "cost"):
        assert Budget(0.3, unit, full=1000).share(metered(trained=[10] * 99, scored=500)) == 0.3


def test_in_seconds_the_share_is_what_the_measured_speed_affords():
    budget = Budget(20, "seconds", full=1000)
    assert budget.share(metered()) == 1  # nothing measured yet
    assert budget.share(metered(scored=50, scoring=3.0)) == 1
    # 100 examples in 5 s: 20 s afford 400 of 1000
    assert budget.share(metered(trained=[50, 50], train=4.0, scoring=1.0, eval=50.0)) == pytest.approx(0.4)
    assert budget.share(metered(trained=[50, 50], train=0.1)) == 1  # never more than all


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("amount", [0, -1, float("nan"), -float("inf"), float("inf")])
def test_impossible_amounts_are_refused(unit, amount):
    with pytest.raises(InputError, match=f"budget={amount!r} must be"):
        Budget(amount, unit, full=1000)


def test_shares_above_1_and_unknown_units_are_refused():
    for unit in ("backward", "cost"):
        with pytest.raises(InputError, match=r"budget=1\.5 must be above 0 and at most 1"):
            Budget(1.5, unit, full=1000)
    assert Budget(1.5, "seconds", full=1000).amount == 1.5
    with pytest.raises(InputError, match="unit='hours' is unknown: known: backward, cost, seconds"):
        Budget(0.5, "hours", full=1000)
