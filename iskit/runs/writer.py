"""Who writes into a run's folder: the last process that named itself there.

A file system may grant one lock to all who ask (NFS without locks), and a process may be frozen amid a save and wake up
when another has taken its place. So locks keep order, and names keep what is written: status.json names the writer, by
host, process and when it began. Each file is written under a name that bears these, and takes its place only while the
folder names this writer. A new one first names itself, then removes what others were writing: so either the other reads
the new name, or what it wrote is gone when it would take its place.
"""

import _thread
import errno
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from iskit import files
from iskit.errors import InputError

STATUS, RESULT = "status.json", "result.json"
BEAT = 10.0  # seconds between two signs of life
ENDING = 1.0  # seconds for the last of them
SILENCE = 60.0  # without one, a process of another machine counts as dead
NO_LINKS = (errno.EPERM, errno.ENOSYS, errno.ENOTSUP)  # of file systems that know no second name of a file


class Busy(InputError):
    """Another process trains this run just now."""


class Overtaken(Busy):
    """Another process has taken this run over: what this one found since is not written."""


class Writer:
    """This process, as the writer of a run's folder. It writes nothing there before `claim`.

    All that write raise Overtaken, and leave the folder as it is, when another writer has named itself since, or has
    finished the run.
    """

    def __init__(self, path: Path):
        self.path = path
        self.by = {"host": socket.gethostname(), "process": os.getpid(), "began": time.time_ns()}
        self.mark = ".".join(map(str, self.by.values()))
        self.claimed = False
        self.first = False  # whether there is no result yet
        self.overtaken: Overtaken | None = None  # as the last sign of life found it

    def claim(self, state: str, **more: Any) -> None:
        """From now on the folder names this writer."""
        files.write_json(self.path / STATUS, self._status(state, more), self.mark)
        self.claimed = True
        for left in self.path.glob(".*.tmp"):
            if self.mark not in left.name:
                left.unlink(missing_ok=True)
        self.first = not (self.path / RESULT).exists()

    def say(self, state: str, **more: Any) -> None:
        """How the run stands, in status.json."""
        self.write(STATUS, lambda path: files.save_json(path, self._status(state, more)))

    def write(self, name: str, save: Callable[[Path], Any]) -> None:
        """As `iskit.files.write`, a file of the folder."""
        self._written(name, save, os.replace)

    def publish(self, found: dict[str, Any]) -> None:
        """Writes result.json, by which the run is finished: of several processes one does so, whatever they believe."""
        self._written(RESULT, lambda path: files.save_json(path, found), _link if self.first else os.replace)
        self.first = False

    def check(self) -> None:
        """Overtaken if this is no longer the folder's writer."""
        named = _named(self.path) if self.claimed else None
        if named is not None and named != self.by:
            raise Overtaken(f"{self.path} was taken over by {who(named)}: this process stops, and writes no more there")
        if self.first and (self.path / RESULT).exists():
            raise Overtaken(f"{self.path} was finished by another process meanwhile: this one writes no more there")

    @contextmanager
    def beating(self) -> Iterator[None]:
        """Gives signs of life, which end with the process, or when it is frozen."""
        end, over = threading.Event(), threading.Event()

        def beat() -> None:
            try:
                while not end.wait(BEAT):
                    with suppress(OSError):
                        try:
                            self.check()
                        except Overtaken as error:
                            self.overtaken = error
                            return
                        os.utime(self.path / STATUS)
            finally:
                over.set()

        # Trap: Thread.start waits for ever for a thread that finds no memory to begin with; so would Thread.join.
        _thread.start_new_thread(beat, ())
        try:
            yield
        finally:
            end.set()
            over.wait(ENDING)

    def _status(self, state: str, more: dict[str, Any]) -> dict[str, Any]:
        return {"state": state, "at": time.strftime("%Y-%m-%dT%H:%M:%S%z"), **self.by, **more}

    def _written(self, name: str, save: Callable[[Path], Any], place: Callable[[Path, Path], Any]) -> None:
        def placed(temporary: Path, path: Path) -> None:
            self.check()
            try:
                place(temporary, path)
            except FileExistsError:
                raise Overtaken(f"{path} was written by another process meanwhile: this one writes no more") from None

        while True:
            try:
                return files.write(self.path / name, save, self.mark, placed)
            except FileNotFoundError:  # another writer that named itself, and was named over, has removed it
                self.check()
                if not self.path.is_dir():
                    raise


def who(by: dict[str, Any]) -> str:
    return f"process {by.get('process')} of {by.get('host')}"


def silence(path: Path) -> float:
    """Seconds since a run's process gave a sign of life; 0 if it has not yet given any."""
    for name in (STATUS, "run.lock"):
        with suppress(OSError):
            return time.time() - (path / name).stat().st_mtime
    return 0.0


def heard(path: Path) -> bool:
    """Whether a process of another machine, whose lock need not be seen here, says that it trains there."""
    named = _named(path, "running")
    return named is not None and named["host"] != socket.gethostname() and silence(path) < SILENCE


def _named(path: Path, state: str | None = None) -> dict[str, Any] | None:
    """The writer that status.json names; None if it says nothing, or another state than that is asked for."""
    try:
        found = files.read_json(path / STATUS)
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or "host" not in found or state not in (None, found.get("state")):
        return None
    return {name: found.get(name) for name in ("host", "process", "began")}


def _link(temporary: Path, path: Path) -> None:
    """Gives the file its name if nobody has that. FileExistsError if somebody has."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        if not path.samefile(temporary):  # else a server's answer was lost, and the call made twice
            raise
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        os.replace(temporary, path)
