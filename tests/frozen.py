"""A process that trains a run and freezes itself amid it, as SIGSTOP would; and locks that are only pretended."""

import errno
import fcntl
import multiprocessing
import os
import signal
import time
from pathlib import Path
from typing import Any

from iskit.runs.experiment import Experiment
from iskit.runs.folder import Busy
from iskit.runs.run import Run


def refuse(*_: Any) -> None:
    raise OSError(errno.ENOSYS, "Function not implemented")


def grant(*_: Any) -> None:
    """To all who ask."""


LOCKS = {"true": fcntl.flock, "none": refuse, "granted to all": grant}


def train(settings: dict[str, Any], outputs: Path, locks: str, name: str, said: Any) -> None:
    """Freezes when the file of that name, whole and checked, is to take its place; then tells how it ended."""
    fcntl.flock = LOCKS[locks]

    def frozen(place):
        def placed(temporary, path, **more):
            if Path(path).name == name and not thawed:
                thawed.append(True)
                os.kill(os.getpid(), signal.SIGSTOP)
            place(temporary, path, **more)

        return placed

    thawed: list[bool] = []
    os.replace, os.link = frozen(os.replace), frozen(os.link)
    early = name in ("checkpoint.pt", "status.json")
    try:
        Run(Experiment(**settings), outputs, checkpoint_seconds=0.0 if early else 3600.0).train()
        said.send("finished")
    except Busy as error:
        said.send(str(error))


class Frozen:
    """That process, frozen by now."""

    def __init__(self, settings: dict[str, Any], outputs: Path, locks: str, name: str):
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["iskit.study.sweep", "frozen"])
        self.said, far = context.Pipe(duplex=False)
        self.process = context.Process(target=train, args=(settings, outputs, locks, name, far))
        self.process.start()
        far.close()
        while state_of(self.process.pid) != "T":
            assert self.process.is_alive()
            time.sleep(0.005)

    def thaw(self) -> str:
        """-> its last word."""
        os.kill(self.process.pid, signal.SIGCONT)
        word = self.said.recv()
        self.process.join()
        return word

    def end(self) -> None:
        self.process.kill()
        self.process.join()


def state_of(process: int) -> str:
    """As ps tells it."""
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
