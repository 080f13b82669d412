"""A sampler that the reader of a page writes: kept as a file beside the runs, and judged."""

import re
from html import escape
from pathlib import Path

from IPython.display import HTML

from iskit import files
from iskit.errors import InputError
from iskit.runs.experiment import Experiment
from iskit.samplers import samplers
from iskit.training import contract


def written(study: str, text: str, name: str = "mine.py") -> str:
    """Writes a sampler's text to outputs/<study>/<name>; gives what names the sampler in a run's settings.

    InputError, in one line, for a text that cannot be read or holds no sampler, or more than one.
    """
    if not re.fullmatch(r"\w+\.py", name):
        raise InputError(f"name={name!r} must be a file's, such as mine.py")
    folder = files.root() / "outputs" / Experiment(study=study).study
    folder.mkdir(parents=True, exist_ok=True)
    files.write_text(folder / name, text.lstrip("\n"))
    specs = contract.own_specs(f"./{Path('outputs', study, name).as_posix()}")
    if len(specs) > 1:
        raise InputError(f"{name} holds {len(specs)} samplers: write one of them")
    samplers.parse(specs[0])
    return specs[0]


def judged(spec: str) -> HTML:
    """What `iskit check-sampler` says of a sampler: each promise, kept or what is wrong."""
    rows = [
        f"<tr><td>{'broken' if wrong else 'kept'}</td><td style='text-align:left'>{escape(promise)}"
        + (f"<br><b>{escape(wrong)}</b>" if wrong else "")
        + "</td></tr>"
        for promise, wrong in contract.judge(spec)
    ]
    return HTML(f"<table><caption>{escape(spec)}</caption>{''.join(rows)}</table>")
