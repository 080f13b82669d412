"""The notebook that a kernel serves: where it lies, whether it was saved, and the page that is made of it."""

import tempfile
import time
from pathlib import Path

import ipywidgets as ipw
from IPython import get_ipython

from iskit import files
from iskit.errors import InputError
from iskit.inputs import guard
from iskit.pages.saved import STATE


def notebook_path() -> Path | None:
    """The file of the notebook that this kernel serves, as Jupyter and VS Code name it; None if nobody does."""
    shell = get_ipython()
    names = shell.user_ns if shell else {}
    named = names.get("__session__") or names.get("__vsc_ipynb_file__")
    path = Path(named) if named else None
    return path if path and path.suffix == ".ipynb" and path.is_file() else None


def holds(path: Path, model: str) -> bool:
    """Whether the notebook was saved since it shows this widget; so its page has it after a reload."""
    try:
        return model in path.read_text(encoding="utf-8")
    except OSError:
        return False


def save(folder: Path, model: str) -> tuple[Path, str]:
    """Writes the notebook of this kernel as one HTML file into `folder`: its text as it was last saved, its figures as
    they are now. Gives the file, and of when the text is.

    model: a widget that the saved notebook must know. InputError if there is no such notebook.
    """
    import nbformat  # these take seconds, which a kernel that only shows a panel need not wait

    from iskit.pages.report import report

    path = notebook_path()
    if path is None:
        raise InputError("this page's notebook is not known here: save it, and give its file to iskit report")
    if not holds(path, model):
        raise InputError(f"{path.name} is not saved yet with what it shows: press Ctrl+S, then Save page")
    with guard(f"{path} is not a readable notebook", "save it anew"):
        nb = nbformat.read(path, 4)
    nb.metadata["widgets"] = {STATE: ipw.Widget.get_manager_state()}
    folder.mkdir(parents=True, exist_ok=True)
    page = folder / f"{path.stem}.html"
    with tempfile.TemporaryDirectory() as beside:
        live = Path(beside) / path.name
        files.write_text(live, nbformat.writes(nb))
        report(live, page)
    return page, time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(path.stat().st_mtime))
