"""A grid of experiments: every combination of settings that are lists, checked before any is trained."""

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import replace
from math import prod
from typing import Any

from iskit.errors import InputError, shown
from iskit.runs.experiment import Experiment, check_names
from iskit.runs.parts import parts, specs
from iskit.samplers import samplers

MOST = 100_000  # combinations
# They are numbers, checked one by one as an Experiment is made: no other setting depends on them.
ALONE = ("study", "seed", "lr", "momentum", "weight_decay", "evals", "deterministic", "keep_model")


def grid(settings: Mapping[str, Any], ready: bool = True) -> list[Experiment]:
    """Every combination of the settings, of which any may be a list; `seeds: 3` stands for the seeds 1, 2, 3.

    The full run `sgd` knows no smaller budget: it stands once for each of the other combinations, at budget 1.
    InputError for an unknown name, an empty list, more than MOST combinations, or any that cannot work; unless they
    are to be `ready`, data sets may be missing.
    """
    check_names(settings, also=["seeds"])
    axes = {key: value if isinstance(value, list | tuple | range) else [value] for key, value in settings.items()}
    if "seeds" in settings:
        seeds = settings["seeds"]
        del axes["seeds"]
        if isinstance(seeds, bool) or not isinstance(seeds, int) or seeds < 1 or "seed" in axes:
            raise InputError(f"seeds={shown(seeds)} must be a whole number of seeds, at least 1, in place of seed")
        axes["seed"] = range(1, min(seeds, MOST + 1) + 1)
    for key, values in axes.items():
        if not values:
            raise InputError(f"{key}=[] names nothing to run: give at least one value")
    if prod(map(len, axes.values())) > MOST:
        longest = max(axes, key=lambda key: len(axes[key]))
        raise InputError(f"these settings make more than {MOST:,} runs: give fewer values of {longest}")
    experiments: dict[Experiment, None] = {}  # ordered, each once
    for combination in itertools.product(*axes.values()):
        experiment = Experiment.parse(dict(zip(axes, combination, strict=True)))
        if samplers.parse(experiment.sampler)[0] == "sgd":
            experiment = replace(experiment, budget=1.0)
        experiments[experiment] = None
    for experiment in kinds(experiments):
        parts(experiment) if ready else specs(experiment)
    return list(experiments)


def kinds(experiments: Iterable[Experiment]) -> list[Experiment]:
    """One experiment for all that differ in settings that stand ALONE: if it can work, so can they."""
    first: dict[tuple, Experiment] = {}
    for experiment in experiments:
        settings = vars(experiment)
        first.setdefault(tuple(value for name, value in settings.items() if name not in ALONE), experiment)
    return list(first.values())
