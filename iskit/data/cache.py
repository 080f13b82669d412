"""Decoded images on disk: made once, whole or absent, rebuilt if damaged."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from filelock import FileLock

from iskit import files


def digest(arrays: dict[str, np.ndarray]) -> str:
    state = hashlib.blake2b(digest_size=16)
    for name, array in sorted(arrays.items()):
        state.update(f"{name}{array.dtype}{array.shape}".encode())
        state.update(np.ascontiguousarray(array).data)
    return state.hexdigest()


def cached(folder: Path, key: dict, make: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The arrays that `make` gives, from `folder` if they lie there undamaged.

    key: everything that determines the arrays, as JSON values. Two processes at once: the second waits.
    """
    name = hashlib.blake2b(json.dumps(key, sort_keys=True).encode(), digest_size=8).hexdigest()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.npz"
    with FileLock(folder / f"{name}.lock"):
        arrays = _read(path)
        if arrays is None:
            arrays = make()
            stored = {**arrays, "digest": np.array(digest(arrays))}

            def save(temporary: Path) -> None:
                with temporary.open("wb") as file:  # an open file: savez would append .npz to the temporary name
                    np.savez(file, **stored)  # type: ignore[arg-type]

            files.write(path, save)
    return arrays


def _read(path: Path) -> dict[str, np.ndarray] | None:
    """None if the file is absent or damaged: then it is made anew."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except Exception:  # whatever a damaged file makes zipfile or NumPy raise
        return None
    expected = arrays.pop("digest", None)
    return arrays if expected is not None and str(expected) == digest(arrays) else None
