"""Finished runs as `iskit.results` gives them, made up: for the tests of verdicts."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from iskit import files
from iskit.runs.experiment import Experiment

FOUND = {
    "best_accuracy": 99.0,
    "worst_class_accuracy": 50.0,
    "training_seconds": 10.0,
    "equivalent_budget": 0.3,
    "entropy": 5.0,
    "entropy_share": 1.0,
    "coverage": 1.0,
    "passes_forward_only": 0,
    "passes_forward": 1000,
    "passes_backward": 1000,
    "passes_prepared": 0,
    "acted": 0.1,
    "on": 1.0,
    "weighted": 0.0,
    "data_digest": "aa",
    "device_name": "cpu",
    "threads": 1,
}


def runs(accuracy: Mapping[str, Sequence[float]], first: int = 1, **more: Any) -> pd.DataFrame:
    """Sampler -> accuracies of the seeds from `first` on. more: columns, of which a value may be a list, one a run."""
    rows = [
        {**Experiment(study="s", sampler=sampler, seed=first + number).to_dict(), **FOUND, "accuracy": value}
        for sampler, values in accuracy.items()
        for number, value in enumerate(values)
    ]
    frame = pd.DataFrame(rows).assign(**more)
    return frame.assign(path=[f"nowhere/{number}" for number in range(len(frame))])


def write(frame: pd.DataFrame, outputs: Path) -> None:
    """The folders of such runs; the counts differ from run to run."""
    settings = list(Experiment.help())
    for number, row in enumerate(frame.to_dict("records")):
        folder = outputs / row["study"] / f"run{number}"
        folder.mkdir(parents=True)
        (folder / "params.yaml").write_text(yaml.safe_dump({name: row[name] for name in settings}))
        np.save(folder / "counts.npy", np.full(5, number))
        found = {name: row[name] for name in FOUND if not name.startswith(("passes_", "data_", "device_"))}
        passes = {name.removeprefix("passes_"): row[name] for name in FOUND if name.startswith("passes_")}
        about = {"device": row["device_name"], "precision": "float32", "data": {"digest": row["data_digest"]}}
        more = {"accuracy": row["accuracy"], "passes": passes, **about}
        files.write_json(folder / "result.json", {**found, **more})
