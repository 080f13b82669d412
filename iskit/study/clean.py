"""What a study need not keep: runs that failed, stopped or are damaged. Never a finished or a running one."""

import os
import shutil
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from iskit.runs.folder import Busy, locked, status_of
from iskit.study.folders import subfolders

KINDS = {"failed": ("failed",), "stopped": ("stopped", "killed"), "damaged": ("damaged",)}


@dataclass(frozen=True)
class Remains:
    """A run's folder that may go. bytes: of all its files; days: since the last of them was written."""

    path: Path
    state: str
    bytes: int
    days: float


def remains(study: Path, kinds: Collection[str], days: float = 0.0) -> list[Remains]:
    """The folders of such runs (KINDS) in a study's folder that nobody has written to for so many days."""
    wanted = {state for kind in kinds for state in KINDS[kind]}
    found = []
    for path in subfolders(study)[0]:
        if path.is_symlink():  # of another place
            continue
        state = status_of(path)["state"]
        if state not in wanted:
            continue
        files = [file.lstat() for file in path.rglob("*") if not file.is_dir()]
        age = (time.time() - max((file.st_mtime for file in files), default=0.0)) / 86400
        if age >= days:
            found.append(Remains(path, state, sum(file.st_size for file in files), age))
    return found


def remove(one: Remains) -> bool:
    """Deletes the folder, unless by now a process trains there, or the run is another's or in another state."""
    try:
        with locked(one.path):
            if status_of(one.path, mine=True)["state"] != one.state:
                return False
            hidden = one.path.with_name(
                f".{one.path.name}.{os.getpid()}.removed"
            )  # at once: half a folder would be another state
            one.path.rename(hidden)
            shutil.rmtree(hidden)
            return True
    except Busy:
        return False
