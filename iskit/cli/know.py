"""What can be trained: iskit methods, models, data, settings, check-sampler."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from iskit.cli.app import command
from iskit.cli.console import console
from iskit.docstrings import CARD_FIELDS
from iskit.errors import InputError, suggest
from iskit.views import catalogue

Name = Annotated[str | None, typer.Argument(help="one of them; default: a list of all")]


@command("methods", "methods p", "methods p-SGD", "methods randaugment")
def methods(name: Name = None) -> None:
    """List every sampler and augmentation, or show one method's card and what each of its options does."""
    _show(["sampler", "augment"], "method", name)


@command("models", "models resnet18")
def models(name: Name = None) -> None:
    """List every network, or show what each option of one does."""
    _show(["model"], "model", name)


@command("data", "data digits", "data parquet")
def data(name: Name = None) -> None:
    """List every data set, or show what each option of one does."""
    _show(["dataset"], "dataset", name)


@command("settings", "settings lr", "settings schedule")
def settings(name: Name = None) -> None:
    """List every setting of a run with its default and meaning, or show one, and what it may be."""
    from iskit.runs.experiment import CHOICES, Experiment

    known, defaults = Experiment.help(), vars(Experiment())
    if name is not None and name not in known:
        raise InputError(f"setting {name!r} is unknown: {suggest(name, known)}")
    table = Table("setting", "default", "what it is", box=None, pad_edge=False)
    for one in [name] if name else known:
        table.add_row(Text(one, no_wrap=True), Text(_written(defaults[one])), Text(known[one]))
    console.print(table)
    if name in CHOICES:
        console.print(f"one of {', '.join(CHOICES[name])}")
    elif name is not None:
        _list(catalogue.catalogued(name), {})
    else:
        console.print("More: iskit methods, iskit models, iskit data; iskit settings schedule")


def _written(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)  # as YAML and the command line have it


def _show(kinds: list[str], word: str, name: str | None) -> None:
    from iskit.views.cards import sparks
    from iskit.views.tables import card

    entries = catalogue.catalogued(*kinds)
    if name is None:
        _list(entries, {"sampler": "Which examples", "augment": "How they look"})
        return
    chosen = [one for one in entries if name.lower() in (spelt.lower() for spelt in (one["name"], *one["aliases"]))]
    if not chosen:
        raise InputError(f"{word} {name!r} is unknown: {suggest(name, [one['name'] for one in entries])}")
    for one in chosen:
        told = one | sparks(one["name"])
        for part in card(told, [field for field in (*CARD_FIELDS, "when", "drawn", "counted") if told.get(field)]):
            console.print(part)


def _list(entries: list[dict[str, Any]], headings: Mapping[str, str]) -> None:
    """A table for each kind."""
    from iskit.views.cards import authors

    for kind in dict.fromkeys(one["kind"] for one in entries):
        title = f"{headings[kind]} ({kind}=)" if kind in headings else None
        table = Table(box=None, pad_edge=False, title=title, title_justify="left", show_header=False)
        table.add_column(no_wrap=True)
        for one in entries:
            if one["kind"] == kind:
                by = f" {authors(one)}" if authors(one) else ""
                table.add_row(one["name"], Text.assemble(one["summary"], (by, "dim")))
        console.print(table)


@command("check-sampler mine.py", "check-sampler './mine.py:Mine(strength=2)'", "check-sampler p")
def check_sampler(
    sampler: Annotated[str, typer.Argument(help="a file of yours, FILE:CLASS(option=value) in it, or any sampler")],
) -> None:
    """Judge a sampler of your own by what every sampler promises, in plain words. The file is run."""
    from iskit.training import contract

    broken = 0
    for spec in contract.own_specs(sampler):
        console.print(Text(spec, style="bold"))
        for promise, wrong in contract.judge(spec):
            broken += bool(wrong)
            said = f"BROKEN  {promise}: {wrong}" if wrong else f"kept    {promise}"
            console.print(Text(f"  {said}"), soft_wrap=True)
    if broken:
        raise typer.Exit(1)
    console.print(f"train it: iskit run 'sampler={spec}'", soft_wrap=True)
