"""The notebook of one run, executed into its folder: notebooks/run.ipynb with the run's settings."""

from pathlib import Path

from iskit import files
from iskit.errors import InputError
from iskit.inputs import reason
from iskit.runs.run import Run

NAME = "run.ipynb"


def check_notebook() -> Path:
    """The notebook that is to be executed. InputError if the project has none."""
    path = files.root() / "notebooks" / NAME
    if not path.is_file():
        raise InputError(f"{path} is not there: --notebook executes it, so copy it from iskit's repository")
    return path


def execute(run: Run) -> str | None:
    """Leaves run.ipynb in the folder of a finished run, which it finds and shows; nothing if it lies there, executed.

    Returns why it could not, in one line; then the folder holds what was executed.
    """
    import nbformat
    import papermill

    path = run.path / NAME
    try:
        if path.exists() and nbformat.read(path, 4).metadata.get("iskit", {}).get("status") == "ok":
            return None
        papermill.execute_notebook(
            check_notebook(), path, run.experiment.to_dict(), engine_name="iskit", progress_bar=False, cwd=files.root()
        )
    except Exception as error:  # whatever a notebook raises: the run itself is done
        return reason(error)
    return None
