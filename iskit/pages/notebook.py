"""What notebooks need of the package besides results and plots: checked settings, and whether somebody is there."""

import ast
import os
import warnings
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
from IPython import get_ipython
from IPython.display import Markdown

from iskit.inputs import guard
from iskit.runs.experiment import Experiment, check_names
from iskit.runs.folder import told

GRID = ("seeds",)  # what a sweep's settings know beyond an experiment's
LESSON = (*GRID, "guess")  # and a page that asks a question


def assignments(source: str) -> dict[str, Any]:
    """Names and literal values assigned in a cell, as in those tagged `parameters`. InputError for other values, and
    for what is no Python, such as a magic."""
    found = {}
    with guard("the cell tagged parameters cannot be read", "write a name and a plain value a line, budget = 0.3"):
        for node in ast.parse(source).body:
            if isinstance(node, ast.Assign):
                target, value = node.targets[0], node.value
            elif isinstance(node, ast.AnnAssign) and node.value is not None:
                target, value = node.target, node.value
            else:
                continue
            if isinstance(target, ast.Name):
                found[target.id] = ast.literal_eval(value)
    return found


def whole(notebook: Any) -> None:
    """InputError unless a notebook, as nbformat read it, is of the form that nbformat prescribes."""
    import nbformat  # takes over a second, for which a kernel that shows a panel has no use

    with guard("the notebook is not whole", "save it anew in Jupyter"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of cells without an id, as older notebooks have them
        nbformat.validate(notebook)


def settings(also: Sequence[str] = ()) -> dict[str, Any]:
    """The settings of the notebook that calls: the variables of its parameters cell, checked for unknown names.

    also: parameters of the notebook's own, which are no settings. Papermill sets an unknown name without a word; such
    a name in its injected cell raises InputError here.
    """
    shell = get_ipython()
    for source in shell.user_ns.get("In", []):
        if source.startswith("# Parameters"):  # papermill's own heading
            check_names(assignments(source), also=[*LESSON, *also])
    known = {*Experiment.help(), *GRID}
    return {name: value for name, value in shell.user_ns.items() if name in known}


def hands() -> bool:
    """Whether a person may press buttons: JupyterLab offers input to the kernel, batch executors do not."""
    shell = get_ipython()
    return served() or bool(getattr(getattr(shell, "kernel", None), "_allow_stdin", False))


def served() -> bool:
    """Whether Voila shows the notebook as an app: there are hands, but no cells to run and no file to save."""
    return os.environ.get("SERVER_SOFTWARE", "").startswith("voila")


def about(experiment: Experiment | None = None) -> str:
    """Versions, device and seed in one line, to print at a notebook's head."""
    import torch

    threads = torch.get_num_threads()
    cpu = f"CPU, {threads} thread{'s' * (threads > 1)}"
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else cpu
    words = [f"iskit {version('iskit')}", f"torch {version('torch')}", device]
    return " · ".join(words + ([f"seed {experiment.seed}"] if experiment else []))


def origin(frame: pd.DataFrame) -> Markdown:
    """What made these runs (of `iskit.results`): where, with what, when, to end a notebook with."""

    def each(name: str) -> str:
        return ", ".join(str(value) for value in frame.get(name, pd.Series(dtype=object)).dropna().unique())

    changed = ", with changes" if (frame.get("dirty") == True).any() else ""  # noqa: E712 - there may be none
    ended = sorted(at for path in frame["path"] if (at := told(Path(path)).get("at")))
    about = {
        "runs": f"{len(frame)} in {each('study')}",
        "machine": f"{each('device_name')}, threads a run: {each('threads')}, {each('precision_used')}",
        "versions": ", ".join(f"{name} {each(f'versions_{name}')}" for name in ("iskit", "torch", "numpy")),
        "commit": each("commit") + changed if each("commit") else "none",
        "trained": " to ".join(at[:16].replace("T", " ") for at in ended[:: max(1, len(ended) - 1)]) or "not known",
    }
    return Markdown("\n".join(f"- {name}: {value}" for name, value in about.items()))
