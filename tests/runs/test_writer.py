"""Of several processes that take a run for theirs one writes: where locks are pretended too, and where one froze."""

import errno
import fcntl
import os
import shutil
import socket
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from frozen import LOCKS, Frozen
from run_folders import same

from iskit import files
from iskit.runs import folder, writer
from iskit.runs.experiment import Experiment
from iskit.runs.folder import Busy, held, status_of
from iskit.runs.run import Run
from iskit.runs.writer import SILENCE, Overtaken, Writer, silence
from iskit.study.sweep import Sweep

TINY = {"dataset": "digits(limit=100)", "model": "cnn(width=4)", "epochs": 2, "evals": 2, "budget": 0.9}


def contents(path: Path) -> dict:
    """Of all files of a folder, and when each was written; the lock's is nobody's word."""
    found = {one.name: one for one in path.iterdir() if one.name != "run.lock"}
    return {name: (one.read_bytes(), one.stat().st_mtime_ns) for name, one in found.items()}


def age(path: Path, seconds: float = 10 * SILENCE) -> None:
    about = (path / "status.json").stat()
    os.utime(path / "status.json", (about.st_atime, about.st_mtime - seconds))


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> Run:
    run = Run(Experiment(**TINY), tmp_path_factory.mktemp("alone"))
    run.train()
    return run


@pytest.fixture
def freeze(alone, tmp_path):
    """`freeze(name, locks)` -> a process that trains TINY in tmp_path, frozen as that file is to take its place."""
    begun = []
    shutil.copytree(alone.path.parent, tmp_path / alone.path.parent.name, ignore=lambda *_: [alone.path.name])

    def freeze(name: str, locks: str) -> Frozen:
        begun.append(Frozen(TINY, tmp_path, locks, name))
        return begun[-1]

    yield freeze
    for one in begun:
        one.end()


# What it was about to write over: its own word, what it saved, what it learnt, what makes the run finished. amid: it
# wakes up while the other trains; else when that has ended.
FROZEN = [("status.json", True), ("checkpoint.pt", True), ("history.parquet", True), ("history.parquet", False)]
FROZEN += [("result.json", True), ("result.json", False)]
QUICK = [("true", "checkpoint.pt", True), ("none", "checkpoint.pt", True), ("none", "history.parquet", False)]
QUICK += [("granted to all", "result.json", True), ("granted to all", "status.json", True)]
REST = [(locks, *how) for locks in LOCKS for how in FROZEN if (locks, *how) not in QUICK]


@pytest.mark.engines
@pytest.mark.parametrize(
    ("locks", "name", "amid"), [*QUICK, *(pytest.param(*case, marks=pytest.mark.soak) for case in REST)]
)
def test_a_frozen_writer_that_wakes_up_overwrites_nothing(name, amid, locks, alone, freeze, tmp_path, monkeypatch):
    monkeypatch.setattr(fcntl, "flock", LOCKS[locks])
    monkeypatch.setattr(folder, "GRACE", 0.01)
    frozen = freeze(name, locks)
    run = Run(Experiment(**TINY), tmp_path, take_over=True)
    age(run.path)
    steps = iter(run)
    next(steps)
    said = ""
    if amid:
        before = contents(run.path)
        said = frozen.thaw()
        assert contents(run.path) == before
    for _ in steps:
        pass
    before = contents(run.path)
    said = said or frozen.thaw()
    assert "was taken over by process" in said
    assert contents(run.path) == before
    assert not list(run.path.glob(".*.tmp"))
    assert status_of(run.path)["state"] == "finished"
    same(alone, run)


@pytest.mark.engines
@pytest.mark.parametrize("locks", ["true", "none"])
def test_a_silent_holder_is_told_and_taken_over_by_command_alone(locks, freeze, tmp_path, monkeypatch):
    monkeypatch.setattr(fcntl, "flock", LOCKS[locks])
    monkeypatch.setattr(folder, "GRACE", 0.01)
    frozen = freeze("checkpoint.pt", locks)
    by = f"process {frozen.process.pid} of {socket.gethostname()}"
    one, over = Run(Experiment(**TINY), tmp_path), Run(Experiment(**TINY), tmp_path, take_over=True)
    with pytest.raises(Busy, match=rf"another process \({by}\): wait for it"):
        over.train()  # it gave a sign of life just now
    assert "error" not in one.status
    age(one.path)
    assert one.status["state"] == "running"
    assert "silent for 10 min" in one.status["error"]
    with pytest.raises(Busy, match=rf"\({by}\), silent for 10 min: .*`iskit sweep --take-over` goes on"):
        one.train()
    many = Sweep([one.experiment], workers=1, outputs=tmp_path)
    with pytest.warns(UserWarning, match="silent for 10 min"):
        assert list(many._give([0], SimpleNamespace(idle=[None], busy=[]), 1)) == []


def test_of_two_that_claim_a_run_the_last_is_its_writer(tmp_path):
    first, second = Writer(tmp_path), Writer(tmp_path)
    first.claim("running")
    first.write("counts.npy", lambda path: path.write_text("first"))
    second.claim("running")
    for write in (
        lambda: first.say("failed"),
        lambda: first.write("counts.npy", Path.touch),
        lambda: first.publish({}),
    ):
        with pytest.raises(Overtaken, match="was taken over by process"):
            write()
    assert (tmp_path / "counts.npy").read_text() == "first"
    second.publish({"by": 2})
    second.say("finished")
    assert files.read_json(tmp_path / "result.json") == {"by": 2}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["counts.npy", "result.json", "status.json"]


def test_one_result_is_written_whoever_believes_to_be_the_writer(tmp_path, monkeypatch):
    first, second = Writer(tmp_path), Writer(tmp_path)
    first.claim("running")
    second.claim("running")
    monkeypatch.setattr(Writer, "check", lambda self: None)  # as where another machine's word is not yet seen
    first.publish({"by": 1})
    with pytest.raises(Overtaken, match="written by another process"):
        second.publish({"by": 2})
    assert files.read_json(tmp_path / "result.json") == {"by": 1}


def test_a_file_that_the_overtaken_removed_is_written_again(tmp_path):
    """Of two that claim at once the earlier may remove what the later, who is the writer, has begun."""
    writer = Writer(tmp_path)
    writer.claim("running")

    def save(path):
        path.write_text("whole")
        saves.append(path)
        if len(saves) == 1:
            os.fsync(os.open(path, os.O_RDONLY))
            remove.append(path)

    saves, remove = [], []
    check = writer.check

    def sweeping():
        check()
        while remove:
            remove.pop().unlink()

    writer.check = sweeping
    writer.write("counts.npy", save)
    assert (tmp_path / "counts.npy").read_text() == "whole"
    assert len(saves) == 2


def test_a_run_of_another_machine_is_running_while_it_gives_signs_of_life(tmp_path):
    """Whether its lock is seen here or not; its process is unknown here in any case."""
    run = Run(Experiment(**TINY), tmp_path)
    run.path.mkdir(parents=True)
    far = {"state": "running", "host": "far", "process": 2**22 + 1, "began": 1, "t": 0.5, "saved": None}
    files.write_json(run.path / "status.json", far)
    assert run.status["state"] == "running"
    assert held(run.path)
    with pytest.raises(Busy, match=r"by another process \(process \d+ of far\): wait for it"):
        run.train()
    age(run.path)
    assert run.status["state"] == "killed"
    run.train()
    assert run.status["state"] == "finished"
    files.write_json(run.path / "status.json", {**far, "state": "stopped"})
    assert not held(run.path)


def test_signs_of_life_end_when_another_has_taken_over(tmp_path, monkeypatch):
    monkeypatch.setattr(writer, "BEAT", 0.001)
    one = Writer(tmp_path)
    one.claim("running")
    age(tmp_path)
    with one.beating():
        while silence(tmp_path) > SILENCE:
            pass
        Writer(tmp_path).claim("running")
        while one.overtaken is None:
            pass
        age(tmp_path)
        time.sleep(0.1)  # a hundred times that in which it would give the next
    assert silence(tmp_path) > SILENCE


def test_where_no_memory_is_left_for_signs_of_life_a_run_ends_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr("_thread.start_new_thread", lambda *_: 0)  # it begins, and is gone
    one = Writer(tmp_path)
    one.claim("running")
    with one.beating():
        one.say("running", t=0.5)
    assert one.overtaken is None


def test_a_file_system_without_second_names_still_takes_a_result(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    run = Run(Experiment(**TINY), tmp_path)
    run.train()
    assert run.status["state"] == "finished"
