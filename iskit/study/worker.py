"""What a worker process does: trains one run and tells how far it is; whatever happens, there is one answer."""

import gc
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

import torch

from iskit import files
from iskit.errors import Diverged, InputError, Unsaved
from iskit.runs import folder
from iskit.runs.experiment import Experiment
from iskit.runs.run import Run
from iskit.study.local import broken_by

NEWS_SECONDS = 0.5  # a run that is not evaluated for long tells at least so often how far it is


@dataclass(frozen=True)
class Progress:
    """One piece of news of a sweep: run `number` of the list stands at t with this accuracy (None: no new evaluation).

    error: why it failed, for good; else None.
    """

    number: int
    t: float
    accuracy: float | None
    finished: bool
    error: str | None = None


@dataclass(frozen=True)
class Task:
    """What a worker is given. threads: as many as a run in the caller's process may use."""

    number: int
    experiment: Experiment
    outputs: Path
    threads: int
    plan: str | None = None
    take_over: bool = False


@dataclass(frozen=True)
class Failure:
    """again: whether it might work if tried again."""

    why: str
    again: bool


def train(task: Task, tell: Callable[[Any], None], stop: threading.Event) -> str | Failure:
    """One run, in a worker: finished, stopped, busy (in another process's hands), or a Failure. Tells Progress."""
    torch.set_num_threads(task.threads)
    run = Run(task.experiment, task.outputs, plan=task.plan, take_over=task.take_over)
    shown, told = 0, 0.0
    try:
        with closing(iter(run)) as steps:
            with broken_by(stop):  # data to be read, proxy runs: what comes before the first step may take long
                begun = list(islice(steps, 1))
            for t in chain(begun, steps):
                assert run.trainer is not None
                rows = run.trainer.history.rows
                if len(rows) > shown:
                    shown, told = len(rows), time.monotonic()
                    tell(Progress(task.number, t, rows[-1]["accuracy"], False))
                elif time.monotonic() - told > NEWS_SECONDS:
                    told = time.monotonic()
                    tell(Progress(task.number, t, None, False))
                if stop.is_set() and t < 1:
                    return "stopped"
        return "finished"
    except KeyboardInterrupt:
        return "stopped"
    except folder.Busy:
        return "busy"
    except (InputError, Diverged, Unsaved) as error:
        return Failure(str(error).splitlines()[0], again=False)
    except Exception as error:
        with suppress(OSError):
            files.write_text(run.path / "error.log", traceback.format_exc())
        line = next(iter(str(error).splitlines()), "")
        return Failure(f"{type(error).__name__}: {line} (see error.log in its folder)", again=True)
    finally:
        if torch.cuda.is_initialized():  # a worker may stay idle for long, and others want the GPU's memory
            run.trainer = None
            gc.collect()
            torch.cuda.empty_cache()
