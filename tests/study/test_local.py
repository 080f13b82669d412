"""Worker processes: what is said arrives in order, a death is news, stop stops one task only, none is left behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pool_work import gone, obey

from iskit.study.local import Answer, Died, News, Pool

pytestmark = pytest.mark.engines  # worker processes


def hear(pool: Pool, count: int) -> list:
    """The next `count` words, and the tasks they are about."""
    heard: list = []
    deadline = time.monotonic() + 60
    while len(heard) < count and time.monotonic() < deadline:
        heard += pool.hear(1.0)
    assert len(heard) == count
    return heard


def until_idle(pool: Pool, count: int = 1) -> None:
    pool.fill(count)
    deadline = time.monotonic() + 60
    while len(pool.idle) < count and time.monotonic() < deadline:
        assert pool.hear(1.0) == []


@pytest.fixture
def pool():
    with Pool(obey, [{"MINE": "0"}, {"MINE": "1"}]) as pool:
        yield pool


def test_each_in_its_environment_and_the_news_in_order(pool):
    until_idle(pool, 2)
    for _ in range(2):
        pool.give(("variable", "MINE"))
    assert sorted(word.what for _, word in hear(pool, 2)) == ["0", "1"]
    for value in range(5):
        pool.give(("echo", value))
        assert hear(pool, 2) == [
            (("echo", value), News(("heard", value))),
            (("echo", value), Answer(value)),
        ]


def test_no_more_processes_than_tasks(pool):
    until_idle(pool, 1)
    pool.fill(1)
    assert len(pool.workers) == 1
    pool.give(("wait", None))
    pool.fill(5)
    assert len(pool.workers) == 2


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSEGV])
def test_a_death_is_news_after_the_last_word_and_the_others_go_on(how, pool):
    until_idle(pool, 2)
    pool.give(("wait", None))
    hear(pool, 1)
    pool.give(("die", how))
    task = ("die", how)
    assert hear(pool, 2) == [(task, News("last word")), (task, Died(-how))]
    assert len(pool.busy) == 1
    until_idle(pool, 1)  # another takes its place
    pool.give(("echo", 1))
    hear(pool, 2)
    pool.stop()
    assert hear(pool, 1) == [(("wait", None), Answer("stopped"))]


def test_one_killed_while_idle_is_replaced(pool):
    until_idle(pool, 1)
    [worker] = pool.workers
    os.kill(worker.process.pid, signal.SIGKILL)
    worker.process.join()
    pool.give(("echo", 1))  # nobody knows yet
    assert hear(pool, 1) == [(("echo", 1), Died(-9))]
    until_idle(pool, 1)


def test_stop_is_for_the_task_at_hand_and_the_process_stays_warm(pool):
    until_idle(pool, 1)
    pool.give(("process", None))
    [(_, first)] = hear(pool, 1)
    pool.stop()  # of nothing: too late for the last task, too early for the next
    for _ in range(2):
        pool.give(("wait", None))
        assert hear(pool, 1) == [(("wait", None), News("waiting"))]
        assert pool.hear(0.2) == []  # it waits still
        pool.stop()
        hear(pool, 1)
    pool.give(("process", None))
    assert hear(pool, 1) == [(("process", None), first)]


def test_processes_that_still_start_are_ended_at_once_when_it_closes(pool):
    pool.fill(2)
    processes = [worker.process.pid for worker in pool.workers]
    pool.stop()  # of tasks alone: they go on starting, for the next sweep
    assert not any(map(gone, processes))
    pool.close()
    assert pool.workers == []
    assert all(map(gone, processes))


def test_who_borrows_a_pool_leaves_no_task_behind_and_the_processes_stay(pool):
    until_idle(pool, 1)
    [worker] = pool.workers
    with pool.lent() as lent:
        lent.give(("wait", None))
        hear(lent, 1)
    assert pool.idle == [worker]
    with pool.lent() as lent:
        lent.give(("echo", 1))
        assert hear(lent, 2)[-1] == (("echo", 1), Answer(1))


def test_what_cannot_look_at_stop_is_broken_by_it_and_what_comes_later_is_not(pool):
    until_idle(pool, 1)
    for _ in range(2):
        pool.give(("sleep", 60))
        assert hear(pool, 1) == [(("sleep", 60), News("asleep"))]
        os.kill(pool.workers[0].process.pid, signal.SIGINT)  # Ctrl-C by hand reaches workers too, and is not for them
        assert pool.hear(0.2) == []
        pool.stop()
        assert hear(pool, 1) == [(("sleep", 60), Answer("broken"))]
    pool.give(("sleep", 0))
    assert hear(pool, 2)[-1] == (("sleep", 0), Answer("slept"))
    pool.give(("wait", None))
    hear(pool, 1)
    pool.stop()
    assert hear(pool, 1) == [(("wait", None), Answer("stopped"))]


def test_sigterm_ends_a_worker_after_its_task_was_told_to_stop(pool):
    until_idle(pool, 1)
    pool.give(("wait", None))
    hear(pool, 1)
    [worker] = pool.workers
    os.kill(worker.process.pid, signal.SIGTERM)
    assert hear(pool, 1) == [(("wait", None), Answer("stopped"))]
    worker.process.join(30)
    assert worker.process.exitcode == 0


def test_processes_that_never_start_are_told(monkeypatch):
    monkeypatch.setenv("POOL_TEST_DIES", "1")
    with Pool(obey, [{}, {}]) as pool, pytest.raises(RuntimeError, match=r"end as they start \(exit code -9\)"):
        until_idle(pool, 2)


PARENT = """
import sys, time
from pool_work import gone, obey
from iskit.study.local import Pool
if __name__ == "__main__":
    pool = Pool(obey, [{}, {}])
    pool.fill(2)
    while len(pool.idle) < 2: pool.hear(1.0)
    pool.give(("note", sys.argv[1]))
    while not pool.hear(1.0): pass
    print(*(worker.process.pid for worker in pool.workers), flush=True)
    if sys.argv[2] == "killed": time.sleep(60)
"""


@pytest.mark.parametrize("how", ["killed", "ends"])
def test_workers_end_with_their_parent_when_they_have_saved(how, tmp_path):
    (tmp_path / "parent.py").write_text(PARENT)
    path = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]
    parent = subprocess.Popen(
        [sys.executable, str(tmp_path / "parent.py"), str(tmp_path / "note"), how],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path)},
    )
    workers = [int(word) for word in parent.stdout.readline().split()]
    if how == "killed":
        parent.kill()
    assert parent.wait(60) == (-9 if how == "killed" else 0)
    parent.stdout.close()
    deadline = time.monotonic() + 60
    while not all(map(gone, workers)) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(workers) == 2
    assert all(map(gone, workers))
    assert (tmp_path / "note").read_text() == "saved"
