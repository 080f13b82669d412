"""Learning-rate schedules: functions of progress t in [0, 1), so that every budget sees the whole schedule."""

from math import cos, pi, sqrt

from iskit.errors import InputError
from iskit.registry import Registry

schedules: Registry[float] = Registry("schedule")


@schedules.register("linear", "LLR")
def linear(t: float, *, final: float = 1e-5) -> float:
    """From 1 down to `final` in a straight line (the paper's LLR: from lr to 1e-6 at lr .1).

    final: the factor at the end.
    """
    _shares("linear", final=final)
    return 1 - t * (1 - final)


@schedules.register("step", "SLR")
def step(t: float, *, at: tuple = (1 / 3, 2 / 3), factor: float = 0.1) -> float:
    """Times `factor` at each of the points `at` (the paper's SLR: a tenth at 1/3 and 2/3 of the run).

    at: shares of the run; factor: of each step down.
    """
    if not all(isinstance(point, int | float) and 0 < point < 1 for point in at):
        raise InputError(f"schedule=step: at={at!r} must hold shares of the run between 0 and 1")
    _shares("step", factor=factor)
    return factor ** sum(t >= point for point in at)


@schedules.register("cosine")
def cosine(t: float) -> float:
    """Half a cosine wave from 1 down to 0 (Loshchilov & Hutter 2017, eq. 5, without restarts)."""
    return (1 + cos(pi * t)) / 2


@schedules.register("constant")
def constant(t: float) -> float:
    """1 throughout."""
    return 1.0


@schedules.register("onecycle")
def onecycle(t: float, *, rise: float = 0.3, start: float = 0.04, final: float = 4e-6) -> float:
    """Up from `start` to 1 over the share `rise` of the run, down to `final`, in cosine arcs (Smith & Topin 2018).

    rise: share of the run that it rises; start, final: the factors at both ends.
    """
    if not 0 < rise < 1:
        raise InputError(f"schedule=onecycle: rise={rise!r} must lie between 0 and 1")
    _shares("onecycle", start=start, final=final)
    if t < rise:
        return start + (1 - start) * (1 - cos(pi * t / rise)) / 2
    return final + (1 - final) * (1 + cos(pi * (t - rise) / (1 - rise))) / 2


@schedules.register("rex")
def rex(t: float) -> float:
    """(1 - t) / (1 - t / 2): high for long, steep at the end (Chen et al. 2022, "REX")."""
    return (1 - t) / (1 - t / 2)


@schedules.register("wsd")
def wsd(t: float, *, cooldown: float = 0.2) -> float:
    """1, then 1 - sqrt down to 0 over the last share `cooldown` of the run (Haegele et al. 2024, without warm-up).

    cooldown: share of the run that it falls.
    """
    if not 0 < cooldown <= 1:
        raise InputError(f"schedule=wsd: cooldown={cooldown!r} must be a share of the run above 0 and at most 1")
    left = min(1.0, (1 - t) / cooldown)  # of the cooldown
    return 1 - sqrt(1 - left)


def _shares(schedule: str, **options: float) -> None:
    """Schedules lower the highest rate; they never raise or turn it."""
    for name, value in options.items():
        if not 0 <= value <= 1:
            raise InputError(f"schedule={schedule}: {name}={value!r} must be a share of the highest rate, from 0 to 1")
