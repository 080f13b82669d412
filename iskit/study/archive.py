"""All finished runs as one data frame."""

from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from iskit import files
from iskit.errors import InputError
from iskit.study.experiment import BYSTANDERS, Experiment


def results(study: str | None = None, outputs: Path | None = None) -> pd.DataFrame:
    """One row a finished run: its settings, what it found (nested values as `seconds_train`), its folder `path`.

    study: only the runs of outputs/<study>/; None: all. speedup: percent of training time saved against the mean of
    the full sgd runs of the same settings on the same device, 100 (1 - seconds / seconds of sgd); NaN without one.
    An empty frame if there is no run.
    """
    base = outputs or files.root() / "outputs"
    rows = []
    for path in sorted(base.glob(f"{study or '*'}/*/result.json")):
        settings = yaml.safe_load((path.parent / "params.yaml").read_text(encoding="utf-8"))
        found = files.read_json(path)
        found.pop("data", None)
        found["device_name"] = found.pop("device")
        found["precision_used"] = found.pop("precision")
        flat = pd.json_normalize(found, sep="_").iloc[0].to_dict()
        rows.append({**settings, **flat, "path": str(path.parent)})
    frame = pd.DataFrame(rows)
    return _with_speedup(frame) if len(frame) else frame


SAME_TASK = [
    "dataset",
    "model",
    "augment",
    "epochs",
    "batch_size",
    "optimizer",
    "device_name",
    "precision_used",
    "threads",
]


def _with_speedup(frame: pd.DataFrame) -> pd.DataFrame:
    full = frame[frame["sampler"] == "sgd"].groupby(SAME_TASK)["training_seconds"].mean().rename("full_seconds")
    frame = frame.merge(full, how="left", left_on=SAME_TASK, right_index=True)
    frame["speedup"] = 100 * (1 - frame["training_seconds"] / frame["full_seconds"])
    return frame.drop(columns="full_seconds")


KEYS = ["study", "dataset", "model", "augment", "sampler", "budget", "unit"]


def also_varies(frame: pd.DataFrame) -> list[str]:
    """The settings, beside seed and KEYS, that determine results and are not the same in all of these runs."""
    others = [name for name in Experiment.help() if name not in (*KEYS, *BYSTANDERS, "seed")]
    return [name for name in others if name in frame and frame[name].nunique(dropna=False) > 1]


def over_seeds(frame: pd.DataFrame) -> pd.DataFrame:
    """Mean and sample deviation over seeds, of seconds the median; one row a configuration.

    Whatever else varies in the frame (epochs, lr, ...) gets a column and rows of its own, see `also_varies`.
    """
    return (
        frame.groupby([*KEYS, *also_varies(frame)], sort=False, dropna=False)
        .agg(
            accuracy=("accuracy", "mean"),
            deviation=("accuracy", "std"),
            seeds=("seed", "nunique"),
            seconds=("training_seconds", "median"),  # one run that was disturbed must not bend the plot
            speedup=("speedup", "mean"),
            backward=("passes_backward", "mean"),
            equivalent_budget=("equivalent_budget", "mean"),
            entropy=("entropy", "mean"),
            coverage=("coverage", "mean"),
        )
        .reset_index()
    )


def history_of(path: str | Path) -> pd.DataFrame:
    """The evaluations of one run. InputError if the folder holds no finished run."""
    return pd.read_parquet(_file(path, "history.parquet"))


def counts_of(path: str | Path) -> np.ndarray:
    """(N,) int64: how often each training example of one run was trained. InputError as in `history_of`."""
    return np.load(_file(path, "counts.npy"), allow_pickle=False)


def _file(path: str | Path, name: str) -> Path:
    file = Path(path) / name
    if not file.exists():
        raise InputError(f"{path} holds no finished run ({name} is missing): see iskit results")
    return file
