"""The numbers of the study: Arazo et al. 2021, Tables 1 to 6, and the points of a study file that they belong to."""

from importlib.resources import files as resources
from math import isclose
from typing import Any

import pandas as pd

from iskit.augment import Pipeline
from iskit.runs.experiment import Experiment
from iskit.samplers import samplers

AUGMENT = {  # the paper's words
    "standard": "standard",
    "randaugment": "randaugment|standard",
    "mixup": "standard|mixup",
    "ricap": "standard|ricap",
}
# What the text leaves open, by table and method: not guessed.
OPEN = {("1", "selective_backprop"): "in the set-up of its own paper, without a budget"}


def numbers() -> pd.DataFrame:
    """One row a cell: table, row (its place in the paper's tables, from 1), dataset, schedule, augmentation, method,
    sampler, budget, warmup, accuracy_mean and accuracy_std in percent over 3 seeds, minutes (on a GTX 1080 Ti),
    speedup_percent, note (what is inferred or odd). NaN where the paper gives none."""
    with (resources("iskit.judging") / "paper.csv").open(encoding="utf-8") as file:
        frame = pd.read_csv(file, dtype={"table": str, "note": str})
    frame.insert(1, "row", frame.groupby("table").cumcount() + 1)
    return frame


def settings(row: Any) -> dict[str, Any]:
    """The settings that a cell of `numbers` stands for, specs in canonical spelling; KeyError, with the reason in its
    argument, for one that the text leaves open."""
    if (row.table, row.sampler) in OPEN:
        raise KeyError(OPEN[row.table, row.sampler])
    spec = f"{row.sampler}(warmup={row.warmup})" if row.warmup else row.sampler
    return {
        "dataset": row.dataset,
        "schedule": row.schedule,
        "augment": Pipeline.canonical(AUGMENT[row.augmentation]),
        "sampler": samplers.canonical(spec),
        "budget": float(row.budget),
        "model": "resnet18",
        "epochs": 200,
        "batch_size": 128,
    }


def is_of(experiment: Experiment, wanted: dict[str, Any]) -> bool:
    """Whether an experiment is a seed of the cell with these `settings`."""
    own = {
        **experiment.to_dict(),
        "augment": Pipeline.canonical(experiment.augment),
        "sampler": samplers.canonical(experiment.sampler),
    }
    return all(isclose(own[k], v) if isinstance(v, float) else own[k] == v for k, v in wanted.items())
