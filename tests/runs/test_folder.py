"""What lies in a run's folder is what happened: states tell the truth, and what is damaged is named."""

import errno
import itertools
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import warnings
from contextlib import closing
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from run_folders import same

import iskit.runs.folder
from iskit import files
from iskit.cli import main
from iskit.errors import Diverged, InputError, Unsaved
from iskit.runs.experiment import Experiment
from iskit.runs.folder import Busy, status_of
from iskit.runs.run import Run
from iskit.runs.writer import Writer

TINY = {"dataset": "digits(limit=100)", "model": "cnn(width=4)", "epochs": 2, "evals": 2, "budget": 0.9}


@pytest.fixture(scope="module")
def before(tmp_path_factory) -> Path:
    """outputs/ with a finished run of seed 1 and a stopped one of seed 2."""
    outputs = tmp_path_factory.mktemp("before")
    Run(Experiment(**TINY), outputs).train()
    with closing(iter(Run(Experiment(**TINY, seed=2), outputs))) as steps:
        for _ in range(3):
            next(steps)
    return outputs


@pytest.fixture
def finished(before, tmp_path) -> Run:
    return Run(Experiment(**TINY), shutil.copytree(before, tmp_path / "outputs"))


@pytest.fixture
def stopped(before, tmp_path) -> Run:
    return Run(Experiment(**TINY, seed=2), shutil.copytree(before, tmp_path / "outputs"))


def state(run: Run) -> str:
    assert status_of(run.path) == run.status
    return run.status["state"]


def say(run: Run, **word) -> None:
    files.write_json(run.path / "status.json", word)


CONTENTS = {
    "missing": None,
    "empty": b"",
    "null": b"null",
    "a list": b"[1, 2]",
    "a number": b"3",
    "binary": bytes(range(256)),
    "deep": b"[" * 100_000,
}


def damage(path: Path, how: str) -> None:
    path.unlink()
    if how == "a folder":
        path.mkdir()
    elif CONTENTS[how] is not None:
        path.write_bytes(CONTENTS[how])


@pytest.mark.parametrize("how", CONTENTS)
@pytest.mark.parametrize("name", ["params.yaml", "status.json"])
def test_a_finished_run_is_mended_around_its_result(name, how, finished):
    good = (finished.path / "params.yaml").read_bytes()
    result = (finished.path / "result.json").read_bytes()
    damage(finished.path / name, how)
    assert state(finished) == "finished"
    assert list(finished) == []
    assert (finished.path / "params.yaml").read_bytes() == good
    assert files.read_json(finished.path / "status.json")["state"] == "finished"
    assert (finished.path / "result.json").read_bytes() == result


WRONG = ("lacks a key", "a text for a number", "data no mapping", "data lacks a key")


@pytest.mark.parametrize(
    ("name", "how"),
    [
        *itertools.product(("result.json", "history.parquet", "counts.npy"), CONTENTS),
        *itertools.product(("result.json",), WRONG),
    ],
)
def test_a_damaged_result_is_named_and_trained_anew(name, how, finished, before):
    path = finished.path / name
    good = files.read_json(finished.path / "result.json")
    wrong = {
        "lacks a key": {key: value for key, value in good.items() if key != "entropy"},
        "a text for a number": {**good, "accuracy": "high"},
        "data no mapping": {**good, "data": [1]},
        "data lacks a key": {**good, "data": {"source": "x"}},
    }
    if how in CONTENTS:
        damage(path, how)
    else:
        files.write_json(path, wrong[how])
    gone = (name, how) == ("result.json", "missing")
    assert not finished.finished
    assert state(finished) == ("killed" if gone else "damaged")
    if gone:
        finished.train()
    else:
        assert finished.status["error"] == name
        with pytest.warns(UserWarning, match=rf"{name} is damaged: the run starts anew"):
            finished.train()
    assert state(finished) == "finished"
    same(finished, Run(finished.experiment, before))


def test_of_a_damaged_run_no_old_result_vouches_for_what_is_new(finished):
    (finished.path / "history.parquet").write_bytes(b"")
    steps = iter(finished)
    with pytest.warns(UserWarning, match="history"):
        next(steps)
    assert not (finished.path / "result.json").exists()
    steps.close()
    assert state(finished) == "stopped"


@pytest.mark.parametrize("name", ["params.yaml", "status.json"])
@pytest.mark.parametrize("how", CONTENTS)
def test_a_stopped_run_goes_on_whatever_became_of_its_words(name, how, stopped, tmp_path):
    damage(stopped.path / name, how)
    assert state(stopped) == ("killed" if name == "status.json" else "stopped")
    with closing(iter(stopped)) as steps:
        next(steps)
        assert stopped.trainer.meter.steps == 4  # after the three that were saved


@pytest.mark.parametrize(
    "how", [*CONTENTS, "format", "choice", "data", "model", "sampler", "meter", "times", "a shape"]
)
def test_a_damaged_checkpoint_is_named_and_the_run_starts_anew(how, stopped, tmp_path):
    path = stopped.path / "checkpoint.pt"
    if how in CONTENTS:
        damage(path, how)
    else:
        saved = torch.load(path, weights_only=True)
        if how == "a shape":
            saved["model"] = {name: value[:1] for name, value in saved["model"].items() if value.ndim}
        else:
            del saved[how]
        torch.save(saved, path)
    if how == "missing":
        stopped.train()
    else:
        with pytest.warns(UserWarning, match=r"checkpoint\.pt is .*the run starts anew"):
            stopped.train()
    whole = Run(stopped.experiment, tmp_path / "whole")
    whole.train()
    same(stopped, whole)


@pytest.mark.parametrize("name", ["params.yaml", "status.json", "result.json", "history.parquet", "counts.npy"])
def test_a_folder_in_place_of_a_file_is_refused_and_stays(name, finished):
    damage(finished.path / name, "a folder")
    for ask in (finished.train, finished.check):
        with pytest.raises(InputError, match=rf"{name} is a folder where a file belongs"):
            ask()
    assert (finished.path / name).is_dir()


@pytest.mark.parametrize("place", ["playground", "a run"])
def test_outputs_that_cannot_be_are_one_line(place, tmp_path):
    run = Run(Experiment(**TINY), tmp_path)
    path = {"playground": run.path.parent, "a run": run.path}[place]
    path.parent.mkdir(exist_ok=True)
    path.write_text("a file")
    with pytest.raises(InputError, match=r"cannot be written \(.*\): free its disk"):
        run.train()


def test_killed_after_the_result_it_is_finished_and_mended(finished):
    say(finished, state="running", t=0.9)
    for name in (".status.json.12.tmp", "checkpoint.pt"):
        (finished.path / name).write_bytes(b"left")
    assert state(finished) == "finished"
    assert finished.status["t"] == 1.0
    assert list(finished) == []
    assert files.read_json(finished.path / "status.json")["state"] == "finished"
    assert not (finished.path / ".status.json.12.tmp").exists()
    assert not (finished.path / "checkpoint.pt").exists()


@pytest.mark.parametrize("name", ["result.json", "history.parquet", "counts.npy", "status.json"])
def test_a_process_out_of_files_takes_no_whole_run_for_a_damaged_one(name, finished, monkeypatch):
    def starved(self, *args, **kwargs):
        if self.name == name:
            raise OSError(errno.EMFILE, "Too many open files")
        return usual(self, *args, **kwargs)

    def read_text(self, **_):
        with starved(self, "rb") as file:
            return file.read().decode()

    def starved_schema(path):
        if path.name == name:
            raise OSError(errno.EMFILE, "Too many open files")
        return usual_schema(path)

    usual, usual_schema = Path.open, iskit.runs.folder.pq.read_schema
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", starved)
        patch.setattr(Path, "read_text", read_text)
        patch.setattr("iskit.runs.folder.pq.read_schema", starved_schema)
        with pytest.raises(OSError, match="Too many open files"):
            status_of(finished.path)
    assert state(finished) == "finished"


@pytest.mark.parametrize("error", [OSError(errno.EMFILE, "Too many open files"), MemoryError()])
def test_a_checkpoint_that_this_process_cannot_read_is_kept(error, stopped, monkeypatch):
    def load(*args, **kwargs):
        raise error

    before = (stopped.path / "checkpoint.pt").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(torch, "load", load)
        with pytest.raises((OSError, InputError), match=r"Too many open files|memory"):
            stopped.train()
    assert (stopped.path / "checkpoint.pt").read_bytes() == before


def test_running_is_who_holds_the_lock(stopped, tmp_path):
    assert state(stopped) == "stopped"
    say(stopped, state="running", t=0.5, saved=0.4)
    assert state(stopped) == "killed"
    assert stopped.status["saved"] == 0.4
    with FileLock(stopped.path / "run.lock"):
        assert state(stopped) == "running"
    assert state(Run(Experiment(**TINY, seed=3), tmp_path)) == "new"
    assert not Run(Experiment(**TINY, seed=3), tmp_path).path.exists()  # to look leaves nothing


def test_another_process_that_looks_disturbs_nobody(stopped):
    """Whoever looks holds the lock for a moment; the next who wants to train waits for that long."""
    context = multiprocessing.get_context("fork")
    ready = context.Event()

    def look():
        with FileLock(stopped.path / "run.lock"):
            ready.set()
            signal.sigtimedwait([], 0.2)
        os._exit(0)

    looking = context.Process(target=look)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a fork with threads: it does nothing but wait
        looking.start()
    ready.wait(10)
    stopped.train()
    looking.join()
    assert state(stopped) == "finished"
    assert issubclass(Busy, InputError)


def test_a_divergence_is_known_as_one(tmp_path):
    run = Run(Experiment(**{**TINY, "lr": 1e30, "momentum": 0.0}), tmp_path)
    with pytest.raises(Diverged):
        run.train()
    assert state(run) == "failed"
    assert run.status["diverged"] is True
    assert run.status["saved"] is None


def full(monkeypatch, *names: str) -> None:
    """From now on files of these names do not fit on the disk."""
    write = files.write

    def refuse(path, save, *how):
        if path.name in names:
            raise OSError(28, "No space left on device")
        write(path, save, *how)

    monkeypatch.setattr(files, "write", refuse)


@pytest.mark.parametrize("names", [("checkpoint.pt",), ("checkpoint.pt", "status.json")])
def test_a_full_disk_when_stopping_is_told_with_what_is_kept(names, stopped, tmp_path, monkeypatch):
    fresh = Run(Experiment(**TINY, seed=4), tmp_path)
    for run, kept in ((stopped, r"saved is t=0\.\d+, .* goes on from there"), (fresh, "nothing of it is saved")):
        steps = iter(run)
        next(steps)
        with monkeypatch.context() as patch:
            full(patch, *names)
            with pytest.raises(Unsaved, match=rf"cannot be written \(No space left on device\).*: .*{kept}"):
                steps.close()
        assert state(run) == ("killed" if "status.json" in names else "failed")
        run.train()


@pytest.mark.parametrize("name", ["result.json", "history.parquet", "params.yaml"])
def test_a_full_disk_at_any_write_is_told(name, stopped, monkeypatch):
    with monkeypatch.context() as patch:
        full(patch, name)
        with pytest.raises(Unsaved, match="goes on from there"):
            stopped.train()
    assert state(stopped) == "failed"
    stopped.train()
    assert state(stopped) == "finished"


def test_a_full_disk_after_the_result_is_nothing(stopped, monkeypatch):
    with monkeypatch.context() as patch:
        write = Writer.say

        def last(self, word, **more):
            if word == "finished":
                raise OSError(28, "No space left on device")
            write(self, word, **more)

        patch.setattr(Writer, "say", last)
        assert stopped.train()["steps"] > 3
    assert state(stopped) == "finished"


COMMAND = """
import os, resource, signal
from contextlib import closing
from iskit.runs.run import Run
from iskit.cli import main
class Slow(Run):
    def __iter__(self):
        with closing(super().__iter__()) as steps:
            for number, t in enumerate(steps):
                if number == {at}:
                    {then}
                    os.kill(os.getpid(), signal.SIGTERM)
                yield t
import iskit.runs.run
iskit.runs.run.Run = Slow
main()
"""


@pytest.mark.engines
@pytest.mark.parametrize(
    ("at", "then", "code", "said"),
    [
        (3, "pass", 143, "stopped at t="),
        (3, "resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))", 1, "nothing of it is saved"),
        ("LAST", "pass", 0, "accuracy"),
    ],
)
def test_the_command_tells_the_truth_about_a_signal(at, then, code, said, finished, tmp_path):
    if at == "LAST":
        at = finished.result["steps"] - 1
    words = [f"{key}={value}" for key, value in {**TINY, "study": "signal"}.items()]
    done = subprocess.run(
        [sys.executable, "-c", COMMAND.format(at=at, then=then), "run", *words],
        env={**os.environ, "ISKIT_ROOT": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == code, done.stderr
    assert said in done.stdout + done.stderr
    assert ("goes on from here" in done.stdout) == (code == 143)
    assert "Traceback" not in done.stderr
    [status] = [status_of(path) for path in tmp_path.glob("outputs/signal/*/")]
    assert status["state"] == {143: "stopped", 1: "failed", 0: "finished"}[code]


def test_damage_on_the_command_line_is_one_line(finished, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("ISKIT_ROOT", str(tmp_path))
    (finished.path / "result.json").write_text(json.dumps({"accuracy": 1}))
    monkeypatch.setattr(sys, "argv", ["iskit", "run", *(f"{key}={value}" for key, value in TINY.items())])
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        # The format, not the channel: pytest keeps warnings from stderr.
        with warnings.catch_warnings(record=True) as told, pytest.raises(SystemExit) as end:
            main()
    assert not end.value.code
    [one] = told
    line = warnings.formatwarning(one.message, one.category, one.filename, one.lineno)
    assert line == f"iskit: {finished.path / 'result.json'} is damaged: the run starts anew\n"


@pytest.mark.parametrize("moment", ["claim", "write", "beating"])
def test_an_interrupt_before_the_first_step_is_told_as_a_stop(moment, tmp_path, monkeypatch):
    run = Run(Experiment(**TINY), tmp_path)
    whole = getattr(Writer, moment)

    def interrupted(self, *arguments, **more):
        monkeypatch.setattr(Writer, moment, whole)
        if moment != "beating":
            whole(self, *arguments, **more)
        raise KeyboardInterrupt

    monkeypatch.setattr(Writer, moment, interrupted)
    with pytest.raises(KeyboardInterrupt):
        run.train()
    assert run.status["state"] == "stopped"
    run.train()
    assert run.status["state"] == "finished"
