"""Many runs: experiments trained in parallel processes, each run in its own folder."""

import threading
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch

from iskit import files
from iskit.errors import InputError
from iskit.runs import folder
from iskit.runs.experiment import Experiment
from iskit.runs.grid import kinds
from iskit.runs.machine import cores, decided, gpus, kind, known_choice
from iskit.runs.parts import build, choose, load, parts
from iskit.runs.run import Run
from iskit.study.local import Answer, Crew, Died, News, Pool
from iskit.study.packed import boxes
from iskit.study.worker import Failure, Progress, Task, train
from iskit.training.probe import Choice


class Sweep:
    """Trains experiments in worker processes. Iterate over it for news; call `stop` from anywhere to end it early.

    Seeds are interleaved: the first seed of everything comes first. Finished runs are not trained again, packed ones
    among them; stopped ones leave a checkpoint and go on the next time. A run that another process trains is left to
    that, and waited for. One that fails stops no other: it is tried `retries` times again, then stands in `failed`.
    What would fail the same way is not tried again: what cannot work, a full disk, and divergence, whose reason is kept
    in the run's folder; the latter holds for further sweeps too, until that folder is removed or the run is trained by
    itself.
    workers: processes at once; None: as many as the cores allow with the threads that the runs use, and on a machine
    with GPUs one for each. plan: hash of the study file that the experiments come from; kept in each result. blocks: of
    that file: which of them what cannot work stands in. pool: of `warm_pool`, or an engine's, for one sweep at a time,
    left open; None: its own. take_over: whether to go on with runs that a process holds which has given no sign of life
    for a minute: it is frozen, or its machine is gone.
    Raises InputError, before any run is trained, if one of them cannot work.
    """

    def __init__(
        self,
        experiments: Sequence[Experiment],
        workers: int | None = None,
        outputs: Path | None = None,
        retries: int = 1,
        plan: str | None = None,
        blocks: Mapping[str, Sequence[Experiment]] | None = None,
        pool: Crew | None = None,
        take_over: bool = False,
    ):
        for name, value, lowest in (("workers", workers, 1), ("retries", retries, 0)):
            if value is not None and value < lowest:
                raise InputError(f"{name}={value} must be at least {lowest}")
        self.experiments = list(experiments)
        self.outputs = outputs or files.root() / "outputs"
        self.workers, self.retries, self.plan = workers, retries, plan
        self.blocks, self.pool, self.take_over = blocks or {}, pool, take_over
        self.failed: dict[int, str] = {}  # numbers of runs, and why
        self._stop = threading.Event()
        self._silent: set[int] = set()  # runs of which that was told

    @cached_property
    def packed(self) -> dict[str, float]:
        """The accuracies of runs that lie in the studies' packed files, by the names of their folders."""
        found: dict[str, float] = {}
        for study in {experiment.study for experiment in self.experiments}:
            for box in boxes(self.outputs, study):
                found |= {path.name: run.row["accuracy"] for path, run in box.finished.items()}
        return found

    def stop(self) -> None:
        self._stop.set()

    @property
    def stopped(self) -> bool:
        return self._stop.is_set()

    def check(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """The number and status of each run, once it is known that it can work; InputError if it cannot."""
        first = set(kinds(self.experiments))  # binds data and model: the others differ in nothing that these could see
        packed = self.packed
        for number, experiment in enumerate(self.experiments):
            try:
                run = Run(experiment, self.outputs)
                if run.path.name in packed and not run.finished:
                    yield number, {"state": "finished", "packed": True}
                    continue
                run.check(alike=experiment not in first)
            except InputError as error:
                name = next((name for name, block in self.blocks.items() if experiment in block), "")
                raise InputError(f"block {name}: {error}" if name else str(error)) from error
            status = run.status
            if status["state"] == "finished" and not run.finished:  # but for weights that now are to be kept
                status["state"] = "stopped"
            yield number, status

    def runs(self) -> list[Run]:
        return [Run(experiment, self.outputs) for experiment in self.experiments]

    def folder(self, number: int) -> Path:
        return Run(self.experiments[number], self.outputs).path

    def __iter__(self) -> Iterator[Progress]:
        waiting = []
        for number, status in self.check():
            if self.stopped:
                return
            if status["state"] == "finished":
                yield self._finished(number)
            elif given_up(status):
                yield self._failed(number, f"{status.get('error')} (remove its folder to try again)")
            else:
                waiting.append(number)
        if waiting and not self.stopped:
            yield from self._trained(sorted(waiting, key=seed_ranks(self.experiments).__getitem__))

    def _finished(self, number: int) -> Progress:
        run = Run(self.experiments[number], self.outputs)
        if not run.finished:
            return Progress(number, 1.0, self.packed[run.path.name], True)
        run.mend()
        return Progress(number, 1.0, run.result["accuracy"], True)

    def _failed(self, number: int, why: str) -> Progress:
        self.failed[number] = why
        return Progress(number, folder.status_of(self.folder(number)).get("t") or 0.0, None, False, why)

    def _trained(self, waiting: list[int]) -> Iterator[Progress]:
        for study in {experiment.study for experiment in self.experiments}:
            folder.check_room(self.outputs / study)
        places = environments(self.experiments, self.workers, self.outputs)
        tries: Counter[int] = Counter()
        most = min(len(places), len(waiting))
        with self.pool.lent() if self.pool else Pool(train, places[:most]) as pool:
            while waiting or pool.busy:
                if self.stopped:
                    waiting.clear()
                    pool.stop()
                pool.fill(min(len(waiting), most - len(pool.busy)))
                yield from self._give(waiting, pool, most)
                for task, word in pool.hear(0.1):
                    match word:
                        case News(what):
                            yield what
                        case Answer("finished"):
                            yield self._finished(task.number)
                        case Answer("busy" | "stopped"):  # by another process, or alone by whoever ended that worker
                            waiting.append(task.number)
                        case Answer(Failure(why, again)):
                            tries[task.number] += 1
                            if again and tries[task.number] <= self.retries:
                                waiting.append(task.number)
                            else:
                                yield self._failed(task.number, why)
                        case Died(None):  # its machine is gone: no fault of the run
                            waiting.append(task.number)
                        case Died(code):
                            tries[task.number] += 1
                            if tries[task.number] <= self.retries:
                                waiting.append(task.number)
                            elif not self.stopped:
                                yield self._failed(task.number, f"its process was killed (exit code {code})")

    def _give(self, waiting: list[int], pool: Crew, most: int) -> Iterator[Progress]:
        """Work for the idle, but for what other processes train or have finished meanwhile."""
        for number in list(waiting):
            if not pool.idle or len(pool.busy) >= most:
                break
            run = Run(self.experiments[number], self.outputs)
            if run.finished:
                waiting.remove(number)
                yield self._finished(number)
            elif not folder.held(run.path) or (self.take_over and folder.silent(run.path)):
                waiting.remove(number)
                threads = torch.get_num_threads()
                pool.give(Task(number, run.experiment, self.outputs, threads, self.plan, self.take_over))
            elif folder.silent(run.path) and number not in self._silent:
                self._silent.add(number)
                warnings.warn(f"{run.path} is held{folder.holder(run.path)}", stacklevel=2)


def given_up(status: Mapping[str, Any]) -> bool:
    """Whether a run with that status would only fail again."""
    return status["state"] == "failed" and status.get("diverged") is True


def seed_ranks(experiments: Sequence[Experiment]) -> list[int]:
    """Of each: how many before it differ from it in nothing but the seed."""
    met: Counter[Experiment] = Counter()
    ranks = []
    for experiment in experiments:
        alike = replace(experiment, seed=0)
        ranks.append(met[alike])
        met[alike] += 1
    return ranks


def environments(experiments: Sequence[Experiment], workers: int | None, outputs: Path) -> list[dict[str, str]]:
    """What distinguishes the worker processes, one mapping each.

    A worker for each GPU, in turn if there are more; on a CPU as many as the threads of the runs leave room for. Those
    are decided here, while nothing else runs, for the studies that have not decided yet: one thread a run if there is
    a run for each core, for so more is trained than by several threads (1.48 times more on 2 cores).
    """
    root = {"ISKIT_ROOT": str(files.root())}
    devices = {e.device: parts(e).device.type for e in {e.device: e for e in experiments}.values()}
    if "cuda" in devices.values():
        names = gpus()
        return [{**root, "CUDA_VISIBLE_DEVICES": names[n % len(names)]} for n in range(workers or len(names))]
    share = max(1, cores() // min(workers or cores(), len(experiments)))
    threads = 1
    for e in {(e.study, kind(e)): e for e in experiments}.values():
        choice = decided(e, outputs / e.study, partial(_measured, e, share))
        threads = max(threads, choice.threads)
    return [root] * (workers or max(1, cores() // threads))


def at_once(experiments: Sequence[Experiment], workers: int | None, outputs: Path) -> int:
    """How many processes `environments` would name, as far as that is known before it decides."""
    if workers:
        return workers
    if any(parts(e).device.type == "cuda" for e in {e.device: e for e in experiments}.values()):
        return len(gpus())
    known = [known_choice(e, outputs / e.study) for e in {(e.study, kind(e)): e for e in experiments}.values()]
    return max(1, cores() // max((choice.threads for choice in known if choice), default=1))


def warm_pool() -> Pool:
    """Worker processes that stay between sweeps, as many as this machine can use; not started yet, see `Pool.fill`."""
    root = {"ISKIT_ROOT": str(files.root())}
    if torch.cuda.is_available():
        return Pool(train, [{**root, "CUDA_VISIBLE_DEVICES": name} for name in gpus()])
    return Pool(train, [root] * cores())


def _measured(experiment: Experiment, most: int) -> Choice:
    e = experiment
    data = load(e.dataset, files.root() / e.data_dir, e.validation, torch.device("cpu"), e.seed)
    choice = choose(e, build(e, data), data)
    return replace(choice, threads=min(choice.threads, most))
