"""Decoded images on disk: made once, whole or absent, rebuilt if damaged."""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from iskit import files
from iskit.errors import InputError
from iskit.inputs import regular


def digest(arrays: dict[str, np.ndarray]) -> str:
    state = hashlib.blake2b(digest_size=16)
    for name, array in sorted(arrays.items()):
        state.update(f"{name}{array.dtype}{array.shape}".encode())
        state.update(np.ascontiguousarray(array).data)
    return state.hexdigest()


def fingerprint(paths: Iterable[Path]) -> str:
    """Changes with the name, size or modification time of any of the files: stands for their contents in a key.

    Raises InputError for a file that is not there, such as a link to nowhere, or is no regular one, such as a pipe.
    """
    state = hashlib.blake2b(digest_size=16)
    for path in paths:
        about = regular(path)
        state.update(os.fsencode(path))  # a name may be of bytes that are no UTF-8
        state.update(f"\0{about.st_size}\0{about.st_mtime_ns}\0".encode())
    return state.hexdigest()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """One process at a time; others wait. InputError if the lock cannot be written."""
    from filelock import FileLock  # only here: sets in memory, and digits, do without

    lock = FileLock(path)
    with _writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def cached(folder: Path, key: dict, make: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The arrays that `make` gives, from `folder` if they lie there undamaged.

    key: everything that determines the arrays, as JSON values. Two processes at once: the second waits.
    Raises InputError if they do not and the folder cannot be written or its disk is full; no half-written file is left.
    """
    name = files.digest(key)
    path = folder / f"{name}.npz"
    arrays = _read(path)  # without the lock, which a read-only disk would refuse
    if arrays is not None:
        return arrays
    with locked(folder / f"{name}.lock"):
        arrays = _read(path)  # of a process that had the lock before
        if arrays is None:
            arrays = make()
            stored = {**arrays, "digest": np.array(digest(arrays))}

            def save(temporary: Path) -> None:
                with temporary.open("wb") as file:  # an open file: savez would append .npz to the temporary name
                    np.savez(file, **stored)  # type: ignore[arg-type]

            with _writing(folder):
                files.remove_temporaries(path)
                files.write(path, save)
    return arrays


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(
            f"data_dir: {folder} cannot be written ({error.strerror or error}): free space there or change data_dir"
        ) from None


def _read(path: Path) -> dict[str, np.ndarray] | None:
    """None if the file is absent or damaged: then it is made anew."""
    try:
        # Opened here: given a path, np.load leaves a damaged file open.
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except Exception:  # whatever a damaged file makes zipfile or NumPy raise
        return None
    expected = arrays.pop("digest", None)
    return arrays if expected is not None and str(expected) == digest(arrays) else None
