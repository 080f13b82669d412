"""What the command line shows of a study: tables for a terminal, and durations in words."""

from collections.abc import Iterator
from math import isnan

import pandas as pd
from rich.table import Table

from iskit.study.archive import over_seeds, told_apart_by
from iskit.study.status import SHOWN, STATES, Standing

LEGEND = (
    "trained: examples; cost: forward and backward passes as a share of the full run's; "
    "seconds: training and scoring; saved: of these, against full sgd; preparation (proxy runs) is in neither; "
    "entropy in nats"
)
UNITS = (("d", 86400), ("h", 3600), ("min", 60))


def accuracies(frame: pd.DataFrame) -> Iterator[Table]:
    """Mean and deviation over seeds of finished runs (of `iskit.results`), a table a task."""
    for (study, dataset, model), part in frame.groupby(["study", "dataset", "model"], sort=False):
        further = told_apart_by(part)
        table = Table(title=f"{study}: {model} on {dataset}", title_justify="left")
        for name in ("augment", "sampler", *further):
            table.add_column(name, overflow="fold", min_width=max(10, len(name)))
        for name in ("budget", "accuracy %", "seeds", "trained", "cost", "seconds", "saved %", "entropy"):
            table.add_column(name, justify="right", no_wrap=True)
        for row in over_seeds(part).sort_values(["augment", *further, "budget", "sampler"]).to_dict("records"):
            spread = f" ± {row['deviation']:.2f}" if row["seeds"] > 1 else ""
            saved = "" if isnan(row["speedup"]) else f"{row['speedup']:.0f}"
            table.add_row(
                *(row["augment"], row["sampler"], *(str(row[name]) for name in further)),
                *(f"{row['budget']:g}", f"{row['accuracy']:.2f}{spread}"),
                *(str(row["seeds"]), f"{row['backward']:,.0f}", f"{row['equivalent_budget']:.3f}"),
                *(f"{row['seconds']:.2f}", saved, f"{row['entropy']:.3f}"),
            )
        yield table


def headline(standing: Standing) -> str:
    """How many runs are in which state, and how long the rest will take, in one line."""
    counts = [f"{standing.count(state)} {state}" for state in STATES if standing.count(state)]
    return f"{standing.study}: {len(standing.runs)} runs: {', '.join(counts) or 'none'}; {time_left(standing)}"


def time_left(standing: Standing) -> str:
    if standing.left is None:
        return "time left: known once a run of each kind has finished"
    if not standing.left:
        return "nothing left to train"
    running = standing.count("running")
    by = f"with the {running} that train now" if running > 1 else "on one worker"
    return f"time left: about {duration(standing.left / max(1, running))} {by}"


def open_runs(standing: Standing) -> pd.DataFrame:
    """Of `standing.runs` those begun and not finished, as text: which, how far, since when and by whom, and why."""
    runs = standing.runs[~standing.runs["state"].isin(["finished", "missing"])]
    by = [
        f"{host}, process {process:.0f}" if isinstance(host, str) else ""
        for host, process in runs[["host", "process"]].itertuples(index=False)
    ]
    shown = runs[["state", *SHOWN]].assign(
        t=[f"{t:.2f}" if pd.notna(t) else "" for t in runs["t"]], said=runs["at"].fillna(""), by=by, error=runs["error"]
    )
    return shown.astype(object).where(shown.notna(), "").astype(str)


def of_frame(frame: pd.DataFrame) -> Table:
    """A frame of text."""
    table = Table(box=None)
    for name in frame.columns:
        table.add_column(name, overflow="fold")
    for row in frame.itertuples(index=False):
        table.add_row(*row)
    return table


def duration(seconds: float) -> str:
    """`90` -> `1.5 min`: two digits, in the largest unit that gives at least one."""
    for unit, length in UNITS:
        if seconds >= length:
            return f"{seconds / length:.2g} {unit}" if seconds < 10 * length else f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def size(count: float) -> str:
    """Bytes: `2500000` -> `2.5 MB`."""
    return f"{count / 1e6:,.1f} MB"
