"""A run's folder: what lies in it, whether that is whole, who holds it, and in what state the run truly is.

What a process wrote about itself may have been overtaken by its end. So nobody reads status.json but `status_of`.
"""

import os
import tempfile
import warnings
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from filelock import BaseFileLock, FileLock, Timeout

from iskit import files
from iskit.errors import InputError
from iskit.runs.writer import SILENCE, Busy, Writer, heard, silence, who

STATES = ("running", "stopped", "failed", "finished")  # that a process writes
FILES = (
    *("params.yaml", "status.json", "history.parquet", "counts.npy", "result.json"),
    *("sample.parquet", "correct.npy", "checkpoint.pt", "model.pt", "error.log", "run.lock"),
)
NUMBER = (int, float)
RESULT: dict[str, type | tuple[type, ...]] = {  # what every version has written into result.json, and is shown
    **dict.fromkeys(("accuracy", "best_accuracy", "training_seconds", "equivalent_budget"), NUMBER),
    **dict.fromkeys(("entropy", "entropy_share", "steps", "threads"), NUMBER),
    **dict.fromkeys(("device", "precision"), str),
    "passes": dict,
}
ROOM = 1 << 20  # bytes that must be free for runs to begin
GRACE = 1.0  # seconds: whoever looks whether a folder is held, holds it for a moment


@contextmanager
def locked(path: Path, take_over: bool = False) -> Iterator[Writer]:
    """The folder, made if need be, is this process's alone: its writer. Busy if another has it, InputError if it can't
    be made. take_over: of one that holds the lock but has been silent for long, frozen or on a machine that is gone."""
    lock = FileLock(path / "run.lock")
    try:
        path.mkdir(parents=True, exist_ok=True)
        acquire(lock, GRACE)
    except Timeout:
        if not (take_over and silent(path)):
            raise Busy(f"{path} is being trained by another process{holder(path)}") from None
    except OSError as error:
        raise unwritable(path, error) from None
    try:
        if heard(path):
            raise Busy(f"{path} is being trained by another process{holder(path)}")
        yield Writer(path)
    finally:
        lock.release()


def acquire(lock: BaseFileLock, seconds: float) -> None:
    """Waits for it for so long; Timeout if that was in vain."""
    with warnings.catch_warnings():  # where there are no locks, the file itself is one: it outlives its process
        warnings.filterwarnings("ignore", "flock not supported")
        lock.acquire(timeout=seconds, poll_interval=GRACE / 20)


def silent(path: Path) -> bool:
    """Whether who holds that folder has given no sign of life for long: frozen, or its machine is gone."""
    return silence(path) > SILENCE


def holder(path: Path) -> str:
    """Who trains there, as far as known, and what to do: the end of a message."""
    known = told(path)
    named = f" ({who(known)})" if "host" in known else ""
    if silent(path) and known["state"] == "running":
        return f"{named}, silent for {silence(path) / 60:.0f} min: if that is gone, `iskit sweep --take-over` goes on"
    return f"{named}: wait for it, or change seed"


def unwritable(path: Path, error: OSError) -> InputError:
    return InputError(f"{path} cannot be written ({error.strerror or error}): free its disk, or make it writable")


def check_room(path: Path) -> None:
    """InputError if a folder cannot be written, or its disk is full; it need not be there, and nothing is left."""
    there = next(folder for folder in (path, *path.parents) if folder.exists())
    try:
        with tempfile.TemporaryFile(dir=there) as file:
            file.write(bytes(ROOM))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise unwritable(path, error) from None


def held(path: Path) -> bool:
    """Whether a process trains there now."""
    if not (path / "run.lock").is_file():
        return heard(path)
    lock = FileLock(path / "run.lock")
    try:
        acquire(lock, 0)
    except Timeout:
        return True
    except OSError as error:  # may not be opened: nor could anybody train
        _let_pass(error)
        return False
    lock.release()
    return heard(path)


def status_of(path: Path, mine: bool = False) -> dict[str, Any]:
    """The truth about a run: `state`, and what is known of t (where it is), saved (t of its checkpoint), error, at,
    and by whom that was said: host, process, began. mine: the caller holds the folder.

    new: nothing was begun; running: by a process that lives, or one that holds the lock and is silent: `error` says so;
    stopped, failed: as it says; killed: its process ended without a word; damaged: it was finished, but `error` is no
    longer whole; finished: all that it found is there.
    """
    known = told(path)
    if known["state"] != "new" and not mine and held(path):
        if known["state"] == "running" and silent(path):
            known["error"] = (
                f"silent for {silence(path) / 60:.0f} min: if that is gone, iskit sweep --take-over goes on"
            )
        known["state"] = "running"
    elif known["state"] == "running":
        known = told(path)  # its last word, if it ended while we looked
        known["state"] = "killed" if known["state"] == "running" else known["state"]
    wrong = damage(path)
    if wrong is None and (path / "result.json").exists():
        return {**known, "state": "finished", "t": 1.0}
    if known["state"] == "running":
        return known
    if wrong is not None:
        return {**known, "state": "damaged", "error": wrong}
    return {**known, "state": "killed"} if known["state"] == "finished" else known


def told(path: Path) -> dict[str, Any]:
    """What status.json says, true or not; of one that is damaged or missing, the least that it must have said."""
    try:
        found = files.read_json(path / "status.json")
    except (OSError, ValueError, RecursionError) as error:
        _let_pass(error)
        found = None
    if isinstance(found, dict) and found.get("state") in STATES:
        return found
    return {"state": "running" if any((path / name).exists() for name in FILES) else "new"}


def result_of(path: Path) -> dict[str, Any] | None:
    """What result.json holds; None if it is absent or not whole."""
    try:
        found = files.read_json(path / "result.json")
    except (OSError, ValueError, RecursionError) as error:
        _let_pass(error)
        return None
    if not isinstance(found, dict) or not all(isinstance(found.get(name), kind) for name, kind in RESULT.items()):
        return None
    if not all(isinstance(count, int) for count in found["passes"].values()):
        return None
    return found if found.get("data") is None or is_origin(found["data"]) else None


def is_origin(data: Any) -> bool:
    """Whether that says which data set a run was trained on: its source and digest."""
    return isinstance(data, dict) and all(isinstance(data.get(name), str) for name in ("source", "digest"))


def damage(path: Path) -> str | None:
    """The first file that is not whole of a run that has a result.json; None if all are, or there is no result."""
    if not (path / "result.json").exists():
        return None
    if result_of(path) is None:
        return "result.json"
    try:
        if not {"t", "accuracy"} <= set(pq.read_schema(path / "history.parquet").names):
            return "history.parquet"
    except (OSError, ValueError) as error:
        _let_pass(error)
        return "history.parquet"
    try:
        with (path / "counts.npy").open("rb") as file:
            counts = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        _let_pass(error)
        return "counts.npy"
    return None if counts.ndim == 1 and counts.dtype.kind == "i" else "counts.npy"


def _let_pass(error: Exception) -> None:
    """Raises what is wrong with the process that looks: a whole run must not be taken for a damaged one."""
    if files.passing(error):
        raise error


def finished(path: Path, models: Iterable[str] = ()) -> bool:
    """Whether all is there that a run leaves, and whole; with its weights, if such files are asked for."""
    return (path / "result.json").exists() and damage(path) is None and all(_is_zip(path / name) for name in models)


def _is_zip(path: Path) -> bool:
    try:
        with path.open("rb") as file:  # given a path, zipfile keeps to itself why it cannot be read
            return zipfile.is_zipfile(file)
    except OSError as error:
        _let_pass(error)
        return False


def check_files(path: Path) -> None:
    """InputError if a folder lies where a file belongs: nothing of anybody's is removed."""
    for name in FILES:
        if (path / name).is_dir():
            raise InputError(f"{path / name} is a folder where a file belongs: move or remove it")
