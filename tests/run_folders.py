"""Run folders without training: what a finished run leaves, with numbers that are told apart at sight.

As a script it measures how fast many are read: `python tests/run_folders.py 5000`.
"""

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

import iskit
from iskit import files
from iskit.runs.experiment import Experiment
from iskit.runs.parts import canonical
from iskit.runs.run import Run

FOUND: dict[str, Any] = {
    "accuracy": 90.0,
    "best_accuracy": 91.0,
    "loss": 0.4,
    "train_loss": 0.3,
    "train_accuracy": 95.0,
    "seconds": {"train": 6.0, "scoring": 2.0, "eval": 1.0, "warmup": 0.5, "prepare": 4.0},
    "training_seconds": 8.0,
    "passes": {"forward_only": 100, "forward": 200, "backward": 200, "prepared": 0},
    "steps": 10,
    "equivalent_budget": 0.5,
    "entropy": 3.0,
    "entropy_share": 0.6,
    "coverage": 0.75,
    "effective_sample_size": 70.0,
    "examples": 100,
    "parameters": 1000,
    "device": "cpu (one)",
    "precision": "float32",
    "threads": 2,
    "versions": {"iskit": "0.1.0", "torch": "2.11", "numpy": "2.1"},
    "commit": None,
}


def write_run(outputs: Path, found: dict[str, Any] | None = None, specs: bool = True, **settings: Any) -> Path:
    """A finished run's folder. found: what differs from FOUND; specs: whether it keeps canonical ones."""
    experiment = Experiment(**settings)
    spelt = canonical(experiment)
    path = outputs / experiment.study / experiment.run_id(spelt)
    path.mkdir(parents=True, exist_ok=True)
    (path / "params.yaml").write_text(yaml.safe_dump(experiment.to_dict(), sort_keys=False))
    kept = {**FOUND, **(found or {}), **({"specs": spelt} if specs else {}), "data": {"source": "s", "digest": "d"}}
    files.write_json(path / "result.json", kept)
    return path


def write_past(path: Path, counts: np.ndarray | None = None, **columns: Any) -> None:
    """The history and the sample counts of a run; columns: what differs."""
    past = {"t": [0.5, 1.0], "accuracy": [80, 90.0], "loss": [0.6, 0.4]}
    past |= {"train_accuracy": [85.0, 95.0], "train_loss": [0.5, 0.3]} | columns
    pd.DataFrame(past).to_parquet(path / "history.parquet")
    np.save(path / "counts.npy", np.arange(100) if counts is None else counts)


def same(one: Run, other: Run) -> None:
    """Bit for bit, but for what the clock says."""
    past, again = (iskit.history_of(run.path).filter(regex="^(?!seconds_)") for run in (one, other))
    pd.testing.assert_frame_equal(past, again, check_exact=True)
    np.testing.assert_array_equal(iskit.counts_of(one.path), iskit.counts_of(other.path))
    np.testing.assert_array_equal(iskit.correct_of(one.path), iskit.correct_of(other.path))
    pd.testing.assert_frame_equal(iskit.sample_of(one.path), iskit.sample_of(other.path), check_exact=True)
    first, second = (
        {key: value for key, value in run.result.items() if "seconds" not in key and key not in ("commit", "dirty")}
        for run in (one, other)
    )
    assert first == second


def measure(count: int) -> None:
    """Seconds of reading so many runs: first, again, and with one more; the process's memory in the end."""
    import resource

    with tempfile.TemporaryDirectory() as folder:
        for seed in range(count):
            write_run(Path(folder), {"accuracy": seed / count}, seed=seed, sampler=("unif", "p", "c")[seed % 3])
        for what in ("first", "again", "one more"):
            if what == "one more":
                write_run(Path(folder), seed=count)
            start, busy = time.perf_counter(), time.process_time()
            runs = len(iskit.results(outputs=Path(folder)))
            wall, busy = time.perf_counter() - start, time.process_time() - busy
            print(f"{runs} runs {what}: {wall:.2f} s, of the processor {busy:.2f} s")
    print(f"memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")


if __name__ == "__main__":
    measure(int(sys.argv[1]))
