"""How long runs will take: by the finished runs of their study, else by some steps that are rehearsed now."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import torch

from iskit.runs.experiment import Experiment
from iskit.runs.parts import canonical, parts
from iskit.study.rehearsal import Rehearsal
from iskit.training import probe

KIND = ("dataset", "validation", "model", "batch_size", "precision", "unit")  # what an example's seconds depend on
METHOD = ("sampler", "augment")
START = 5.0  # seconds until worker processes train: they import torch


class Speed:
    """What the finished runs (of `iskit.results`) tell of others like them.

    A run's seconds, evaluation and preparations included, are proportional to its budget x epochs x examples. Where
    none of its sampler and augmentation is known, those of its kind by the passes, scaled by the passes that its
    sampler takes elsewhere in the frame.
    """

    def __init__(self, frame: pd.DataFrame):
        self.same: dict[tuple, float] = {}
        self.alike: dict[tuple, float] = {}
        self.passes: dict[str, float] = {}
        self.examples: dict[tuple, float] = {}
        if frame.empty:
            return
        wall = frame.filter(regex="^seconds_").sum(axis=1)
        full = frame["epochs"] * frame["examples"]
        asked = (frame["budget"] * full).where(frame["unit"] != "seconds", frame["budget"])
        spent = (frame["equivalent_budget"] * full).where(frame["unit"] != "seconds", frame["budget"])
        rates = frame.assign(same=wall / asked, alike=wall / spent, passes=spent / asked)
        self.same = rates.groupby([*KIND, *METHOD])["same"].median().to_dict()
        self.alike = rates.groupby([*KIND])["alike"].median().to_dict()
        self.passes = rates.groupby("sampler")["passes"].median().to_dict()
        self.examples = frame.groupby(["dataset", "validation"])["examples"].median().to_dict()

    def seconds(self, experiment: Experiment) -> float | None:
        """Of the whole run, on one worker; None if no run of its kind is known."""
        e = {**experiment.to_dict(), **canonical(experiment)}
        examples = self.examples.get((e["dataset"], e["validation"]))
        if examples is None:
            return None
        asked = e["budget"] if e["unit"] == "seconds" else e["budget"] * e["epochs"] * examples
        kind = tuple(e[name] for name in KIND)
        if rate := self.same.get((*kind, *(e[name] for name in METHOD))):
            return asked * rate
        rate = self.alike.get(kind)
        return None if rate is None else asked * rate * self.passes.get(e["sampler"], 1.0)


def device_name(experiment: Experiment) -> str:
    """Of what would train it here, as results name it."""
    cuda = parts(experiment).device.type == "cuda"
    return torch.cuda.get_device_name() if cuda else f"cpu ({probe.cpu()})"


@dataclass(frozen=True)
class Forecast:
    """seconds: until all is done, None if that shows only later; why: what tells them."""

    seconds: float | None
    why: str


def forecast(
    left: Sequence[tuple[Experiment, float]],
    frame: pd.DataFrame,
    workers: int,
    rehearsal: Rehearsal | None = None,
    warm: bool = False,
) -> Forecast:
    """How long so many workers take for what is left: experiments, and of each the share that is still to do.

    frame: the study's finished runs (of `iskit.results`); those of this machine count, if there are any. rehearsal:
    keeps what is measured, for whoever asks again. warm: whether the workers have started.
    """
    if not left:
        return Forecast(0.0, "all is done")
    if len(frame):
        here = frame["device_name"] == device_name(left[0][0])
        frame = frame[here] if here.any() else frame
    speed, rehearsal = Speed(frame), rehearsal or Rehearsal()
    measured, prepared = False, set[tuple]()
    each: list[float] = []
    for experiment, share in left:
        seconds = speed.seconds(experiment)
        if seconds is None:
            seconds, measured = rehearsal.seconds(experiment, prepared), True
            if seconds is None:
                return Forecast(None, "known once a run has finished")
        each.append(seconds * share)
    told = "steps measured now" if measured else f"{len(frame)} finished runs"
    busy = min(workers, len(left))
    start = 0.0 if warm else START
    return Forecast(start + max(sum(each) / busy, *each), f"by {told}, on {busy} worker{'s' if busy > 1 else ''}")
