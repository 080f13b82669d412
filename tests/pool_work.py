"""What the tests of worker processes let them do; imports little, so that they start at once."""

import os
import signal
import time
from pathlib import Path

from iskit.study.local import broken_by


def obey(task, tell, stop):
    """A task is (what, value)."""
    what, value = task
    if what == "echo":
        tell(("heard", value))
        return value
    if what == "wait":  # until told to stop
        tell("waiting")
        while not stop.is_set():
            time.sleep(0.001)
        return "stopped"
    if what == "sleep":  # so many seconds, whatever is said
        end = time.monotonic() + value
        try:
            with broken_by(stop):
                tell("asleep")
                while time.monotonic() < end:
                    time.sleep(0.001)
        except KeyboardInterrupt:
            return "broken"
        return "slept"
    if what == "variable":
        return os.environ.get(value)
    if what == "process":
        return os.getpid()
    if what == "die":
        tell("last word")
        os.kill(os.getpid(), value)
    if what == "note":  # until told to stop, and leave a file then
        tell("waiting")
        stop.wait()
        with open(value, "w") as file:
            file.write("saved")
    return None


def gone(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


if "POOL_TEST_DIES" in os.environ:  # in a child alone: the tests import this before they say so
    os.kill(os.getpid(), signal.SIGKILL)
