"""What all commands share: the app that they belong to, and how their help looks."""

from collections.abc import Callable
from importlib.metadata import version
from typing import Annotated

import typer

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # it would read [unif, p] as markup, and break examples amid a line
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
Settings = Annotated[list[str], typer.Argument(help="params/*.yaml files and key=value settings; the later wins")]


def command(*examples: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Decorator: a command of iskit, with examples below its help."""
    lines = "\n".join(f"  iskit {example}" for example in examples)
    return app.command(epilog=f"\b\nExamples:\n{lines}")  # \b: as they stand


def _version(wanted: bool) -> None:
    if wanted:
        print(f"iskit {version('iskit')}")
        raise typer.Exit


@app.callback(epilog="\b\nExamples:\n  iskit run params/quickstart.yaml\n  iskit methods p\n  iskit sweep --help")
def iskit(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Budgeted training: choose which images to train on, or vary how they look?"""
