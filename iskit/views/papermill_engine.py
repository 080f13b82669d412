"""Our papermill engine: refuses bad settings before a kernel starts, and leaves small notebooks with a true status."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NBClientEngine, NotebookExecutionManager
from papermill.exceptions import PapermillExecutionError
from papermill.log import logger
from papermill.utils import find_first_tagged_cell_index

from iskit.errors import InputError, suggest
from iskit.inputs import typed
from iskit.study.experiment import Experiment, check_names
from iskit.study.run import Run
from iskit.study.sweep import grid
from iskit.views.notebook import GRID, assignments
from iskit.views.report import add_images


class Refused(click.ClickException, InputError):
    """An InputError that papermill's command line shows as one line, with exit code 2."""

    exit_code = 2


class Engine(NBClientEngine):
    """`papermill NB OUT -f params.yaml --engine iskit`.

    A notebook's metadata say what its parameters are: `{"iskit": {"settings": "experiment"}}`, or `"grid"`, or `"own"`:
    names and types are those of its parameters cell.
    The executed notebook's `metadata.iskit.status` is running, ok, refused, error, timeout, dead kernel or interrupted
    (by SIGTERM or Ctrl-C): papermill's own says "completed" of cells that never ran.
    """

    @classmethod
    def execute_managed_notebook(
        cls,
        nb_man: NotebookExecutionManager,
        kernel_name: str,
        log_output: bool = False,
        stdout_file: Any = None,
        stderr_file: Any = None,
        start_timeout: int = 60,
        execution_timeout: int | None = None,
        **kwargs: Any,
    ) -> None:
        about = nb_man.nb.metadata.setdefault("iskit", {})
        about["status"] = "running"  # until something else is known: whatever kills us, no other word is left behind
        try:
            check(nb_man.nb)
        except InputError as error:
            about["status"] = "refused"
            nb_man.save()
            raise Refused(str(error)) from None
        client = Client(
            nb_man,
            kernel_name=kernel_name,
            log=logger,
            log_output=log_output,
            stdout_file=stdout_file,
            stderr_file=stderr_file,
            startup_timeout=start_timeout,
            timeout=execution_timeout,
            store_widget_state=False,  # megabytes of plotly.js otherwise
            coalesce_streams=True,  # one progress line, not a thousand
            extra_arguments=["--IPKernelApp.log_level=40"],
        )
        try:
            with terminable():
                client.execute()
            failed = any(out.output_type == "error" for cell in nb_man.nb.cells for out in cell.get("outputs", []))
            about["status"] = "error" if failed else "ok"
        except CellTimeoutError:
            about["status"] = "timeout"
            raise
        except DeadKernelError:
            about["status"] = "dead kernel"
            raise
        except (CellExecutionError, PapermillExecutionError):
            about["status"] = "error"
            raise
        except BaseException:
            about["status"] = "interrupted"
            raise
        finally:
            nb_man.save()  # what is true first: images take their time
            if about["status"] != "interrupted":
                add_images(nb_man.nb)
                nb_man.save()


class Client(PapermillNotebookClient):
    """Executes the cells; while it does, SIGTERM and Ctrl-C end it and its kernel."""

    def papermill_execute_cells(self) -> None:
        with terminable():
            super().papermill_execute_cells()


@contextmanager
def terminable() -> Iterator[None]:
    """SIGTERM becomes SystemExit here, and SIGINT KeyboardInterrupt, so that what is left can be saved."""

    def end(number: int, frame: object) -> None:
        raise SystemExit(128 + number) if number == signal.SIGTERM else KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():  # signals are not for others
        yield
        return
    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
    wakeup = signal.set_wakeup_fd(-1)  # else nbclient hears of it too, and ends the kernel under our hands
    try:
        yield
    finally:
        signal.set_wakeup_fd(wakeup)
        for number, handler in before.items():
            signal.signal(number, handler)


def check(notebook: Any) -> None:
    """InputError if the notebook's parameters, as injected, cannot work."""
    place = find_first_tagged_cell_index(notebook, "parameters")
    if place < 0:
        return
    defaults = assignments(notebook.cells[place].source)
    given = notebook.metadata.get("papermill", {}).get("parameters", {})
    kind = notebook.metadata.get("iskit", {}).get("settings")
    if kind is None:
        return
    if kind == "own":
        for name, value in given.items():
            if name not in defaults:
                raise InputError(f"unknown setting {name!r}: {suggest(name, defaults)}")
            typed(name, value, type(defaults[name]))
        return
    check_names(given, also=GRID if kind == "grid" else ())
    settings = {**defaults, **given}
    if kind == "grid":
        for experiment in grid(settings):
            Run(experiment).check()
    else:
        Run(Experiment.parse(settings)).check()
