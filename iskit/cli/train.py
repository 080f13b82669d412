"""What takes long: iskit run, sweep, tune, bench."""

from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from iskit.cli.app import Settings, command
from iskit.cli.console import console, on_signal, show_results
from iskit.cli.words import plan_of, read_plans, read_settings
from iskit.runs.experiment import Experiment


@command(
    "run params/mnist-mlp.yaml sampler=p seed=2",
    "run dataset=digits model=cnn sampler='p(smooth=False)' budget=0.3",
    "run sampler=./mine.py:Mine",
)
def run(settings: Settings) -> None:
    """Train one experiment into outputs/STUDY/; a killed run goes on, a finished one is shown."""
    experiment = Experiment.parse(read_settings(settings))  # first, for what follows imports torch
    from iskit.runs.run import Run

    one = Run(experiment, plan=plan_of(settings))
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


@command(
    "sweep params/quickstart.yaml --dry-run",
    "sweep params/samplers.yaml --workers 2",
    "sweep sampler='[unif, p, c]' budget='[0.1, 0.3]' seeds=3 study=mine",
)
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
    take_over: Annotated[
        bool, typer.Option("--take-over", help="go on with runs whose process holds them and has long been silent")
    ] = False,
    engine: Annotated[
        str, typer.Option(help="local: here; ray: on a cluster; slurm: as jobs; docs/engines.md")
    ] = "local",
    address: Annotated[str | None, typer.Option(help="ray: HOST:PORT of a running cluster; default: one here")] = None,
    cpus: Annotated[float | None, typer.Option(help="of each worker (ray), of each job (slurm)")] = None,
    gpus: Annotated[float | None, typer.Option(help="of each worker (ray; may be 0.5), of each job (slurm)")] = None,
    jobs: Annotated[int, typer.Option(help="slurm: how many, many runs each")] = 1,
    minutes: Annotated[int, typer.Option(help="slurm: of each job; what is left then goes on in its next life")] = 110,
    partition: Annotated[str | None, typer.Option(help="slurm: where")] = None,
    text_only: Annotated[bool, typer.Option("--print", help="slurm: print the job's text, submit nothing")] = False,
) -> None:
    """Train a study file, or every combination of settings that are lists, `seeds=3` among them; finished runs stay.

    A setting beside a study file stands in place of the file's in all of its blocks. With one that changes what is
    trained (any but data_dir, device, precision, compile, deterministic, keep_model) the runs are no longer the
    file's: they carry no hash of it, and the file is not kept for the study's verdict and status.
    Several study files are checked together and trained one after another.
    """
    plans = read_plans(settings, block or [])  # first, for what follows imports torch
    from iskit import engines
    from iskit.cli.console import add_notebooks, announce, to_do, train_all
    from iskit.pages.executed import check_notebook
    from iskit.study import plan
    from iskit.study.sweep import Sweep

    if notebook:
        check_notebook()
    options = engines.Options(address, cpus, gpus, jobs, minutes, partition, text_only)
    sweeps = [
        Sweep(one.experiments, workers, None, retries, one.digest or None, one.blocks, take_over=take_over)
        for one in plans
    ]
    plan.check(plans, sweeps[0].outputs)
    with engines.engine(engine, options) as train:
        for one, many in zip(plans, sweeps, strict=True):
            if text_only:
                to_do(many)  # checks it; what is printed is the text alone
            else:
                announce(one.study, many)
        if dry_run:
            return
        for one, many in zip(plans, sweeps, strict=True):
            plan.keep(one, many.outputs)
        codes = []
        for many in sweeps:
            own = [run.path for run in many.runs()]
            show = partial(show_results, many.experiments[0].study, own)
            codes.append(train(many, partial(train_all, many, show)))
            if codes[-1] > 1:
                break
    if notebook and max(codes) <= 1:
        add_notebooks([run for many in sweeps for run in many.runs() if run.finished])
    if max(codes):
        raise typer.Exit(max(codes))


@command("tune params/fair/digits.yaml --dry-run", "tune params/fair/digits.yaml --workers 2")
def tune(
    file: Annotated[Path, typer.Argument(help="a study's YAML file with a section tune")],
    workers: Annotated[int | None, typer.Option(help="processes at once; default: by cores, or GPUs")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="check all, say what is done and what is to do")] = False,
) -> None:
    """Choose each arm's learning rate by the same trials on held-out examples; write the study file of the tuned."""
    import pandas as pd

    from iskit.cli.console import to_do, train_all
    from iskit.judging.tuning import Tuning
    from iskit.study.plan import read_file
    from iskit.views.tables import Fitted

    tuning = Tuning(read_file(file), workers)
    if dry_run:
        console.print(f"{to_do(tuning)[0]}; at most {tuning.most} if the grid grows as often as it may")
        return
    code = train_all(tuning, lambda: None)
    if code:
        raise typer.Exit(code)
    rows = []
    for arm in tuning.found["arms"]:
        strength = (
            f"{arm['option']}={arm['value']}" if arm["value"] is not None else "as named" if arm["option"] else ""
        )
        passes = arm["passes"]
        rows.append(
            {
                **{"arm": arm["arm"], "lr": f"{arm['lr']:g}", "strength": strength},
                **{"accuracy %": f"{arm['accuracy']:.2f}", "trials": str(len(arm["trials"]))},
                **{"forward and backward": f"{passes['backward']:,}", "scored": f"{passes['forward_only']:,}"},
                **{"seconds": f"{arm['seconds']:.1f}", "on the edge": ", ".join(arm["edges"])},
            }
        )
    title = f"tuned alike on {tuning.task.validation} held-out examples"
    console.print(Fitted(pd.DataFrame(rows), ["arm"], title))
    console.print(f"all trials: {tuning.path}")
    console.print(f"to train what was chosen: iskit sweep {tuning.final}", soft_wrap=True)


@command("bench", "bench train --smoke", "bench sweep --data ../shared/data/cifar10-jpeg")
def bench(
    part: Annotated[str, typer.Argument(help="train, augment, select, sweep or all")] = "all",
    data: Annotated[str, typer.Option(help="folder of parquet files of colour images")] = "../shared/data/cifar10-jpeg",
    smoke: Annotated[bool, typer.Option(help="tiny sizes: whether it works, not how fast")] = False,
) -> None:
    """Measure the speed of this machine beside a plain PyTorch loop; kept in outputs/bench/."""
    from iskit.bench.report import bench as measure
    from iskit.bench.report import shown
    from iskit.views.tables import Fitted

    def show(name: str, table: Any) -> None:
        view = shown(name, table)
        console.print(Fitted(view, view.columns[:1], name))

    console.print("measuring, each table as it is done" + ("" if smoke else ": some minutes in all"))
    found = measure(part, data, smoke, show)
    about = found["about"]
    versions = ", ".join(f"{name} {number}" for name, number in about["versions"].items())
    console.print(f"{about['device']}, {about['threads']} threads; {versions}; {about['data']}")
    console.print(f"load {about['load_before']} before, {about['load_after']} after; kept: {found['path']}")
