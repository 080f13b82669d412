"""A study of many tiny runs, and whether two engines found the same in it."""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from iskit.runs.experiment import Experiment
from iskit.runs.grid import grid
from iskit.study.pack import pack
from iskit.study.packed import Packed
from iskit.study.sweep import Sweep

# float32, one thread: as an engine's machine would not choose by itself
TINY = {
    **{"study": "many", "dataset": "digits(limit=200)", "model": "cnn(width=4)", "evals": 3, "precision": "float32"},
    **{"sampler": ["unif", "p"], "budget": [0.3, 0.5, 0.7]},
}
TIMES = ("seconds", "commit", "dirty")  # and what the tree was


def study(runs: int, epochs: int = 4) -> list[Experiment]:
    return grid({**TINY, "epochs": epochs, "seeds": runs // 6})


def trained_here(experiments: list[Experiment], outputs: Path) -> Path:
    many = Sweep(experiments, workers=2, outputs=outputs)
    assert sum(news.finished for news in many) == len(experiments)
    return outputs


def results(outputs: Path, study: str = "many") -> dict[Path, int]:
    """When each run was finished."""
    return {path: path.stat().st_mtime_ns for path in outputs.glob(f"{study}/*/result.json")}


def check_same(one: Path, other: Path) -> None:
    """The packed files of two folders of studies, in all but times."""
    first, second = (timeless(outputs) for outputs in (one, other))
    assert first.keys() == second.keys()
    for name in first:
        pd.testing.assert_frame_equal(first[name], second[name], check_exact=True)


def timeless(outputs: Path) -> dict[str, pd.DataFrame]:
    path = outputs / "packed.zip"
    _, damaged = pack("many", path, outputs)
    assert damaged == {}
    whole = Packed(path)
    names = [name.removesuffix(".parquet") for name in whole.files if name.endswith(".parquet")]
    tables = {name: whole.table(name) for name in names}
    tables["runs"] = (
        tables["runs"].drop(columns="identity").assign(row=[_timeless(row) for row in tables["runs"]["row"]])
    )
    return {name: table[[column for column in table if "seconds" not in column]] for name, table in tables.items()}


def _timeless(row: str) -> str:
    kept: dict[str, Any] = json.loads(row)
    return json.dumps({name: value for name, value in kept.items() if not any(word in name for word in TIMES)})
