"""The worker pools of this kernel: kept warm between trainings, ended with the process."""

from collections.abc import Iterator
from contextlib import contextmanager

from iskit.study.local import Pool
from iskit.study.sweep import warm_pool

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
