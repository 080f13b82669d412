"""The worker pools of this kernel: kept warm between trainings, ended with the process; and training without hands."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from iskit.runs.experiment import Experiment
from iskit.runs.run import Run
from iskit.study.local import Pool
from iskit.study.sweep import Sweep, warm_pool

free: list[Pool] = []  # that nobody uses just now


@contextmanager
def borrowed() -> Iterator[Pool]:
    """A pool of worker processes that are warm, if one is free."""
    try:
        pool = free.pop()
    except IndexError:
        pool = warm_pool()
    try:
        yield pool
    finally:
        free.append(pool)


def ready(pool: Pool) -> bool:
    """Whether one of its workers could begin at once."""
    pool.hear(0)  # of workers that have started meanwhile
    return bool(pool.idle)


def in_batch(experiments: Sequence[Experiment]) -> None:
    """Trains them here and now, with a line of news now and then. RuntimeError if one fails: nobody sees it, so the
    notebook must not go on as if all were well."""
    started, finished, said = time.monotonic(), 0, 0.0
    if len(experiments) == 1:  # no need for a process of its own
        Run(experiments[0]).train()
        finished = 1
    else:
        with borrowed() as pool:
            pool.fill(len(experiments))  # workers start while the sweep looks at what is to be done
            sweep = Sweep(experiments, pool=pool)
            for news in sweep:
                finished += news.finished
                if time.monotonic() - said > 5:
                    took = time.monotonic() - started
                    print(f"{finished} of {len(experiments)} runs, {took:.0f} s", flush=True)
                    said = time.monotonic()
        if sweep.failed:
            reasons = "; ".join(sorted(set(sweep.failed.values())))
            raise RuntimeError(f"{len(sweep.failed)} of {len(experiments)} runs failed: {reasons}")
    print(f"{finished} of {len(experiments)} runs trained or found in {time.monotonic() - started:.0f} s")
