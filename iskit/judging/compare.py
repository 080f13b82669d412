"""A study's results beside the numbers of the paper: in points where the protocol is the same, else by gaps to unif."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from iskit.errors import InputError, suggest
from iskit.judging import paper
from iskit.runs.experiment import Experiment
from iskit.study.archive import told_apart_by

# What must be as in the paper for its numbers to be beside ours, point by point.
PROTOCOL = {
    "model": "resnet18", "epochs": 200, "batch_size": 128, "unit": "backward", "validation": 0,
    **{name: getattr(Experiment(), name) for name in ("optimizer", "lr", "momentum", "weight_decay")},
}  # fmt: skip
EXAMPLES = {"cifar10": 50_000, "cifar100": 50_000, "svhn": 73_257, "mini-imagenet": 50_000}
TABLES = {f"table{name}": name for name in sorted(set(paper.numbers()["table"]))}
CELL = ["schedule", "augment", "sampler", "budget"]  # a place in a table, whatever the data
ALIKE = ["schedule", "augment", "budget"]  # what a gap to unif is within
SEEDS = 3  # of the paper


@dataclass(frozen=True)
class Comparison:
    """table: the paper's; cells: its numbers, a row each, beside ours of the same protocol (NaN where there are none);
    gaps: ours of other data, networks or lengths, a row a task and cell, as gaps to unif beside the paper's gaps."""

    table: str
    cells: pd.DataFrame
    gaps: pd.DataFrame

    @property
    def missing(self) -> pd.DataFrame:
        """The cells that lack seeds of the paper's protocol; examples: to be trained for them, without scoring."""
        short = self.cells[self.cells["seeds"] < SEEDS]
        todo = (SEEDS - short["seeds"]) * short["budget"] * PROTOCOL["epochs"] * short["dataset"].map(EXAMPLES)
        return short[["dataset", *CELL, "seeds"]].assign(examples=todo.round().astype("int64"))


def compare(table: str, frame: pd.DataFrame) -> Comparison:
    """Sets results (see `iskit.results`) beside a table of the paper, table1 to table6.

    cells: dataset, schedule, augment, sampler, budget; paper, paper_std, paper_speedup; ours, std, seeds, speedup;
    difference = ours - paper in points, in_std = difference / paper_std.
    gaps: what tells our tasks apart, schedule, augment, sampler, budget; ours, std, seeds, speedup; gap = ours - unif's
    mean of the same task, schedule, augmentation and budget; paper_<data set>: the same gap in the paper.
    InputError for another table.
    """
    if table not in TABLES:
        raise InputError(f"table={table!r} is not in the paper: {suggest(table, TABLES)}")
    theirs = _paper(TABLES[table])
    same = by_protocol(frame)
    return Comparison(table, _cells(theirs, frame[same]), _gaps(theirs, frame[~same]))


def by_protocol(frame: pd.DataFrame) -> pd.Series:
    """Which runs were trained as the paper's were, whatever their method, augmentation and budget: (runs,) bool."""
    same = pd.Series(True, index=frame.index)
    for name, value in PROTOCOL.items():
        same &= np.isclose(frame[name], value) if isinstance(value, float) else frame[name] == value
    return same & frame["dataset"].isin(EXAMPLES)


def paper_gaps(table: str) -> pd.DataFrame:
    """The paper's gaps to unif in points: a row a cell (CELL), a column paper_<data set>, NaN where it has none."""
    return _wide(_paper(TABLES[table]))


def _paper(table: str) -> pd.DataFrame:
    """The table's cells in our words, but for what the text leaves open."""
    rows = []
    for row in paper.numbers().query("table == @table").itertuples():
        if (row.table, row.sampler) in paper.OPEN:
            continue
        wanted = paper.settings(row)
        rows.append(
            {
                **{name: wanted[name] for name in ("dataset", *CELL)},
                "paper": row.accuracy_mean,
                "paper_std": row.accuracy_std,
                "paper_speedup": row.speedup_percent,
            }
        )
    return pd.DataFrame(rows)


def _means(frame: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    return frame.groupby(keys, dropna=False, sort=False, as_index=False).agg(
        ours=("accuracy", "mean"), std=("accuracy", "std"), seeds=("seed", "nunique"), speedup=("speedup", "mean")
    )


def _cells(theirs: pd.DataFrame, frame: pd.DataFrame) -> pd.DataFrame:
    ours = _means(frame, ["dataset", *CELL]) if len(frame) else pd.DataFrame(columns=["dataset", *CELL, *OURS])
    found = theirs.merge(ours, how="left", on=["dataset", *CELL])
    found["seeds"] = found["seeds"].fillna(0).astype(int)
    found["difference"] = found["ours"].astype(float) - found["paper"]
    found["in_std"] = found["difference"] / found["paper_std"]
    return found


OURS = ["ours", "std", "seeds", "speedup"]


def _gaps(theirs: pd.DataFrame, frame: pd.DataFrame) -> pd.DataFrame:
    wide = _wide(theirs)
    places = theirs[CELL].drop_duplicates()
    task = ["dataset", "model", "epochs", *(name for name in told_apart_by(frame) if name not in TOLD)]
    if frame.empty:
        return pd.DataFrame(columns=[*task, *CELL, *OURS, "gap", *wide.columns.drop(CELL)])
    ours = _means(frame, [*task, *CELL])
    ours["gap"] = ours["ours"] - _of_unif(ours, "ours", [*task, *ALIKE])
    return ours.merge(places, on=CELL).merge(wide, how="left", on=CELL)


def _wide(theirs: pd.DataFrame) -> pd.DataFrame:
    gaps = theirs.assign(gap=theirs["paper"] - _of_unif(theirs, "paper", ["dataset", *ALIKE]))
    wide = gaps.pivot_table(index=CELL, columns="dataset", values="gap", sort=False)
    wide.columns = [f"paper_{name}" for name in wide.columns]
    return wide.reset_index()


TOLD = ("study", "dataset", "model", "epochs", "schedule", "unit")


def _of_unif(frame: pd.DataFrame, column: str, alike: list[str]) -> pd.Series:
    """For each row, the column's value of the row that is unif's and alike; NaN without one."""
    unif = frame[frame["sampler"] == "unif"].set_index(alike)[column]
    return pd.Series([unif.get(key, np.nan) for key in frame[alike].itertuples(index=False, name=None)], frame.index)
