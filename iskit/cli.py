"""The command line: iskit run, sweep, tune, status, clean, bench, methods, results, pack, verdict, compare, report."""

import io
import os
import signal
import sys
import warnings
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from iskit import files
from iskit.errors import Diverged, InputError, Unsaved, one_line, suggest
from iskit.inputs import reason
from iskit.study.experiment import Experiment
from iskit.views.console import console, on_signal, show_results
from iskit.views.words import plan_of, read_plans, read_settings

app = typer.Typer(
    help="Budgeted training: choose which images to train on, or vary how they look?",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
Settings = Annotated[list[str], typer.Argument(help="params/*.yaml files and key=value settings; the later wins")]


@app.command()
def run(settings: Settings) -> None:
    """Train one experiment into outputs/STUDY/; a killed run goes on, a finished one is shown."""
    from iskit.study.run import Run

    one = Run(Experiment.parse(read_settings(settings)), plan=plan_of(settings))
    stop = on_signal(lambda: None)
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
    block: Annotated[list[str] | None, typer.Option(help="only this block of a study file; may be repeated")] = None,
    workers: Annotated[int | None, typer.Option(help="processes at once; default: by cores, or GPUs")] = None,
    retries: Annotated[int, typer.Option(help="how often a run that fails is tried again")] = 1,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="check all, say what is to do and how long it takes")
    ] = False,
    notebook: Annotated[
        bool, typer.Option("--notebook", help="leave an executed run.ipynb in each run's folder")
    ] = False,
) -> None:
    """Train a study file, or every combination of settings that are lists, `seeds=3` among them; finished runs stay.

    A setting beside a study file stands in place of the file's in all of its blocks. With one that changes what is
    trained (any but data_dir, device, precision, compile, deterministic, keep_model) the runs are no longer the
    file's: they carry no hash of it, and the file is not kept for the study's verdict and status.
    Several study files are checked together and trained one after another.
    """
    from iskit.study import plan
    from iskit.study.sweep import Sweep
    from iskit.views.console import add_notebooks, announce, train_all
    from iskit.views.executed import check_notebook

    if notebook:
        check_notebook()
    plans = read_plans(settings, block or [])
    sweeps = [
        Sweep(one.experiments, workers, retries=retries, plan=one.digest or None, blocks=one.blocks) for one in plans
    ]
    plan.check(plans, sweeps[0].outputs)
    for one, many in zip(plans, sweeps, strict=True):
        announce(one.study, many)
    if dry_run:
        return
    for one, many in zip(plans, sweeps, strict=True):
        plan.keep(one, many.outputs)
    codes = []
    for many in sweeps:
        own = [run.path for run in many.runs()]
        codes.append(train_all(many, partial(show_results, many.experiments[0].study, own)))
        if codes[-1] > 1:
            break
    if notebook and max(codes) <= 1:
        add_notebooks([run for many in sweeps for run in many.runs() if run.finished])
    if max(codes):
        raise typer.Exit(max(codes))


@app.command()
def tune(
    file: Annotated[Path, typer.Argument(help="a study's YAML file with a section tune")],
    workers: Annotated[int | None, typer.Option(help="processes at once; default: by cores, or GPUs")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="check all, say what is done and what is to do")] = False,
) -> None:
    """Choose each arm's learning rate by the same trials on held-out examples; write the study file of the tuned."""
    from iskit.judging.tuning import Tuning
    from iskit.study.plan import read_file
    from iskit.views.console import to_do, train_all

    tuning = Tuning(read_file(file), workers)
    if dry_run:
        console.print(f"{to_do(tuning)[0]}; at most {tuning.most} if the grid grows as often as it may")
        return
    code = train_all(tuning, lambda: None)
    if code:
        raise typer.Exit(code)
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
def status(study: Annotated[str, typer.Argument(help="a folder under outputs/")]) -> None:
    """Show how a study stands, from any machine: what is done, running, failed, missing; time left; accuracy so far."""
    from iskit.study.status import standing
    from iskit.views.tables import accuracies, headline, of_frame, open_runs

    now = standing(study)
    console.print(headline(now), soft_wrap=True)
    if len(begun := open_runs(now)):
        console.print(of_frame(begun))
    if len(now.finished):
        for table in accuracies(now.finished):
            console.print(table)


@app.command()
def clean(
    study: Annotated[str, typer.Argument(help="a folder under outputs/")],
    failed: Annotated[
        bool, typer.Option("--failed", help="runs that failed: diverged ones are not tried again else")
    ] = False,
    stopped: Annotated[
        bool, typer.Option("--stopped", help="runs that stopped or were killed, with checkpoints")
    ] = False,
    damaged: Annotated[bool, typer.Option("--damaged", help="finished runs of which a file is not whole")] = False,
    older_than: Annotated[float, typer.Option(help="days since the last file of a run was written")] = 0.0,
    yes: Annotated[bool, typer.Option("--yes", help="delete; else they are only shown")] = False,
) -> None:
    """Show what of a study may go, with sizes; delete it with --yes. Never a finished run, or one that trains.

    Failed runs go so that they are tried anew; stopped ones when nobody will go on with them, for each holds a
    checkpoint; damaged ones so that they no longer stand in the list. Without a choice all three are meant.
    """
    from iskit.study import clean as cleaning
    from iskit.study.status import check_study
    from iskit.views.tables import size

    chosen = {"failed": failed, "stopped": stopped, "damaged": damaged}
    kinds = [kind for kind, wanted in chosen.items() if wanted] or list(cleaning.KINDS)
    found = cleaning.remains(check_study(study), kinds, older_than)
    for one in found:
        word = ("removed" if cleaning.remove(one) else "kept: in use by now") if yes else f"{one.days:.1f} days old"
        console.print(f"{one.state:8} {size(one.bytes):>10}  {word}  {one.path}", soft_wrap=True)
    told = f"{len(found)} runs, {size(sum(one.bytes for one in found))}"
    console.print(told if yes or not found else f"{told}; to delete them add --yes")


@app.command()
def bench(
    part: Annotated[str, typer.Argument(help="train, augment, select, sweep or all")] = "all",
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
    from iskit.study.status import check_study

    if study is not None and not study.endswith(".zip"):
        check_study(study)
    show_results(study)


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
    from iskit.views.console import show_verdict
    from iskit.views.verdict import verdict as judge

    found = judge(study, contrast)
    if markdown:
        print(found.markdown(), end="")
        return
    show_verdict(found)


@app.command()
def compare(
    table: Annotated[str, typer.Argument(help="a table of the paper: table1 to table6")],
    study: Annotated[str | None, typer.Option(help="a folder under outputs/, or a packed file; default: all")] = None,
    markdown: Annotated[bool, typer.Option(help="print Markdown")] = False,
    latex: Annotated[bool, typer.Option(help="print LaTeX, the best of a budget in bold")] = False,
) -> None:
    """Set results beside a table of the paper: in points where the protocol is the same, else by gaps to unif."""
    from iskit.views import compare as views
    from iskit.views.tables import of_frame

    found = views.compare(table, study)
    if markdown or latex:
        print(views.latex(found) if latex else views.markdown(found), end="")
        return
    console.print(views.said(found), style="bold", markup=False, highlight=False, soft_wrap=True)
    for view in (views.exact(found), views.gaps(found)):
        if len(view):
            console.print(of_frame(view))


@app.command()
def report(notebook: Path, path: Path) -> None:
    """Turn an executed notebook into one self-contained HTML file."""
    from iskit.views.report import report as write

    write(notebook, path)
    console.print(f"report: {path}")


class Interrupted(BaseException):
    """Ctrl-C where nothing has begun that could be saved. Not KeyboardInterrupt, which typer ends without a word."""


def main() -> None:
    """The console script. What cannot work is one line and exit code 2; a run that diverged, and a machine that
    cannot (a full disk, a folder that must not be written, no memory), one line and exit code 1; Ctrl-C, one line and
    exit code 130. What shows its traceback is a bug."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else it is ignored, as behind nohup
        signal.signal(signal.SIGINT, _interrupt)
    warnings.formatwarning = lambda text, *_, **__: f"iskit: {text}\n"
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal without UTF-8 must not end a sweep
    try:
        try:
            app()
        finally:
            sys.stdout.flush()  # here, where a full disk can be told
    except Interrupted:
        _end("interrupted", 128 + signal.SIGINT)
    except (InputError, Diverged, Unsaved) as error:
        _end(str(error), 2 if isinstance(error, InputError) else 1)
    except ImportError as error:
        if not str(error.path).endswith(".so"):
            raise
        _end(one_line(reason(error), InputError.longest), 1)  # no memory to load a library
    except (OSError, MemoryError) as error:
        where = f"{error.filename}: " if isinstance(error, OSError) and error.filename else ""
        _end(one_line(f"{where}{reason(error)}", InputError.longest), 1)


def _interrupt(number: int, frame: object) -> None:
    raise Interrupted


def _end(message: str, code: int) -> None:
    print(f"iskit: {message}", file=sys.stderr)
    try:
        sys.stdout.flush()
    except OSError:  # what it still holds would be tried once more, and told in many lines, at the very end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)
