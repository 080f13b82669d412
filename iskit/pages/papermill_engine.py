"""Our papermill engine: refuses bad settings before a kernel starts, and leaves small notebooks with a true status."""

# ruff: noqa: E402
import ast
import io
import signal
import threading
import tokenize
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


def __getattr__(name: str) -> Any:
    # Papermill loads all engines as it is imported: by this very module, if it comes first. Registered below, then.
    if name == "Engine":
        return None
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


import click
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NBClientEngine, NotebookExecutionManager, papermill_engines
from papermill.log import logger
from papermill.models import Parameter
from papermill.translators import PythonTranslator, papermill_translators

from iskit.errors import InputError, shown, suggest
from iskit.inputs import guard, typed
from iskit.pages.notebook import GRID, assignments, whole
from iskit.pages.report import add_images
from iskit.runs.experiment import Experiment, check_names
from iskit.runs.grid import grid, kinds
from iskit.runs.run import Run


class Refused(click.ClickException, InputError):
    """An InputError that papermill's command line shows as one line, with exit code 2."""

    exit_code = 2


class Ended(click.ClickException, RuntimeError):
    """The notebook did not come to its end, as one line. Trap: of a DeadKernelError papermill prints a traceback."""

    exit_code = 138  # papermill's own, of a dead kernel


class TimedOut(Ended, CellTimeoutError):
    """A cell took longer than `--execution-timeout`."""

    exit_code = 1  # papermill's own, of a cell that failed


class Engine(NBClientEngine):
    """`papermill NB OUT -f params.yaml --engine iskit`.

    A notebook's metadata say what its parameters are: `{"iskit": {"settings": "experiment"}}`, or `"grid"`; `"own"`:
    names and types are those of its parameters cell; `"lesson"`: a grid's, and others of its own.
    The executed notebook's `metadata.iskit.status` is running, ok, refused, error, timeout, dead kernel or interrupted
    (by SIGTERM or Ctrl-C): papermill's own says "completed" of cells that never ran.
    """

    @classmethod
    def execute_notebook(cls, nb: Any, kernel_name: str, output_path: Any = None, **kwargs: Any) -> Any:
        try:
            return super().execute_notebook(nb, kernel_name, output_path, **kwargs)
        except TimedOut:
            raise
        except OSError as error:  # papermill saves the notebook before, between and after the cells
            remedy = "mend that, and execute it anew"
            raise Ended(f"{output_path} cannot be written ({error.strerror or error}): {remedy}") from error

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
        refusal = None
        try:
            check(nb_man.nb)
        except InputError as error:
            refusal = Refused(str(error))
        about = nb_man.nb.metadata.setdefault("iskit", {})
        if not isinstance(about, dict):  # another's: nothing but a mapping can hold a status
            about = nb_man.nb.metadata["iskit"] = {}
        about["status"] = "running"  # until something else is known: whatever kills us, no other word is left behind
        if refusal:
            about["status"] = "refused"
            nb_man.save()
            raise refusal
        nb_man.save()
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
            extra_arguments=["--IPKernelApp.log_level=50"],  # an error it logs is that it was ended amid a cell
        )
        try:
            with terminable():
                client.execute()
            failed = any(out.output_type == "error" for cell in nb_man.nb.cells for out in cell.get("outputs", []))
            about["status"] = "error" if failed else "ok"
        except CellTimeoutError:
            about["status"] = "timeout"
            remedy = "raise --execution-timeout; the same command goes on from what was saved"
            raise TimedOut(f"a cell took longer than {execution_timeout} s: {remedy}") from None
        except DeadKernelError as error:
            about["status"] = "dead kernel"
            remedy = "the same command goes on from what was saved"
            raise Ended(f"the kernel is gone ({error}): {remedy}") from error
        except Exception:
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

    def start_new_kernel_client(self, **kwargs: Any) -> Any:
        try:
            return super().start_new_kernel_client(**kwargs)
        except RuntimeError as error:  # so jupyter_client tells that it died, or never answered
            raise DeadKernelError(str(error)) from error

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


class Python(PythonTranslator):
    """For `papermill --help-notebook`: papermill itself passes over a parameter whose value holds a "="."""

    @classmethod
    def inspect(cls, parameters_cell: Any) -> list[Parameter]:
        source = parameters_cell["source"]
        try:
            body = ast.parse(source).body
            words = tokenize.generate_tokens(io.StringIO(source).readline)
            comments = {word.start[0]: word.string.lstrip("# ") for word in words if word.type == tokenize.COMMENT}
        except (SyntaxError, ValueError, tokenize.TokenError):  # a magic, for one
            return super().inspect(parameters_cell)
        found = []
        target: ast.expr
        for node in body:
            if isinstance(node, ast.AnnAssign) and node.value is not None:
                target, kind = node.target, ast.unparse(node.annotation)
            elif isinstance(node, ast.Assign):
                target, kind = node.targets[0], "None"
            else:
                continue
            if isinstance(target, ast.Name):
                value = ast.get_source_segment(source, node.value) or ""
                found.append(Parameter(target.id, kind, value, comments.get(node.end_lineno or 0, "")))
        return found


papermill_engines.register("iskit", Engine)
papermill_translators.register("python", Python)


def check(notebook: Any) -> None:
    """InputError if the notebook's parameters, as injected, cannot work. Notebooks of others have none of ours."""
    about = notebook.metadata.get("iskit")
    kind = about.get("settings") if isinstance(about, dict) else None
    if kind is None:
        return
    whole(notebook)
    cell = next((cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])), None)
    if cell is None:
        return
    if not isinstance(kind, str) or kind not in KINDS:
        raise InputError(f"metadata.iskit.settings={shown(kind)} is unknown: {suggest(str(kind), KINDS)}")
    given = notebook.metadata.get("papermill", {})
    given = given.get("parameters", {}) if isinstance(given, dict) else {}
    if not isinstance(given, dict):
        raise InputError(f"parameters={shown(given)} must be names and values")
    with guard("the machine refuses", "mend that first", OSError):
        KINDS[kind](assignments(cell.source), given)


def _check_own(defaults: dict[str, Any], given: dict[str, Any]) -> None:
    for name, value in given.items():
        if name not in defaults:
            raise InputError(f"unknown setting {shown(name)}: {suggest(name, defaults)}")
        kind = type(defaults[name])
        if kind in (bool, int, float, str):
            typed(name, value, kind)
        elif not isinstance(value, kind):
            raise InputError(f"{name}={shown(value)} must be a {kind.__name__}")


def _check_experiment(defaults: dict[str, Any], given: dict[str, Any]) -> None:
    check_names(given)
    Run(Experiment.parse({**defaults, **given})).check()


def _check_grid(defaults: dict[str, Any], given: dict[str, Any]) -> None:
    check_names(given, also=GRID)
    for experiment in kinds(grid({**defaults, **given})):
        Run(experiment).check()


def _check_lesson(defaults: dict[str, Any], given: dict[str, Any]) -> None:
    own = {name: value for name, value in defaults.items() if name not in (*Experiment.help(), *GRID)}
    check_names(given, also=[*GRID, *own])
    _check_own(own, {name: value for name, value in given.items() if name in own})
    _check_grid(*({name: value for name, value in some.items() if name not in own} for some in (defaults, given)))


KINDS = {"own": _check_own, "experiment": _check_experiment, "grid": _check_grid, "lesson": _check_lesson}
