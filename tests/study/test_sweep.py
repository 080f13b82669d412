"""Many runs: one that fails or dies stops no other, none is trained twice, whoever else trains them; news are true."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from run_folders import same

import iskit
from iskit.errors import InputError
from iskit.runs import machine
from iskit.runs.experiment import Experiment
from iskit.runs.folder import status_of
from iskit.runs.grid import grid
from iskit.runs.run import Run
from iskit.study import sweep
from iskit.study.local import Pool
from iskit.study.sweep import Sweep, environments, seed_ranks, train
from iskit.training.probe import Choice

pytestmark = pytest.mark.engines  # worker processes

TINY = {"dataset": "digits(limit=200)", "model": "cnn(width=4)", "epochs": 4, "evals": 4}
LONG = {**TINY, "epochs": 300, "evals": 20}


def test_one_that_diverges_stops_no_other_and_is_not_tried_again(warm_workers, tmp_path):
    experiments = grid({**TINY, "lr": [0.1, 1e30, 0.05], "momentum": 0.0})
    for _ in range(2):
        many = Sweep(experiments, workers=1, outputs=tmp_path)
        news = list(many)
        assert [one.number for one in news if one.finished] == [0, 2]
        assert [one.number for one in news if one.error] == [1]
        assert list(many.failed) == [1]
        assert "not a finite number at step" in many.failed[1]
        assert not many.stopped
        status = (many.folder(1) / "status.json").stat().st_mtime_ns
    assert status == (many.folder(1) / "status.json").stat().st_mtime_ns
    assert "remove its folder" in many.failed[1]
    assert status_of(many.folder(1))["state"] == "failed"


@pytest.mark.parametrize(("retries", "failed"), [(1, []), (0, [0])])
def test_a_killed_worker_costs_one_try(warm_workers, retries, failed, tmp_path):
    experiments = grid({**LONG, "seeds": 2})
    many = Sweep(experiments, workers=1, outputs=tmp_path / "many", retries=retries)
    finished = []
    killed = False
    others = set(multiprocessing.active_children())  # of tests before
    for news in many:
        if not killed:
            [worker] = set(multiprocessing.active_children()) - others
            worker.kill()
            killed = True
        if news.finished:
            finished.append(news.number)
    assert list(many.failed) == failed
    assert sorted(finished + failed) == [0, 1]
    if failed:
        assert many.failed[0] == "its process was killed (exit code -9)"
        assert status_of(many.folder(0))["state"] == "killed"
    else:
        alone = Run(experiments[0], tmp_path / "alone")
        alone.train()
        same(alone, Run(experiments[0], tmp_path / "many"))


def test_an_error_nobody_foresaw_is_logged_and_may_be_tried_again(tmp_path, monkeypatch):
    def fail(*_):
        raise ValueError("no such thing\nand more")

    monkeypatch.setattr(sweep.Run, "bind", fail)
    task = sweep.Task(0, Experiment(**TINY), tmp_path, 1)
    path = Run(task.experiment, tmp_path).path
    path.mkdir(parents=True)
    answer = sweep.train(task, print, threading.Event())
    assert answer == sweep.Failure("ValueError: no such thing (see error.log in its folder)", again=True)
    assert "in fail" in (path / "error.log").read_text()


def test_news_are_the_evaluations(warm_workers, tmp_path):
    experiments = grid({**TINY, "seeds": 2, "evals": 4})
    heard: dict[int, list] = {0: [], 1: []}
    last = {}
    for news in Sweep(experiments, workers=1, outputs=tmp_path):
        if news.finished:
            last[news.number] = news.accuracy
        else:
            heard[news.number].append((news.t, news.accuracy))
    for number, experiment in enumerate(experiments):
        run = Run(experiment, tmp_path)
        past = iskit.history_of(run.path)
        assert past["accuracy"].nunique() > 1  # else the first for ever would do
        evaluated = [(t, accuracy) for t, accuracy in heard[number] if accuracy is not None]
        assert evaluated == list(zip(past["t"], past["accuracy"], strict=True))
        assert last[number] == run.result["accuracy"]
        assert heard[number][0][0] < past["t"].iloc[0]  # it tells of its first step, not of its first evaluation


def test_sweeps_share_a_pool_and_each_has_a_stop_of_its_own(warm_workers, tmp_path):
    with Pool(train, [{}, {}]) as pool:
        pids = set()
        for seeds, stops in ((1, False), (3, True), (3, False)):
            many = Sweep(grid({**LONG, "seeds": seeds}), workers=1, outputs=tmp_path, pool=pool)
            for _ in many:
                assert len(pool.busy) <= 1  # the sweep's own workers=
                pids |= {worker.process.pid for worker in pool.workers}
                if stops:
                    many.stop()
            assert len(pool.idle) == len(pool.workers) == 1
            assert many.stopped is stops
        assert len(pids) == 1
    assert all(Run(one, tmp_path).finished for one in grid({**LONG, "seeds": 3}))


def test_a_stop_breaks_off_what_comes_before_the_first_step(warm_workers, tmp_path):
    """A proxy run of hours must not keep Stop waiting, and the worker is ready for other work."""
    [slow] = grid({**TINY, "sampler": "subset(by='forgetting', proxy_epochs=100000)"})
    with Pool(train, [{}]) as pool:
        many = Sweep([slow], outputs=tmp_path, pool=pool)

        def stop() -> None:
            while status_of(many.folder(0))["state"] != "running":  # its folder is made: it prepares
                time.sleep(0.01)
            many.stop()

        threading.Thread(target=stop).start()
        assert list(many) == []
        assert status_of(many.folder(0))["state"] == "stopped"
        assert [one.finished for one in Sweep(grid(TINY), outputs=tmp_path, pool=pool)][-1]


def test_the_first_seed_of_everything_comes_first(warm_workers, tmp_path):
    experiments = grid({**TINY, "sampler": ["unif", "p"], "budget": [0.3, 0.5], "seed": [7, 3]})
    assert [seed_ranks(experiments)[n] for n, e in enumerate(experiments) if e.seed == 7] == [0] * 4
    order = [news.number for news in Sweep(experiments, workers=1, outputs=tmp_path) if news.finished]
    assert [experiments[number].seed for number in order] == [7] * 4 + [3] * 4


def test_a_run_that_another_trains_is_waited_for_and_found(warm_workers, tmp_path):
    experiments = grid({**TINY, "seeds": 3})
    others = Run(experiments[0], tmp_path)
    others.path.mkdir(parents=True)
    lock = FileLock(others.path / "run.lock")
    lock.acquire()
    order = []
    for news in Sweep(experiments, workers=1, outputs=tmp_path):
        if news.finished:
            order.append(news.number)
        if len(order) == 2 and lock.is_locked:
            lock.release()
            others.train()
    assert order == [1, 2, 0]


def test_two_sweeps_at_once_share_the_work(tmp_path):
    experiments = grid({**TINY, "epochs": 20, "seeds": 6})
    one, other = (iter(Sweep(experiments, workers=1, outputs=tmp_path)) for _ in range(2))
    finished: dict[int, list[int]] = {0: [], 1: []}
    trained: dict[int, set[int]] = {0: set(), 1: set()}
    running = {0: one, 1: other}
    while running:
        for name, many in list(running.items()):
            news = next(many, None)
            if news is None:
                del running[name]
            elif news.finished:
                finished[name].append(news.number)
            else:
                trained[name].add(news.number)
    assert sorted(finished[0]) == sorted(finished[1]) == list(range(6))
    assert not trained[0] & trained[1]
    assert trained[0] | trained[1] == set(range(6))


SCRIPT = """
import sys
from pathlib import Path
from iskit.runs.grid import grid
from iskit.study.sweep import Sweep
if __name__ == "__main__":
    for news in Sweep(grid({settings!r}), workers=2, outputs=Path({outputs!r})):
        print(news.number, news.finished, flush=True)
"""


@pytest.mark.parametrize("finished", [pytest.param(0, marks=pytest.mark.soak), 2])
def test_a_killed_sweep_goes_on_and_repeats_nothing(warm_workers, finished, tmp_path):
    settings = {**LONG, "epochs": 60, "seeds": 4, "study": "killed"}
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(settings=settings, outputs=str(tmp_path)))
    process = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    for line in process.stdout:
        finished -= line.split()[1] == "True"
        if finished <= 0:
            break
    process.kill()
    process.wait()
    process.stdout.close()
    experiments = grid(settings)
    done = {n: Run(e, tmp_path).path for n, e in enumerate(experiments) if Run(e, tmp_path).finished}
    before = {n: (path / "result.json").stat().st_mtime_ns for n, path in done.items()}
    many = Sweep(experiments, workers=2, outputs=tmp_path)  # while the last one's workers still save
    assert sorted(news.number for news in many if news.finished) == [0, 1, 2, 3]
    assert many.failed == {}
    for number, path in done.items():
        assert (path / "result.json").stat().st_mtime_ns == before[number]
    alone = Run(experiments[-1], tmp_path / "alone")
    alone.train()
    same(alone, Run(experiments[-1], tmp_path))


def test_the_command_ends_cleanly_on_ctrl_c_and_tells_what_failed(tmp_path):
    words = [*(f"{key}={value}" for key, value in LONG.items()), "study=s", "seeds=3", "--workers", "2"]
    command = [sys.executable, "-c", "from iskit.cli import main; main()", "sweep"]
    options = {"env": {**os.environ, "ISKIT_ROOT": str(tmp_path)}, "text": True, "start_new_session": True}
    process = subprocess.Popen([*command, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("outputs/s/*/status.json")) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of them
    out, err = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGINT, err
    assert "of 3 runs done; the same command goes on from here" in out
    states = [status_of(path.parent)["state"] for path in tmp_path.glob("outputs/s/*/status.json")]
    assert set(states) <= {"stopped", "finished"}
    assert "Traceback" not in err
    short = [*(f"{key}={value}" for key, value in TINY.items()), "study=f", "lr=[1e30, 0.1]", "momentum=0"]
    done = subprocess.run([*command, *short], capture_output=True, **options)
    assert done.returncode == 1
    assert "1 of 2 runs failed:" in done.stdout
    assert "not a finite number" in done.stdout
    looked = subprocess.run([*command, *short, "seeds=2", "--dry-run"], capture_output=True, **options)
    assert looked.returncode == 0
    assert "4 runs: 1 diverged, 2 new, 1 finished; 2 to do" in looked.stdout


def test_retries_are_checked():
    with pytest.raises(InputError, match="retries=-1 must be at least 0"):
        Sweep([], retries=-1)


@pytest.fixture
def probed(monkeypatch):
    """What a measurement finds: eight threads, on a machine of eight cores; gives the list of what was measured."""
    asked = []

    def choose(experiment, model, data):
        asked.append(experiment.model)
        return Choice(8, "float32")

    monkeypatch.setattr(sweep, "choose", choose)
    for module in (sweep, machine):
        monkeypatch.setattr(module, "cores", lambda: 8)
    return asked


@pytest.mark.parametrize(
    ("runs", "workers", "threads", "processes"),
    [(16, None, 1, 8), (8, None, 1, 8), (3, None, 2, 4), (1, None, 8, 1), (16, 2, 4, 2), (16, 1, 8, 1)],
)
def test_one_thread_a_run_when_there_is_a_run_a_core(runs, workers, threads, processes, probed, tmp_path):
    experiments = grid({**TINY, "seeds": runs})
    assert len(environments(experiments, workers, tmp_path)) == processes
    kept = json.loads((tmp_path / "playground" / "machine.json").read_text())
    assert [choice["threads"] for choice in kept.values()] == [threads]
    assert len(probed) == 1


def test_what_a_study_decided_holds_for_every_later_start(probed, tmp_path):
    experiments = grid({**TINY, "seeds": 16})
    environments(experiments, None, tmp_path)
    probed.clear()
    assert len(environments(experiments[:1], None, tmp_path)) == 8  # not eight threads for the one that is left
    assert probed == []


def test_a_worker_for_each_gpu(monkeypatch, tmp_path):
    class Parts:
        device = torch.device("cuda")

    monkeypatch.setattr(sweep, "parts", lambda experiment: Parts)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def places(workers):
        return [place["CUDA_VISIBLE_DEVICES"] for place in environments([Experiment()], workers, tmp_path)]

    assert places(None) == ["0", "1"]
    assert places(3) == ["0", "1", "0"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,GPU-ab")
    assert places(None) == ["5", "GPU-ab"]
    assert places(1) == ["5"]
    assert not list(Path(tmp_path).iterdir())
