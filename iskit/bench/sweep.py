"""What a sweep's workers are worth: images a second of one worker, of one a core, and of one run on all cores."""

import shutil
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import median

import pandas as pd

from iskit import files
from iskit.runs.experiment import Experiment
from iskit.runs.machine import cores, decided
from iskit.runs.run import Run
from iskit.study.local import Answer, Died, Pool
from iskit.study.worker import Task, train
from iskit.training.probe import Choice


def workers(experiment: Experiment, laps: int = 3) -> pd.DataFrame:
    """One row a way to train as many runs as there are cores, in turns, by worker processes that are warm.

    images_per_second: examples trained over the time from the first task to the last answer, evaluation and the
    writing of results included, the median of `laps`; times_one: against one worker of one thread.
    """
    many = max(2, cores())
    ways = [(1, 1), (many, 1), (1, many)]
    studies = [replace(experiment, study=f"way{number}", precision="float32") for number in range(len(ways))]
    speeds: list[list[float]] = [[] for _ in ways]
    folder = Path(tempfile.mkdtemp(prefix="iskit-"))
    try:
        for one, (_, threads) in zip(studies, ways, strict=True):
            choice = Choice(threads, one.precision)
            decided(one, folder / one.study, lambda choice=choice: choice)  # type: ignore[misc]
        with Pool(train, [{"ISKIT_ROOT": str(files.root())}] * many) as pool:
            for lap in range(-1, laps):
                for number, (at_once, threads) in enumerate(ways):
                    runs = [replace(studies[number], seed=1 + many * (lap + 1) + place) for place in range(many)]
                    speed = _speed(pool, [Task(0, run, folder, threads) for run in runs], at_once)
                    if lap >= 0:  # the first imports, makes tables and caches
                        speeds[number].append(speed)
    finally:
        shutil.rmtree(folder)
    frame = pd.DataFrame(ways, columns=["workers", "threads"])
    frame["images_per_second"] = [median(each) for each in speeds]
    frame["times_one"] = frame["images_per_second"] / frame["images_per_second"][0]
    return frame.assign(runs=many, dataset=experiment.dataset, model=experiment.model)


def _speed(pool: Pool, tasks: list[Task], at_once: int) -> float:
    while len(pool.idle) < at_once:
        pool.fill(len(pool.environments))
        pool.hear(0.1)
    waiting = list(tasks)
    start = time.perf_counter()
    while waiting or pool.busy:
        while waiting and len(pool.busy) < at_once:
            pool.give(waiting.pop())
        for task, word in pool.hear(0.1):
            if isinstance(word, Died) or (isinstance(word, Answer) and word.what != "finished"):
                raise RuntimeError(f"{task.experiment.model}: {word}")
    took = time.perf_counter() - start
    return sum(Run(task.experiment, task.outputs).result["passes"]["backward"] for task in tasks) / took
