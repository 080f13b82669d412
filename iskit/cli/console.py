"""A study on a terminal: what is to do, training behind a progress bar, what it found."""

import os
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn, track

if TYPE_CHECKING:  # they import torch, which a table of methods does not need
    import pandas as pd

    from iskit.judging.tuning import Tuning
    from iskit.runs.experiment import Experiment
    from iskit.runs.run import Run
    from iskit.study.sweep import Sweep
    from iskit.views.tables import Fitted
    from iskit.views.verdict import Verdict

# As wide as the terminal, or as $COLUMNS says; else a pipe or a log gets room for whole rows.
# No markup: names and paths may hold brackets.
WIDE = None if sys.stdout.isatty() or "COLUMNS" in os.environ else 160
console = Console(width=WIDE, markup=False, emoji=False)


def to_do(many: "Sweep | Tuning") -> "tuple[str, list[tuple[Experiment, float]]]":
    """Checks every run; says how many are in which state, and gives what is to be trained: of each the share left."""
    from iskit.study.sweep import given_up

    states: Counter[str] = Counter()
    left = []
    for number, status in many.check():
        states["diverged" if given_up(status) else status["state"]] += 1
        if status["state"] != "finished" and not given_up(status):
            left.append((many.experiments[number], 1 - (status.get("saved") or 0.0)))
    kinds = ", ".join(f"{count} {state}" for state, count in states.items() if count)
    return f"{states.total()} runs: {kinds}; {len(left)} to do", left


def announce(study: str, many: "Sweep") -> None:
    """Checks every run, then says what is done, what is to do and how long that will take."""
    from iskit.runs.folder import check_room
    from iskit.study.archive import results as read
    from iskit.study.forecast import forecast
    from iskit.study.sweep import at_once
    from iskit.views.tables import duration

    told, left = to_do(many)
    if not left:
        console.print(f"{study}: {told}", soft_wrap=True)
        return
    check_room(many.outputs / study)
    soon = forecast(left, read(study, many.outputs), at_once(many.experiments, many.workers, many.outputs))
    long = "" if soon.seconds is None else f"about {duration(soon.seconds)} "
    console.print(f"{study}: {told}, {long}({soon.why})", soft_wrap=True)


def train_all(many: "Sweep | Tuning", show: Callable[[], None]) -> int:
    """Trains a sweep behind a progress bar, calls `show`, and lists what failed. Returns the exit code: 1 if a run
    failed, 128 and the signal's number if one stopped it."""
    stopped = on_signal(many.stop)
    finished = 0
    with Progress(
        TextColumn("{task.completed} of {task.total} runs"), BarColumn(), TimeRemainingColumn(), console=console
    ) as bar:
        task = bar.add_task("runs", total=len(many.experiments))
        for news in many:
            finished += news.finished
            bar.update(task, completed=finished, total=len(many.experiments))
    show()
    if many.failed:
        console.print(f"{len(many.failed)} of {len(many.experiments)} runs failed:")
        for number, why in sorted(many.failed.items()):
            console.print(f"  {many.folder(number)}: {why}", markup=False, soft_wrap=True)
    if finished + len(many.failed) < len(many.experiments):  # only the signal ends it before
        done = f"{finished} of {len(many.experiments)} runs done"
        console.print(f"stopped with {done}; the same command goes on from here")
        return 128 + stopped[0]
    return 1 if many.failed else 0


def add_notebooks(runs: "Sequence[Run]") -> None:
    """Executes the notebook of each of these finished runs into its folder; lists those that could not be."""
    from iskit.pages.executed import execute

    wrong = [(run.path, why) for run in track(runs, "notebooks", console=console) if (why := execute(run))]
    for path, why in wrong:
        console.print(f"  no notebook in {path}: {why}", soft_wrap=True)


def read_results(study: str | None, own: list[Path] | None = None) -> "pd.DataFrame":
    """What a study found, or all studies; own: of these folders only. Says what is left out."""
    from iskit.study.archive import results as read

    frame = read(study)
    for path, wrong in frame.attrs["damaged"].items():
        print(f"iskit: {path} is left out: {wrong}", file=sys.stderr)
    if copies := frame.attrs["copies"]:
        copy, first = next(iter(copies.items()))
        print(f"iskit: copied run folders count once, {len(copies)} left out: {copy} is {first}", file=sys.stderr)
    if own is not None and len(frame):
        names = {path.name for path in own}  # those in a packed file lie elsewhere
        frame = frame[[Path(path).name in names for path in frame["path"]]]
    if frame.empty:
        console.print(
            f"no finished runs{f' in study {study!r}' if study else ''}: try iskit run params/quickstart.yaml"
        )
    return frame


def show_results(study: str | None, own: list[Path] | None = None) -> None:
    """Prints the tables of a study, or of all studies; own: of these folders only, and what the verdict finds there."""
    from iskit.views.tables import accuracies

    frame = read_results(study, own)
    if len(frame):
        show_tables(accuracies(frame))
    if len(frame) and own is not None:
        from iskit.judging.findings import findings  # imports torch, which tables do not need

        found = findings(frame)
        for sentence in (*found.sentences, *found.notes):
            console.print(sentence, highlight=False, soft_wrap=True)


def show_tables(tables: "Iterable[Fitted]") -> None:
    """Prints them, and below what those of their columns mean that are not plain."""
    from iskit.views.tables import explained

    columns: dict[str, None] = {}
    for table in tables:
        console.print(table)
        columns |= dict.fromkeys([*filter(table.said.get, table.said), *table.blocks(console.width)[0]])
    if told := explained(columns):
        console.print(told, style="dim")


def show_verdict(found: "Verdict") -> None:
    """Prints each contrast: its sentence, its table, and how to read it."""
    from iskit.views.tables import Fitted
    from iskit.views.verdict import cells, legend

    for one in found:
        console.print(one.sentence, style="bold", markup=False, highlight=False, soft_wrap=True)
        view = cells(one)
        console.print(Fitted(view.astype(str), view.columns[:1], whole="--markdown"))
        for text in (legend(one), *one.notes):
            console.print(f"- {text}", style="dim", markup=False, highlight=False, soft_wrap=True)
        console.print()


def on_signal(stop: Callable[[], None]) -> list[int]:
    """Calls `stop` on SIGTERM and Ctrl-C instead of dying amid a step; the list then holds the signal's number."""
    seen: list[int] = []

    def handle(number: int, frame: object) -> None:
        seen.append(number)
        stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handle)
    return seen
