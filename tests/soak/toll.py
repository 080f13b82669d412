"""What the campaign shares: the processes that are struck, what is held against them, and the figures."""

import fcntl
import json
import os
import random
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from iskit.runs.folder import status_of

SHORT = bool(os.environ.get("ISKIT_SOAK_SHORT"))  # a minute of it
SEED = int(os.environ.get("ISKIT_SOAK_SEED", "1"))
PATIENCE = 120.0  # seconds, on however busy a machine; more is a hang
BAD = ("differing", "lost", "hung", "lies", "tracebacks", "left")


@dataclass
class Toll:
    """What one test struck, and what came of it.

    processes: started; kills: by SIGKILL; signals: SIGTERM, SIGINT, SIGXFSZ (amid a write), SIGSEGV (no memory);
    refusals: disks, memory and files that were not to be had; examples: of property tests;
    compared: ends held against an undisturbed one.
    differing: of those; lost: runs begun anew, or that could not go on; hung; lies: states that were not so, exit
    codes, not one line; tracebacks; left: temporaries at the end.
    """

    what: str
    processes: int = 0
    kills: int = 0
    signals: int = 0
    refusals: int = 0
    examples: int = 0
    compared: int = 0
    differing: int = 0
    lost: int = 0
    hung: int = 0
    lies: int = 0
    tracebacks: int = 0
    left: int = 0
    seconds: float = 0.0
    found: list[str] = field(default_factory=list)

    def find(self, kind: str, text: str) -> None:
        setattr(self, kind, getattr(self, kind) + 1)
        self.found.append(f"{kind}: {text}")

    @contextmanager
    def comparing(self, text: str) -> Iterator[None]:
        """Of an end with that of an undisturbed one."""
        self.compared += 1
        try:
            yield
        except (AssertionError, ValueError, OSError) as error:
            self.find("differing", f"{text}: {type(error).__name__}: {str(error)[:300]}")


class Server:
    """A warm process, see warm.py; children one at a time."""

    def __init__(self) -> None:
        path = Path(__file__).with_name("warm.py")
        self.process = subprocess.Popen(
            [sys.executable, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"},
        )
        self.forks = int(self._line(PATIENCE) or 0)  # the process that sweeps' workers are children of

    def _line(self, seconds: float) -> bytes | None:
        ready, _, _ = select.select([self.process.stdout], [], [], seconds)
        return self.process.stdout.readline() if ready else None

    def begin(self, root: Path, *argv: str, at: int = 0, fault: str = "kill", **limits: int) -> int:
        self.log = root.parent / f"{root.name}.log"
        job = {"argv": argv, "root": str(root), "log": str(self.log), "at": at, "fault": fault, "limits": limits}
        self.process.stdin.write(json.dumps(job).encode() + b"\n")
        self.process.stdin.flush()
        self.child = int(self._line(PATIENCE))
        return self.child

    def end(self, toll: Toll) -> int:
        """The exit code, negative for a signal; what was printed is looked through."""
        toll.processes += 1
        status = self._line(PATIENCE)
        if status is None:
            toll.find("hung", f"after {PATIENCE:.0f} s: {self.said()}")
            os.kill(self.child, signal.SIGKILL)
            status = self._line(PATIENCE)
        said = self.log.read_text(errors="replace")
        if "Traceback" in said or "Fatal Python error" in said:
            toll.find("tracebacks", said[said.find("Traceback") :][-3000:])
        if "starts anew" in said or "decided anew" in said:
            toll.find("lost", said)
        return os.waitstatus_to_exitcode(int(status))

    def said(self) -> str:
        return self.log.read_text(errors="replace")[-3000:]

    def run(self, toll: Toll, root: Path, *argv: str, **fault: Any) -> int:
        self.begin(root, *argv, **fault)
        return self.end(toll)

    def operations(self, toll: Toll, root: Path, *argv: str) -> int:
        """On files, of that command undisturbed."""
        code = self.run(toll, root, *argv, at=10**9)
        assert code == 0, self.said()
        return int(Path(f"{self.log}.met").read_text())

    def strike(self, toll: Toll, process: int, how: signal.Signals) -> None:
        """Sends the signal, if the process lives still."""
        try:
            os.kill(process, how)
        except ProcessLookupError:
            return
        toll.kills += how == signal.SIGKILL
        toll.signals += how in (signal.SIGTERM, signal.SIGINT)

    def gone(self) -> bool:
        """Whether the child has ended."""
        return not Path(f"/proc/{self.child}/fd/1").exists()

    def workers(self) -> list[int]:
        """Of sweeps, living."""
        found = Path(f"/proc/{self.forks}/task/{self.forks}/children").read_text().split()
        return [int(number) for number in found]

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait(PATIENCE)
        self.process.stdout.close()


def words(settings: dict[str, Any]) -> list[str]:
    return [f"{name}={value}" for name, value in settings.items()]


def is_held(path: Path) -> bool:
    """Whether a process trains in that folder: asked of the system, not of the kit."""
    if not (path / "run.lock").exists():
        return False
    with (path / "run.lock").open("r+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


def check_state(toll: Toll, path: Path) -> str:
    """Of a run that nobody trains now; nobody has damaged it."""
    told = status_of(path)
    state = told["state"]
    if state in ("running", "damaged") or (state == "new" and (path / "status.json").exists()):
        toll.find("lies", f"{path.name} is {told}")
    saved, checkpoint = told.get("saved"), path / "checkpoint.pt"
    if state != "finished" and saved is not None:
        if not checkpoint.exists():
            toll.find("lies", f"{path.name} has saved t={saved}, but no checkpoint: {told}")
        elif saved > torch.load(checkpoint, weights_only=True)["t"]:
            toll.find("lies", f"{path.name} has saved less than it says: {told}")
    return state


def check_left(toll: Toll, root: Path) -> None:
    for left in root.rglob(".*.tmp"):
        toll.find("left", str(left.relative_to(root)))


def check_line(toll: Toll, server: Server, code: int) -> None:
    """A refusal is one line and exit code 1 or 2; none is exit code 0."""
    lines = [line for line in server.said().splitlines() if line.startswith("iskit: ") and " asks for " not in line]
    if code not in (0, 1, 2) or (code != 0 and len(lines) != 1):
        toll.find("lies", f"exit code {code} with: {server.said()}")


def copied(root: Path, place: Path) -> Path:
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(root, place)
    return place


def wait_until(true: Any, seconds: float = PATIENCE) -> bool:
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.002)
    return True


def moments(name: str) -> random.Random:
    return random.Random(f"{SEED} {name}")


def row(toll: Toll) -> dict[str, Any]:
    return asdict(toll)
