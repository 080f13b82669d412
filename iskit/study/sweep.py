"""Many runs: experiments trained in parallel processes, each run in its own folder."""

import multiprocessing
import os
import queue
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import connection
from pathlib import Path
from typing import Any

import torch

from iskit import files
from iskit.errors import InputError
from iskit.study.experiment import Experiment
from iskit.study.parts import build, choose, load, parts
from iskit.study.run import Run


@dataclass(frozen=True)
class Progress:
    """One piece of news of a sweep: run `number` of the list stands at t with this accuracy (None: not evaluated)."""

    number: int
    t: float
    accuracy: float | None
    finished: bool


class Sweep:
    """Trains experiments in worker processes. Iterate over it for news; call `stop` from anywhere to end it early.

    Finished runs are not trained again; stopped ones leave a checkpoint and go on the next time.
    workers: processes at once; None: as many as leave each run the threads that it uses. On a GPU: one, in turn.
    plan: hash of the study file that they come from; kept in each result.
    Raises InputError, before any is trained, if one of them cannot work.
    """

    def __init__(
        self,
        experiments: Sequence[Experiment],
        workers: int | None = None,
        outputs: Path | None = None,
        plan: str | None = None,
    ):
        if workers is not None and workers < 1:
            raise InputError(f"workers={workers} must be at least 1")
        self.experiments = list(experiments)
        self.outputs = outputs or files.root() / "outputs"
        self.workers, self.plan = workers, plan
        self._stop = threading.Event()

    def stop(self) -> None:
        self._stop.set()

    @property
    def stopped(self) -> bool:
        return self._stop.is_set()

    def __iter__(self) -> Iterator[Progress]:
        waiting = []
        for number, experiment in enumerate(self.experiments):
            run = Run(experiment, self.outputs)
            run.check()  # of all, before any is trained
            if run.finished:
                yield Progress(number, 1.0, run.result["accuracy"], True)
            else:
                waiting.append((number, experiment))
        if waiting:
            yield from self._parallel(waiting)

    def _parallel(self, waiting: list[tuple[int, Experiment]]) -> Iterator[Progress]:
        workers = min(self.workers or good_workers([experiment for _, experiment in waiting]), len(waiting))
        context = multiprocessing.get_context("spawn")  # a forked child must not inherit torch's threads
        news = context.Queue()
        halt = context.Event()
        with ProcessPoolExecutor(
            workers, context, _start_worker, (news, halt, files.root(), torch.get_num_threads())
        ) as pool:
            tasks = {pool.submit(_train, number, experiment, self.outputs, self.plan) for number, experiment in waiting}
            try:
                while tasks or not news.empty():
                    if self._stop.is_set() and not halt.is_set():
                        halt.set()
                        pool.shutdown(wait=False, cancel_futures=True)
                    try:
                        yield news.get(timeout=0.1)
                    except queue.Empty:
                        # Not concurrent.futures.wait: it waits for ever for tasks cancelled by shutdown.
                        for task in [task for task in tasks if task.done()]:
                            tasks.remove(task)
                            if not task.cancelled():
                                task.result()  # raises what the worker raised
            finally:
                halt.set()
                pool.shutdown(wait=True, cancel_futures=True)


def good_workers(experiments: Sequence[Experiment]) -> int:
    """Processes at once: cores by the threads that the runs use; one on a GPU.

    Measures here, while nothing else runs, what suits each: the workers find the answers in the cache.
    """
    if parts(experiments[0]).device.type == "cuda":
        return 1
    kinds = {(e.dataset, e.data_dir, e.validation, e.model, e.batch_size, e.precision): e for e in experiments}
    threads = 1
    for e in kinds.values():
        data = load(e.dataset, files.root() / e.data_dir, e.validation, torch.device("cpu"), e.seed)
        threads = max(threads, choose(e, build(e, data), data).threads)
    return max(1, cores() // threads)


def cores() -> int:
    """The cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# Of a worker process.
_news: Any = None
_halt: Any = None
_idle = threading.Event()
_alone = threading.Event()


def _start_worker(news: Any, halt: Any, root: Path, threads: int) -> None:
    global _news, _halt
    _news, _halt = news, halt
    _idle.set()
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; who started the sweep tells its workers to stop
    os.environ["ISKIT_ROOT"] = str(root)
    torch.set_num_threads(threads)  # as many as a run in the caller's process may use


def _leave_with_parent() -> None:
    """A worker whose parent was killed would wait for work for ever: it ends, once the run at hand is saved."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    _alone.set()
    _idle.wait()
    os._exit(1)


def _train(number: int, experiment: Experiment, outputs: Path, plan: str | None) -> None:
    _idle.clear()
    try:
        run = Run(experiment, outputs, plan=plan)
        shown = 0
        for t in run:
            assert run.trainer is not None
            rows = run.trainer.history.rows
            if len(rows) > shown:
                shown = len(rows)
                _news.put(Progress(number, t, rows[-1]["accuracy"], False))
            if _halt.is_set() or _alone.is_set():
                break
        else:
            _news.put(Progress(number, 1.0, run.result["accuracy"], True))
    finally:
        _idle.set()
