"""Schedules against PyTorch's own, over a whole run, and what all of them promise."""

import math

import pytest
import torch

from iskit.errors import InputError
from iskit.training.schedules import schedules

STEPS = 600
STARTS = [step / STEPS for step in range(STEPS)]  # t at the start of each step


def torchs(make) -> list[float]:
    """The rates of a torch scheduler at base rate 1, one a step."""
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    scheduler = make(optimizer)
    rates = []
    for _ in range(STEPS):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def ours(spec: str) -> list[float]:
    schedule = schedules.partial(spec)
    return [schedule(t) for t in STARTS]


def close(ours: list[float], theirs: list[float], tolerance: float = 1e-9) -> bool:
    return max(abs(a - b) for a, b in zip(ours, theirs, strict=True)) < tolerance


def test_linear():
    theirs = torchs(lambda o: torch.optim.lr_scheduler.LinearLR(o, 1.0, 1e-5, total_iters=STEPS))
    assert close(ours("linear"), theirs)
    assert schedules.create("linear", 0.0) == 1
    assert 0.1 * schedules.create("linear", 1.0) == pytest.approx(1e-6)  # the paper's: from .1 to 1e-6


def test_step():
    theirs = torchs(lambda o: torch.optim.lr_scheduler.MultiStepLR(o, [STEPS // 3, 2 * STEPS // 3], 0.1))
    assert close(ours("step"), theirs)
    theirs = torchs(lambda o: torch.optim.lr_scheduler.MultiStepLR(o, [STEPS // 5, STEPS // 2], 0.2))
    assert close(ours("step(at=(0.2, 0.5), factor=0.2)"), theirs)


def test_cosine():
    assert close(ours("cosine"), torchs(lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, STEPS)))


def test_constant():
    assert ours("constant") == [1.0] * STEPS


@pytest.mark.parametrize(("spec", "rise"), [("onecycle", 0.3), ("onecycle(rise=0.5)", 0.5)])
def test_onecycle(spec, rise):
    make = torch.optim.lr_scheduler.OneCycleLR
    theirs = torchs(lambda o: make(o, 1.0, STEPS + 1, pct_start=rise, cycle_momentum=False))
    # torch turns one step earlier than at the share `rise`: at step rise x (STEPS + 1) - 1
    turn = rise * (STEPS + 1) - 1
    schedule = schedules.partial(spec)
    clock = [
        rise * k / turn if k <= turn else rise + (1 - rise) * (k - turn) / (STEPS - turn) for k in range(STEPS)
    ]  # fmt: skip
    assert close([schedule(t) for t in clock], theirs)
    assert schedule(0.0) == pytest.approx(1 / 25)
    assert schedule(rise) == pytest.approx(1)
    assert schedule(1.0) == pytest.approx(1 / 25 / 1e4)


def test_rex():
    by_hand = {0.0: 1, 0.25: 0.75 / 0.875, 0.5: 0.5 / 0.75, 0.9: 0.1 / 0.55, 1.0: 0}
    assert {t: schedules.create("rex", t) for t in by_hand} == pytest.approx(by_hand)
    assert all(rate > 1 - t for t, rate in zip(STARTS[1:], ours("rex")[1:], strict=True))  # above linear all the way


@pytest.mark.parametrize("cooldown", [0.2, 0.3, 0.5, 1.0])
def test_wsd(cooldown):
    spec = f"wsd(cooldown={cooldown})"
    begin = 1 - cooldown
    assert ours(spec) == pytest.approx([1 - math.sqrt(max(0, t - begin) / cooldown) for t in STARTS])
    by_hand = {0.0: 1, begin: 1, begin + cooldown / 4: 0.5, begin + 0.81 * cooldown: 0.1, 1.0: 0}
    assert {t: schedules.create(spec, t) for t in by_hand} == pytest.approx(by_hand, abs=1e-7)
    assert [schedules.create("wsd", t) for t in STARTS] == ours("wsd(cooldown=0.2)")


@pytest.mark.parametrize("name", list(schedules))
def test_every_schedule_is_a_share_of_the_highest_rate(name):
    schedule = schedules.partial(name)
    values = [schedule(t) for t in [*STARTS, 1 - 2**-53]]
    assert all(isinstance(value, float) and 0 <= value <= 1 for value in values)
    assert max(values) > 0.99  # lr is the HIGHEST rate
    assert all(math.isfinite(value) for value in values)
    assert schedule.func.__doc__


@pytest.mark.parametrize(
    "spec",
    ["step(at=(0.5, 2))", "step(at=('a',))", "step(at=(0,))", "step(at=(True,))", "step(factor=-0.1)",
     "step(factor=2)", "onecycle(rise=0)", "onecycle(rise=1)", "onecycle(start=-1)", "onecycle(final=1.5)",
     "linear(final=2)", "linear(final=-1e-5)", "wsd(cooldown=0)", "wsd(cooldown=1.1)", "wsd(cooldown=-0.2)"],
)  # fmt: skip
def test_impossible_options_are_refused(spec):
    name, options = schedules.parse(spec)
    with pytest.raises(InputError) as error:
        schedules.create(spec, 0.0)
    assert f"schedule={name}" in str(error.value)
    assert next(iter(options)) in str(error.value)
