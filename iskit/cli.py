"""The command line: iskit run, sweep, tune, bench, methods, results, verdict, report."""

import io
import os
import signal
import sys
import warnings
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from iskit import files
from iskit.errors import Diverged, InputError, Unsaved, one_line, suggest
from iskit.inputs import parse_yaml, read_yaml, reason
from iskit.study.experiment import Experiment, check_names

if TYPE_CHECKING:
    from iskit.study.sweep import Sweep
    from iskit.study.tuning import Tuning

app = typer.Typer(
    help="Budgeted training: choose which images to train on, or vary how they look?",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
# As wide as the terminal; a pipe or a log gets room for whole rows.
# No markup: names and paths may hold brackets.
console = Console(width=None if sys.stdout.isatty() else 160, markup=False, emoji=False)

Settings = Annotated[list[str], typer.Argument(help="params/*.yaml files and key=value settings; the later wins")]


def read_settings(words: list[str]) -> dict[str, Any]:
    """`["params/x.yaml", "budget=0.3"]` -> settings; InputError for what is neither a file nor a setting."""
    settings: dict[str, Any] = {}
    for word in words:
        key, _, value = word.partition("=")
        if _is_setting(word):
            try:
                settings[key] = parse_yaml(key, value)
            except InputError:  # then it is meant as it stands
                settings[key] = value
        else:
            found = read_yaml(word)
            try:
                check_names(found, also=["seeds"])
            except InputError as error:
                raise InputError(f"{word}: {error}") from None
            settings.update(found)
    return settings


def plan_of(words: list[str]) -> str | None:
    """A hash of what stands in the params files among the words; None if there is none."""
    texts = [Path(word).read_text(encoding="utf-8") for word in words if not _is_setting(word)]
    return files.digest(texts) if texts else None


def _is_setting(word: str) -> bool:
    key, equals, _ = word.partition("=")
    return equals != "" and key.isidentifier()


@app.command()
def run(settings: Settings) -> None:
    """Train one experiment into outputs/STUDY/; a killed run goes on, a finished one is shown."""
    from iskit.study.run import Run

    one = Run(Experiment.parse(read_settings(settings)), plan=plan_of(settings))
    stop = _on_signal(lambda: None)
    with Progress(
        TextColumn("{task.description}", markup=False), BarColumn(), TextColumn("{task.percentage:.0f}% of the budget"),
        TimeRemainingColumn(), console=console, transient=True, disable=not console.is_terminal,
    ) as bar, closing(iter(one)) as steps:  # fmt: skip
        task = bar.add_task(one.experiment.sampler, total=1.0)
        for t in steps:
            bar.update(task, completed=t)
            if stop and t < 1:
                break
    if not one.finished:  # only the signal ends the loop before
        console.print(f"stopped at t={t:.3f} and saved; the same command goes on from here: {one.path}")
        raise typer.Exit(128 + stop[0])
    found = one.result
    table = Table(show_header=False, box=None)
    for name, value in {
        "accuracy": f"{found['accuracy']:.2f} %",
        "training": f"{found['training_seconds']:.2f} s on {found['device']}, {found['steps']:,} steps",
        "passes": ", ".join(f"{count:,} {kind.replace('_', ' ')}" for kind, count in found["passes"].items()),
        "budget spent": f"{found['equivalent_budget']:.4f} of the full run's cost",
        "entropy": f"{found['entropy']:.3f} nats, {100 * found['entropy_share']:.1f} % of log N",
        "folder": str(one.path),
    }.items():
        table.add_row(name, value)
    console.print(table, soft_wrap=True)


@app.command()
def sweep(
    settings: Settings,
    workers: Annotated[int | None, typer.Option(help="processes at once; default: by cores, or GPUs")] = None,
    retries: Annotated[int, typer.Option(help="how often a run that fails is tried again")] = 1,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="check all, say what is done and what is to do")] = False,
) -> None:
    """Train every combination of settings that are lists, `seeds=3` among them; finished runs are kept."""
    from iskit.study.grid import grid
    from iskit.study.sweep import Sweep

    experiments = grid(read_settings(settings))
    many = Sweep(experiments, workers, retries=retries, plan=plan_of(settings))
    if dry_run:
        console.print(_to_do(many))
        return
    _train(many, lambda: _table(experiments[0].study))


@app.command()
def tune(
    file: Annotated[Path, typer.Argument(help="a study's YAML file with a section tune")],
    workers: Annotated[int | None, typer.Option(help="processes at once; default: by cores, or GPUs")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="check all, say what is done and what is to do")] = False,
) -> None:
    """Choose each arm's learning rate by the same trials on held-out examples; write the study file of the tuned."""
    from iskit.study.plan import read_file
    from iskit.study.tuning import Tuning

    tuning = Tuning(read_file(file), workers)
    if dry_run:
        console.print(f"{_to_do(tuning)}; at most {tuning.most} if the grid grows as often as it may")
        return
    _train(tuning, lambda: None)
    table = Table("arm", title=f"tuned alike on {tuning.task.validation} held-out examples", title_justify="left")
    for name in ("lr", "strength", "accuracy %", "trials", "forward and backward", "scored", "seconds", "on the edge"):
        table.add_column(name, justify="right")
    for arm in tuning.found["arms"]:
        strength = (
            f"{arm['option']}={arm['value']}" if arm["value"] is not None else "as named" if arm["option"] else ""
        )
        table.add_row(
            *(arm["arm"], f"{arm['lr']:g}", strength, f"{arm['accuracy']:.2f}", str(len(arm["trials"]))),
            *(f"{arm['passes']['backward']:,}", f"{arm['passes']['forward_only']:,}", f"{arm['seconds']:.1f}"),
            ", ".join(arm["edges"]),
        )
    console.print(table)
    console.print(f"all trials: {tuning.path}")
    console.print(f"to train what was chosen: iskit sweep {tuning.final}", soft_wrap=True)


@app.command()
def bench(
    part: Annotated[str, typer.Argument(help="train, augment, select or all")] = "all",
    data: Annotated[str, typer.Option(help="folder of parquet files of colour images")] = "../shared/data/cifar10-jpeg",
    smoke: Annotated[bool, typer.Option(help="tiny sizes: whether it works, not how fast")] = False,
) -> None:
    """Measure the speed of this machine beside a plain PyTorch loop; kept in outputs/bench/."""
    from iskit.bench.report import bench as measure
    from iskit.bench.report import shown

    def show(name: str, table: Any) -> None:
        view = shown(name, table)
        printed = Table(title=name, title_justify="left", box=None)
        for place, column in enumerate(view.columns):
            printed.add_column(column, justify="right" if place else "left", no_wrap=place == 0)
        for row in view.itertuples(index=False):
            printed.add_row(*row)
        console.print(printed)

    console.print("measuring, each table as it is done" + ("" if smoke else ": some minutes in all"))
    found = measure(part, data, smoke, show)
    about = found["about"]
    versions = ", ".join(f"{name} {number}" for name, number in about["versions"].items())
    console.print(f"{about['device']}, {about['threads']} threads; {versions}; {about['data']}")
    console.print(f"load {about['load_before']} before, {about['load_after']} after; kept: {found['path']}")


@app.command()
def methods(name: Annotated[str | None, typer.Argument(help="a sampler or augmentation")] = None) -> None:
    """List every sampler and augmentation, or show one method's card."""
    from iskit.registry import CARD_FIELDS
    from iskit.views.cards import REGISTRIES
    from iskit.views.cards import methods as known

    frame = known()
    if name is None:
        table = Table("kind", "name", "what it does", "source")
        for row in frame.to_dict("records"):
            table.add_row(row["kind"], row["name"], row["summary"], row["cite"])
        console.print(table)
        return
    chosen = frame[frame["name"].isin([registry.card(name).name for registry in REGISTRIES if name in registry])]
    if chosen.empty:
        raise InputError(f"method {name!r} is unknown: {suggest(name, frame['name'])}")
    for row in chosen.to_dict("records"):
        console.print(Text.assemble((row["name"], "bold"), f" ({row['kind']}): {row['summary']}"))
        table = Table(show_header=False, box=None)
        for field in (*CARD_FIELDS, "options"):
            table.add_row(field, row[field] or "none")
        console.print(table)


@app.command()
def results(study: Annotated[str | None, typer.Argument(help="a folder under outputs/")] = None) -> None:
    """Print a table of finished runs, mean and deviation over seeds."""
    studies = [folder.name for folder in files.root().glob("outputs/*/") if folder.name != "bench"]
    if study is not None and study not in studies and not study.endswith(".zip"):
        raise InputError(f"study={study!r} is no folder under outputs/: {suggest(study, studies)}")
    _table(study)


@app.command()
def pack(
    study: Annotated[str, typer.Argument(help="a folder under outputs/")],
    path: Annotated[Path, typer.Argument(help="the file to write, ending in .zip")],
    block: Annotated[str | None, typer.Option(help="only this block of its study files")] = None,
) -> None:
    """Put a study's finished runs into one small file that everything reads in place of their folders."""
    from iskit.study.pack import pack as write

    count, damaged = write(study, path, files.root() / "outputs", block)
    for folder, wrong in damaged.items():
        print(f"iskit: {folder} is left out: {wrong}", file=sys.stderr)
    console.print(f"{path}: {count} runs, {path.stat().st_size / 1e6:.2f} MB", markup=False)


@app.command()
def verdict(
    study: Annotated[str, typer.Argument(help="a study's YAML file with contrasts, or a folder under outputs/")],
    contrast: Annotated[str | None, typer.Option(help="one of its contrasts; default: all")] = None,
    markdown: Annotated[bool, typer.Option(help="print Markdown")] = False,
) -> None:
    """Judge what a study found, by the comparisons that its file names beforehand; else every sampler against unif."""
    from iskit.views.verdict import cells, legend
    from iskit.views.verdict import verdict as judge

    found = judge(study, contrast)
    if markdown:
        print(found.markdown(), end="")
        return
    for one in found:
        console.print(one.sentence, style="bold", markup=False, highlight=False, soft_wrap=True)
        view = cells(one)
        table = Table(box=None)
        for place, column in enumerate(view.columns):
            table.add_column(column, justify="right" if place > 1 else "left", overflow="fold")
        for row in view.itertuples(index=False):
            table.add_row(*map(escape, row))
        console.print(table)
        for text in (legend(one), *one.notes):
            console.print(f"- {text}", style="dim", markup=False, highlight=False, soft_wrap=True)
        console.print()


@app.command()
def report(notebook: Path, path: Path) -> None:
    """Turn an executed notebook into one self-contained HTML file."""
    from iskit.views.report import report as write

    write(notebook, path)
    console.print(f"report: {path}")


def _to_do(many: "Sweep | Tuning") -> str:
    from iskit.study.sweep import given_up

    states = Counter("diverged" if given_up(status) else status["state"] for _, status in many.check())
    to_do = states.total() - states["finished"] - states["diverged"]
    kinds = ", ".join(f"{count} {state}" for state, count in states.items() if count)
    return f"{states.total()} runs: {kinds}; {to_do} to do"


def _train(many: "Sweep | Tuning", show: Callable[[], None]) -> None:
    """Trains them all behind a bar, shows what came out and what failed. Exit if something is left to do."""
    stopped = _on_signal(many.stop)
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
        console.print(
            f"stopped with {finished} of {len(many.experiments)} runs done; the same command goes on from here"
        )
        raise typer.Exit(128 + stopped[0])
    if many.failed:
        raise typer.Exit(1)


def _on_signal(stop: Callable[[], None]) -> list[int]:
    """Calls `stop` on SIGTERM and Ctrl-C instead of dying amid a step; the list then holds the signal's number."""
    seen: list[int] = []

    def handle(number: int, frame: object) -> None:
        seen.append(number)
        stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handle)
    return seen


def _table(study: str | None) -> None:
    from iskit.study.archive import over_seeds, told_apart_by
    from iskit.study.archive import results as read

    frame = read(study)
    for path, wrong in frame.attrs["damaged"].items():
        print(f"iskit: {path} is left out: {wrong}", file=sys.stderr)
    if copies := frame.attrs["copies"]:
        copy, own = next(iter(copies.items()))
        print(f"iskit: copied run folders count once, {len(copies)} left out: {copy} is {own}", file=sys.stderr)
    if frame.empty:
        console.print(
            f"no finished runs{f' in study {study!r}' if study else ''}: try iskit run params/quickstart.yaml"
        )
        return
    for (name, dataset, model), part in frame.groupby(["study", "dataset", "model"], sort=False):
        further = told_apart_by(part)
        table = Table(title=f"{name}: {model} on {dataset}", title_justify="left")
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
        console.print(table)
    console.print(
        "trained: examples; cost: forward and backward passes as a share of the full run's; "
        "seconds: training and scoring; saved: of these, against full sgd; preparation (proxy runs) is in neither; "
        "entropy in nats"
    )


def main() -> None:
    """The console script. What cannot work is one line and exit code 2; a run that diverged, and a machine that
    cannot (a full disk, a folder that must not be written, no memory), one line and exit code 1. What shows its
    traceback is a bug."""
    warnings.formatwarning = lambda text, *_, **__: f"iskit: {text}\n"
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal without UTF-8 must not end a sweep
    try:
        try:
            app()
        finally:
            sys.stdout.flush()  # here, where a full disk can be told
    except (InputError, Diverged, Unsaved) as error:
        _end(str(error), 2 if isinstance(error, InputError) else 1)
    except (OSError, MemoryError) as error:
        where = f"{error.filename}: " if isinstance(error, OSError) and error.filename else ""
        _end(one_line(f"{where}{reason(error)}", InputError.longest), 1)


def _end(message: str, code: int) -> None:
    print(f"iskit: {message}", file=sys.stderr)
    try:
        sys.stdout.flush()
    except OSError:  # what it still holds would be tried once more, and told in many lines, at the very end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)
