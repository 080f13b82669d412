"""The command line. iskit --help lists its commands, iskit COMMAND --help shows how each is used."""

import io
import os
import signal
import sys
import warnings

from iskit.cli import train, look, keep, know  # noqa: F401  # isort: skip - each adds its commands, in this order
from iskit.cli.app import app
from iskit.errors import Diverged, InputError, Unsaved, one_line
from iskit.inputs import own_line, reason


class Interrupted(BaseException):
    """Ctrl-C where nothing has begun that could be saved. Not KeyboardInterrupt, which typer ends without a word."""


def main() -> None:
    """The console script. What cannot work is one line and exit code 2; a run that diverged, and a machine that
    cannot (a full disk, a folder that must not be written, no memory), one line and exit code 1; Ctrl-C, one line and
    exit code 130. What shows its traceback is a bug."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else it is ignored, as behind nohup
        signal.signal(signal.SIGINT, _interrupt)
    warnings.formatwarning = lambda text, *_, **__: f"iskit: {text}\n"
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal without UTF-8 must not end a sweep
    try:
        try:
            app()
        finally:
            sys.stdout.flush()  # here, where a full disk can be told
    except Interrupted:
        _end("interrupted", 128 + signal.SIGINT)
    except (InputError, Diverged, Unsaved) as error:
        _end(str(error), 2 if isinstance(error, InputError) else 1)
    except ImportError as error:
        if not str(error.path).endswith(".so"):
            raise
        _end(one_line(reason(error), InputError.longest), 1)  # no memory to load a library
    except (OSError, MemoryError) as error:
        where = f"{error.filename}: " if isinstance(error, OSError) and error.filename else ""
        _end(one_line(f"{where}{reason(error)}", InputError.longest), 1)
    except Exception as error:
        if said := own_line(error):  # a bug, too, but the user's
            _end(f"{said}: mend the sampler, see iskit check-sampler", 1)
        raise


def _interrupt(number: int, frame: object) -> None:
    raise Interrupted


def _end(message: str, code: int) -> None:
    print(f"iskit: {message}", file=sys.stderr)
    try:
        sys.stdout.flush()
    except OSError:  # what it still holds would be tried once more, and told in many lines, at the very end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)
