"""What training cost so far (Meter), and how much it may cost (Budget)."""

from dataclasses import asdict, dataclass, field
from math import inf
from typing import Any, Literal, get_args

from iskit.errors import InputError

Unit = Literal["backward", "cost", "seconds"]
UNITS: tuple[str, ...] = get_args(Unit)
Volume = Literal["constant", "rising", "falling"]
SLOPES: dict[Volume, int] = {"constant": 0, "rising": 1, "falling": -1}
PHASES = ("train", "scoring", "eval", "warmup", "prepare")


@dataclass
class Meter:
    """Passes of examples, steps, and seconds by phase. Scoring charges itself; preparations stand apart.

    forward_only: forward passes without a backward (scoring); forward, backward: passes of training;
    prepared: what was spent before the run on proxy models and the like, in units of one forward pass.
    """

    forward_only: int = 0
    forward: int = 0
    backward: int = 0
    steps: int = 0
    prepared: int = 0
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PHASES, 0.0))

    @property
    def cost(self) -> int:
        """In units of one forward pass of one example; a backward pass counts as two."""
        return self.forward_only + self.forward + 2 * self.backward

    @property
    def training_seconds(self) -> float:
        """What the budget pays for: training and the scoring it needs, not evaluation, warm-up or preparation."""
        return self.seconds["train"] + self.seconds["scoring"]

    def trained(self, examples: int) -> None:
        self.forward += examples
        self.backward += examples
        self.steps += 1

    def scored(self, examples: int) -> None:
        self.forward_only += examples

    def state_dict(self) -> dict[str, Any]:
        return asdict(self)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for key, value in state.items():
            if key == "seconds":
                self.seconds.update(value)  # in place: a stopwatch writes into this very dict
            else:
                setattr(self, key, value)


@dataclass(frozen=True)
class Budget:
    """How much a run may spend.

    amount: a share in (0, 1] of the full run for the units `backward` (examples trained, the paper's budget) and
    `cost` (forward + 2 x backward passes); a number of seconds of training for `seconds`.
    full: examples of the full run, epochs x N.

    A run ends at the first step at or past its budget: in `backward` less than one batch past it, in `cost` less than
    what training one batch costs, 3 x batch_size forward passes. For what a step scores is in `cost` a part of it, and
    may be many times that: so candidates are scored only if that leaves something to train with (`affords`). Else
    they are trained as they come, and a walk that would only score is one that trains.
    """

    amount: float
    unit: str
    full: int

    def __post_init__(self) -> None:
        if self.unit not in UNITS:
            raise InputError(f"unit={self.unit!r} is unknown: known: {', '.join(UNITS)}")
        if not 0 < self.amount < inf or (self.unit != "seconds" and self.amount > 1):
            rule = "above 0 seconds" if self.unit == "seconds" else "above 0 and at most 1, a share of the full run"
            raise InputError(f"budget={self.amount!r} must be {rule}")

    @classmethod
    def of_run(cls, amount: float, unit: str, *, n: int, epochs: int, batch_size: int) -> "Budget":
        """The budget of a run on n examples. InputError if it, or the data, is too small for one batch."""
        for name, value in {"epochs": epochs, "batch_size": batch_size}.items():
            if value < 1:
                raise InputError(f"{name}={value!r} must be at least 1")
        if batch_size > n:
            raise InputError(f"batch_size={batch_size} is more than the {n} training examples: set it to at most {n}")
        budget = cls(amount, unit, full=epochs * n)
        if unit != "seconds" and budget.examples < batch_size:
            raise InputError(
                f"budget={amount:g} of {epochs} epochs x {n} examples is {budget.examples} examples, "
                f"less than one batch: raise budget or epochs, or set batch_size below {batch_size}"
            )
        return budget

    def spent(self, meter: Meter) -> float:
        """Progress t: the share of the budget that is spent; the run ends at the first step at or past 1.

        Exact: whole numbers are compared with the budget rounded to whole examples.
        """
        if self.unit == "backward":
            return meter.backward / self.examples
        if self.unit == "cost":
            return meter.cost / (3 * self.examples)
        return meter.training_seconds / self.amount

    def affords(self, t: float, passes: int) -> bool:
        """Whether at progress t scoring by so many forward passes leaves something of the budget to train with.

        Always in `backward`, where scoring is free, and in seconds, where its price is not known beforehand.
        """
        whole = 3 * self.examples
        return self.unit != "cost" or round(t * whole) + passes < whole  # rounded, t x whole is the meter's cost again

    @property
    def examples(self) -> int:
        """Examples that the budget trains if nothing is spent on scoring (units backward and cost)."""
        return max(1, round(self.amount * self.full))

    def equivalent(self, meter: Meter) -> float:
        """What was spent so far, scoring included, as a share of the full run's cost: the study's approximate
        equivalent budget, about B + 1/3 for a method that scores every example once an epoch."""
        return meter.cost / (3 * self.full)

    def share(self, meter: Meter) -> float:
        """The share of an epoch's examples that spends the budget evenly over the epochs.

        In seconds it is not known beforehand: 1 until the speed is measured, then what that speed affords.
        """
        if self.unit != "seconds":
            return self.amount
        if meter.backward == 0 or meter.training_seconds == 0:
            return 1.0
        affordable = meter.backward / meter.training_seconds * self.amount
        return min(1.0, affordable / self.full)


def cumulated(volume: Volume, share: float, n: int, epochs: int, done: int) -> float:
    """Examples that the first `done` of so many epochs train, whose share is `share` on average.

    An epoch's share goes in a straight line from share - d to share + d (rising) or back (falling), d the largest that
    keeps it in [0, 1]; after the last epoch it is `share`.
    """
    x = min(done / epochs, 1.0)
    return done * n * share + SLOPES[volume] * min(share, 1 - share) * n * epochs * (x * x - x)
