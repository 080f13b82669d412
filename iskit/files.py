"""Files that are whole or absent: written under a temporary name, then renamed. And where the project lies."""

import errno
import glob
import hashlib
import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from iskit.errors import InputError


def root() -> Path:
    """The project's folder: $ISKIT_ROOT, else the nearest folder upward that holds params/ and notebooks/, else here.

    Notebooks run in their own folder or in the shell's, so no path may depend on the working directory.
    InputError if $ISKIT_ROOT is no folder: a misspelt one would be a project of its own.
    """
    if "ISKIT_ROOT" in os.environ:
        named = Path(os.environ["ISKIT_ROOT"]).resolve()
        if not named.is_dir():
            raise InputError(f"ISKIT_ROOT={str(named)!r} is no folder: make it, or give the project's")
        return named
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "params").is_dir() and (folder / "notebooks").is_dir():
            return folder
    return here


def passing(error: BaseException) -> bool:
    """Whether a file could not be read for want of memory or open files: that says nothing about the file."""
    return isinstance(error, MemoryError) or getattr(error, "errno", None) in (errno.EMFILE, errno.ENFILE, errno.ENOMEM)


def located(path: str, data_dir: Path) -> Path:
    """A data set's or weights' path as given: under `data_dir` if it is there, else relative to the project.

    So a study that was packed goes on wherever the data lie, by another data_dir.
    """
    under = data_dir / path
    return under if os.path.exists(under) else root() / path  # unlike Path.exists, which may raise


def write(
    path: Path, save: Callable[[Path], Any], mark: str = "", place: Callable[[Path, Path], Any] = os.replace
) -> None:
    """Calls `save` on a temporary name beside `path`, flushes it to the disk and renames it.

    mark: what the temporary name bears, this host and process unless given; place: what renames it.
    """
    temporary = path.with_name(f".{path.name}.{mark or f'{socket.gethostname()}.{os.getpid()}'}.tmp")
    try:
        save(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        place(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def remove_temporaries(path: Path) -> None:
    """Those that killed processes left of `path`: only under a lock that every writer of it takes."""
    for temporary in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        temporary.unlink(missing_ok=True)


def remove_orphans(path: Path) -> None:
    """The temporaries that processes left of `path` which live no more: for files that are written without a lock."""
    for temporary in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        host, _, process = temporary.name[len(path.name) + 2 : -len(".tmp")].rpartition(".")
        if host not in ("", socket.gethostname()):  # whether it lives is known there alone
            continue
        try:
            os.kill(int(process), 0)
        except (ProcessLookupError, ValueError, OverflowError):
            temporary.unlink(missing_ok=True)
        except PermissionError:  # it lives, and is another user's
            continue


def digest(value: Any) -> str:
    """Of a JSON value: a short name for what is kept under it."""
    return hashlib.blake2b(json.dumps(value, sort_keys=True).encode(), digest_size=8).hexdigest()


def write_text(path: Path, text: str) -> None:
    write(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_json(path: Path, value: Any, mark: str = "") -> None:
    write(path, lambda temporary: save_json(temporary, value), mark)


def save_json(path: Path, value: Any) -> None:
    """Under that very name: what `write` calls."""
    path.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
