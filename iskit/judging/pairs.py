"""The runs that a contrast names, found among all runs and paired by seed."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import pandas as pd

from iskit.errors import InputError
from iskit.judging.contrasts import RATIOS, Contrast, Settings, settings_of
from iskit.runs.experiment import BYSTANDERS, Experiment


def examples(runs: pd.DataFrame) -> pd.Series:
    """What was trained."""
    return runs["passes_backward"]


def passes(runs: pd.DataFrame) -> pd.Series:
    """All passes, in units of one forward pass; a backward pass counts as two."""
    return runs["passes_forward_only"] + runs["passes_forward"] + 2 * runs["passes_backward"]


def preparations(runs: pd.DataFrame) -> pd.Series:
    """All passes, and those of what was trained before the run."""
    return passes(runs) + runs["passes_prepared"]


def seconds(runs: pd.DataFrame) -> pd.Series:
    """Of training and the scoring it needs."""
    return runs["training_seconds"]


def sample_loss(runs: pd.DataFrame) -> pd.Series:
    """At the end, over the fixed sample of training examples, as they are."""
    return runs["sample_loss"]


# What ratios are asked for, what a run cost before all: of frames as `iskit.results` gives them.
AMOUNT = dict(zip(RATIOS, (examples, passes, preparations, seconds, sample_loss), strict=True))


@dataclass(frozen=True)
class Pairs:
    """Frames of runs with a row for each seed of `seeds`, in that order; reference is None for a trend.

    left_out: seeds that some arm or the reference has, but not all.
    """

    seeds: list[int]
    arms: list[pd.DataFrame]
    reference: pd.DataFrame | None
    left_out: list[int]

    @property
    def all(self) -> list[pd.DataFrame]:
        return [*self.arms, *([] if self.reference is None else [self.reference])]

    def values(self, column: str) -> np.ndarray:
        """(seeds, arms) float64."""
        return np.stack([runs[column].to_numpy(float) for runs in self.arms], axis=1)

    def amounts(self, kind: str) -> tuple[np.ndarray, np.ndarray]:
        """(seeds, arms) of the arms and of their reference. InputError for the seconds of different machines."""
        assert self.reference is not None
        if kind == "seconds":
            self._one_machine()
        arms = np.stack([AMOUNT[kind](runs).to_numpy(float) for runs in self.arms], axis=1)
        return arms, np.broadcast_to(AMOUNT[kind](self.reference).to_numpy(float)[:, None], arms.shape)

    def _one_machine(self) -> None:
        runs = pd.concat(self.all)
        for column, name in {"device_name": "devices", "threads": "numbers of threads"}.items():
            if runs[column].nunique() > 1:
                raise InputError(
                    f"its seconds are of different {name} ({', '.join(map(str, runs[column].unique()))}): "
                    "time all arms on one machine alike, or leave seconds out"
                )


def pair(contrast: Contrast, frame: pd.DataFrame) -> Pairs:
    """The contrast's runs among those of `iskit.results`.

    InputError if an arm or the reference has no run or several of one seed, if no seed is common to all, if the
    measure is missing, or if the data are not the same.
    """
    settings = settings_of(frame)
    wanted = list(zip(contrast.titles, contrast.arms, strict=True))
    if contrast.reference:
        wanted.append((contrast.against, contrast.reference))
    found = [(title, _runs(frame, settings, spec, title)) for title, spec in wanted]
    every = [set(runs.index) for _, runs in found]
    seeds = sorted(set.intersection(*every))
    if not seeds:
        of = "; ".join(f"{title}: {', '.join(map(str, sorted(runs.index)))}" for title, runs in found)
        raise InputError(f"its runs have no seed in common ({of}): train all with the same seeds")
    chosen = [runs.loc[seeds] for _, runs in found]
    for (title, _), runs in zip(wanted, chosen, strict=True):
        if contrast.measure not in runs or runs[contrast.measure].isna().any():
            raise InputError(f"runs of {title} have no {contrast.measure}: train them anew, or choose another measure")
    _same_data(pd.concat(chosen))
    arms, reference = (chosen[:-1], chosen[-1]) if contrast.reference else (chosen, None)
    return Pairs([int(seed) for seed in seeds], arms, reference, sorted(map(int, set.union(*every) - set(seeds))))


def _runs(frame: pd.DataFrame, settings: pd.DataFrame, wanted: Settings, title: str) -> pd.DataFrame:
    """The runs of these settings, by seed."""
    fits = np.logical_and.reduce([settings[name] == value for name, value in wanted.items()])
    if not fits.any():
        asked = ", ".join(f"{name}={value!r}" for name, value in wanted.items())
        raise InputError(f"no finished run of {title} ({asked}): train it, or correct the settings")
    runs, known = frame[fits], settings[fits]
    if not runs["seed"].is_unique:
        seed = runs.loc[runs["seed"].duplicated(), "seed"].iloc[0]
        vary = [name for name in known if name != "seed" and known.loc[runs["seed"] == seed, name].nunique() > 1]
        raise InputError(
            f"{title} has several runs of seed {seed}"
            + (f", which differ in {', '.join(vary)}: name those in where, or in the arm" if vary else ": keep one")
        )
    return runs.assign(**{name: known[name] for name in known}).set_index("seed", drop=False)


def _same_data(runs: pd.DataFrame) -> None:
    """One digest for all runs on a data set, or one a seed where the seed draws what is shown of it."""
    runs = runs.reset_index(drop=True)  # seed is its index too
    if "data_digest" not in runs:
        return
    for (dataset, _), part in runs.groupby(["dataset", "validation"]):
        by_seed = part.dropna(subset=["data_digest"]).groupby("seed")["data_digest"].agg(set)  # none of older runs
        digests = set().union(*by_seed)
        if any(len(found) > 1 for found in by_seed) or 1 < len(digests) < len(by_seed):
            raise InputError(
                f"its runs on {dataset} saw different data (digests {', '.join(sorted(digests))}): "
                "train them anew on one state of the data"
            )


def untold(arm: pd.DataFrame, reference: pd.DataFrame, told: Collection[str]) -> list[str]:
    """The settings in which an arm's runs differ from the reference's though the contrast does not name them."""
    free = [name for name in Experiment.help() if name not in (*BYSTANDERS, *told, "seed")]
    return [name for name in free if set(arm[name]) != set(reference[name])]
