"""Nothing loses a run: killed at random moments, stopped, damaged, started twice, it ends the same, bit for bit.

What is killed are forks of one warm process, so that 25 kills do not cost 25 starts of the interpreter.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from run_folders import same

from iskit.errors import InputError
from iskit.runs.experiment import Experiment
from iskit.runs.run import Run

TINY = {"dataset": "digits(limit=200)", "model": "cnn(width=4)", "epochs": 12, "evals": 6, "budget": 0.5}
SETTINGS = {
    "p": {"sampler": "p", "augment": "standard|mixup"},
    "selective_backprop": {"sampler": "selective_backprop(beta=1, history=64)", "augment": "standard|ricap"},
    "gnorm": {"sampler": "gnorm(presample=2, tau_min=1.0)", "augment": "randaugment|standard"},
    "ordered": {"sampler": "ordered(ladder=(10, 20, 30))", "augment": "standard", "keep_model": 3},
    "subset": {"sampler": "subset(by='forgetting', proxy_epochs=2)", "augment": "standard|cutmix"},
    "adam": {"sampler": "unif", "optimizer": "adam", "model": "mlp(width=16, dropout=0.2)"},
}
KILLS = 5  # of each, at random moments

# Reads one job a line, forks a child that trains it, and says how the child ended. Checkpoints after every step (every
# 0 s), and slow steps: a kill may come at any of them, also while one is written.
SERVER = """
import json, os, sys, time
from pathlib import Path
import torch
torch.set_num_threads(1)
from iskit.runs.experiment import Experiment
from iskit.runs.run import Run
Run(Experiment(dataset="digits(limit=200)")).bind(torch.device("cpu"))  # imports what there is to import
for line in sys.stdin:
    job = json.loads(line)
    child = os.fork()
    if child == 0:
        run = Run(Experiment.parse(job["settings"]), Path(job["outputs"]), checkpoint_seconds=job["every"])
        for t in run:
            time.sleep(job["pause"])
        os._exit(0)
    print(child, flush=True)
    print(os.waitpid(child, 0)[1], flush=True)
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """An empty project, so that what is cached there is made by these tests."""
    folder = tmp_path_factory.mktemp("project")
    before = os.environ.get("ISKIT_ROOT")
    os.environ["ISKIT_ROOT"] = str(folder)
    yield folder
    if before is None:
        del os.environ["ISKIT_ROOT"]
    else:
        os.environ["ISKIT_ROOT"] = before


@pytest.fixture(scope="module")
def server(root):
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    yield process
    process.stdin.close()
    process.stdout.close()
    process.wait(30)


def begin(server, settings: dict, outputs: Path, pause: float, every: float = 0) -> int:
    """Starts a run in a process of its own; gives its id."""
    job = {"settings": settings, "outputs": str(outputs), "pause": pause, "every": every}
    server.stdin.write(json.dumps(job) + "\n")
    server.stdin.flush()
    return int(server.stdout.readline())


def end(server) -> int:
    """Waits for it; gives its exit status as the system does."""
    return int(server.stdout.readline())


def written(path: Path) -> int:
    """When, in nanoseconds; 0 if the file is not there."""
    return path.stat().st_mtime_ns if path.exists() else 0


@pytest.mark.parametrize(("name", "every"), [*((name, 0) for name in SETTINGS), ("p", 0.03)])
def test_killed_at_random_moments_it_ends_the_same(name, every, server, tmp_path):
    settings = {**TINY, **SETTINGS[name]}
    whole = Run(Experiment.parse(settings), tmp_path / "whole")
    whole.train()
    steps = whole.result["steps"]
    parted = Run(Experiment.parse(settings), tmp_path / "parted")
    checkpoint = parted.path / "checkpoint.pt"
    moment = random.Random(name)
    resumed = 0
    for number in range(KILLS):
        before = written(checkpoint)
        child = begin(server, settings, tmp_path / "parted", 0.01, every)
        deadline = time.monotonic() + 30
        # Every round but the first gets somewhere, so that the rounds meet different parts of the run.
        while (
            number
            and time.monotonic() < deadline
            and (not checkpoint.exists() or checkpoint.stat().st_mtime_ns == before)
        ):
            time.sleep(0.001)
        time.sleep(moment.uniform(0, 0.008 * steps / KILLS))
        os.kill(child, signal.SIGKILL)
        assert os.WTERMSIG(end(server)) == signal.SIGKILL
        assert not parted.finished
        resumed += checkpoint.exists()
    assert resumed >= KILLS - 1
    parted.train()
    same(whole, parted)
    assert not checkpoint.exists()


@pytest.mark.engines
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_the_command_stops_on_a_signal_and_goes_on(how, root, tmp_path, monkeypatch):
    settings = {**TINY, "sampler": "c", "epochs": 150, "study": f"stopped-{how.name}"}
    words = [f"{key}={value}" for key, value in settings.items()]
    whole = Run(Experiment.parse(settings), tmp_path)
    whole.train()
    parted = Run(Experiment.parse(settings))
    command = [sys.executable, "-c", "from iskit.cli import main; main()", "run", *words]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, start_new_session=True
    )
    deadline = time.monotonic() + 60
    while not (parted.path / "status.json").exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    time.sleep(0.1)
    process.send_signal(how)
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 128 + how
    assert "goes on from here" in out
    assert json.loads((parted.path / "status.json").read_text())["state"] == "stopped"
    assert (parted.path / "checkpoint.pt").exists()
    parted.train()
    same(whole, parted)


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "flipped"])
def test_a_damaged_checkpoint_is_told_and_the_run_starts_anew(damage, root, tmp_path):
    settings = {**TINY, "sampler": "p"}
    whole = Run(Experiment.parse(settings), tmp_path / "whole")
    whole.train()
    parted = Run(Experiment.parse(settings), tmp_path / "parted")
    for step, _ in enumerate(parted):
        if step == 10:
            break
    checkpoint = parted.path / "checkpoint.pt"
    good = checkpoint.read_bytes()
    middle = len(good) // 2
    flipped = bytes(255 - byte for byte in good[middle : middle + 64])
    checkpoint.write_bytes(
        {
            "cut": good[:-1000],
            "empty": b"",
            "text": b"not a checkpoint",
            "flipped": good[:middle] + flipped + good[middle + 64 :],
        }[damage]
    )
    with pytest.warns(UserWarning, match=r"checkpoint\.pt is damaged .*starts anew"):
        parted.train()
    same(whole, parted)


def test_a_checkpoint_of_another_version_is_told_and_the_run_starts_anew(root, tmp_path):
    whole, parted = (Run(Experiment.parse({**TINY, "sampler": "p"}), tmp_path / name) for name in ("whole", "parted"))
    whole.train()
    next(iter(parted))
    checkpoint = parted.path / "checkpoint.pt"
    state = torch.load(checkpoint, weights_only=True)
    del state["format"], state["times"]
    torch.save(state, checkpoint)
    with pytest.warns(UserWarning, match="another version of iskit: the run starts anew"):
        parted.train()
    same(whole, parted)


def test_what_a_killed_process_was_writing_is_removed(root, tmp_path):
    run = Run(Experiment.parse({**TINY, "sampler": "p"}), tmp_path)
    run.path.mkdir(parents=True)
    (run.path / ".checkpoint.pt.123.tmp").write_bytes(b"half")
    run.train()
    assert not list(run.path.glob(".*"))


def test_of_two_processes_on_a_folder_the_second_refuses_and_the_first_is_not_disturbed(server, root, tmp_path):
    settings = {**TINY, "sampler": "c"}
    whole = Run(Experiment.parse(settings), tmp_path / "whole")
    whole.train()
    run = Run(Experiment.parse(settings), tmp_path / "shared")
    begin(server, settings, tmp_path / "shared", pause=0.02)
    deadline = time.monotonic() + 30
    while not (run.path / "checkpoint.pt").exists() and time.monotonic() < deadline:
        time.sleep(0.001)
    with pytest.raises(InputError, match="another process"):
        run.train()
    assert end(server) == 0
    assert run.finished
    same(whole, run)


def test_a_run_that_another_process_finished_meanwhile_is_not_trained_again(tmp_path, root, monkeypatch):
    experiment = Experiment.parse({**TINY, "sampler": "p"})
    late = Run(experiment, tmp_path)
    bind = Run.bind

    def slow(self, device, *build):
        monkeypatch.setattr(Run, "bind", bind)
        Run(experiment, tmp_path).train()  # the other process, between our look and our lock
        return bind(self, device, *build)

    monkeypatch.setattr(Run, "bind", slow)
    before = torch.get_num_threads()
    assert list(late) == []
    assert torch.get_num_threads() == before
    assert json.loads((late.path / "status.json").read_text())["state"] == "finished"
