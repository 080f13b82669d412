"""What becomes of run folders: iskit clean, pack."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from iskit import files
from iskit.cli.app import command
from iskit.cli.console import console


@command("clean quickstart", "clean quickstart --failed --older-than 7 --yes")
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
    from iskit.study.folders import check_study
    from iskit.views.tables import size

    chosen = {"failed": failed, "stopped": stopped, "damaged": damaged}
    kinds = [kind for kind, wanted in chosen.items() if wanted] or list(cleaning.KINDS)
    found = cleaning.remains(check_study(study), kinds, older_than)
    for one in found:
        word = ("removed" if cleaning.remove(one) else "kept: in use by now") if yes else f"{one.days:.1f} days old"
        console.print(f"{one.state:8} {size(one.bytes):>10}  {word}  {one.path}", soft_wrap=True)
    told = f"{len(found)} runs, {size(sum(one.bytes for one in found))}"
    console.print(told if yes or not found else f"{told}; to delete them add --yes")


@command("pack quickstart quickstart.zip", "pack samplers outputs/reference/samplers.zip --block tight")
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
