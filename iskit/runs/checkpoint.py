"""What a run leaves for the next process that goes on with it, and how its arrays and weights are written."""

import errno
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from iskit import files
from iskit.runs import folder
from iskit.training import probe

FORMAT = 4  # one of another version of this code cannot be gone on with


def read(path: Path, device: torch.device, beside: Callable[[float], list[str]]) -> dict[str, Any] | str | None:
    """The checkpoint; None if there is none; or in words what is wrong with it: a run begun anew ends the same.

    beside: the files that must be there too when a run is at progress t.
    """
    if not path.exists():
        return None
    try:
        with zipfile.ZipFile(path) as whole:  # torch reads over flipped bits without a word
            if whole.testzip():
                raise zipfile.BadZipFile
        state: dict[str, Any] = torch.load(path, weights_only=True, map_location=device)
        if state.get("format") != FORMAT:
            return "of another version of iskit"
        if missing := [name for name in beside(state["t"]) if not (path.parent / name).exists()]:
            return f"of a run that did not keep {missing[0]}"
        probe.Choice(**state["choice"])
        if not folder.is_origin(state["data"]):
            raise KeyError("data")
        return state
    except Exception as error:  # whatever a damaged file makes torch raise
        if files.passing(error):
            raise
        return f"damaged ({type(error).__name__})"


def save(value: Any, path: Path) -> None:
    """OSError if the disk is full."""
    try:
        torch.save(value, path)
    except RuntimeError as error:  # torch's word for it
        raise OSError(errno.ENOSPC, "torch could not write all of it: is the disk full?") from error


def array_saver(array: np.ndarray) -> Callable[[Path], None]:
    def save(path: Path) -> None:
        with path.open("wb") as file:  # given a path, NumPy would add an ending to the temporary name
            np.save(file, array)

    return save
