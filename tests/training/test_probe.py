"""What suits the machine: measured once, kept, the same for everybody; the choice follows the times by its margins."""

import dataclasses
import errno
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import filelock
import pytest
import torch
from torch import nn

from iskit.errors import InputError
from iskit.models import models
from iskit.runs.experiment import Experiment
from iskit.runs.run import Run
from iskit.training import probe
from iskit.training.probe import Choice, choose

SHAPE = (1, 8, 8)


def network() -> nn.Module:
    torch.manual_seed(1)
    return models.create("cnn(width=4)", 10, 1, 8)


def ask(folder, **settings) -> Choice:
    given = {"batch_size": 8, "precision": "auto", "folder": folder, **settings}
    return choose(network(), "cnn(width=4)", SHAPE, **given)


@pytest.fixture
def clock(monkeypatch):
    """Sets by hand what a step takes in each precision; gives the list of what was timed. Four threads at most."""

    def use(**seconds: float) -> list[str]:
        asked: list[str] = []

        def timed(step, kinds):
            asked.extend(kinds)
            return {kind: seconds[kind] for kind in kinds}

        monkeypatch.setattr(probe, "timed", timed)
        return asked

    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    return use


def test_what_a_killed_measurement_left_is_removed(tmp_path, clock):
    clock(float32=1.0, bf16=1.0)
    ask(tmp_path)
    [path] = tmp_path.glob("*.json")
    path.rename(tmp_path / f".{path.name}.999999999.tmp")
    ask(tmp_path)
    assert sorted(tmp_path.glob(".*.tmp")) == []


@pytest.mark.parametrize(
    ("float32", "bf16", "expected"),
    [
        (1.0, 0.5, Choice(4, "bf16")),
        (1.0, 0.84, Choice(4, "float32")),  # not clearly faster
        (1.0, 0.83, Choice(4, "bf16")),
        (0.001, 0.001, Choice(1, "float32")),
        (0.019, 0.019, Choice(1, "float32")),  # two threads would have less than 10 ms each
        (0.021, 0.021, Choice(2, "float32")),
        (0.045, 0.035, Choice(3, "bf16")),  # of the work that there is in bf16
    ],
)
def test_a_thread_must_have_work_and_bf16_be_clearly_faster(clock, tmp_path, float32, bf16, expected):
    clock(float32=float32, bf16=bf16)
    assert ask(tmp_path) == expected


def test_work_is_that_of_the_whole_batch(clock, tmp_path):
    clock(float32=0.012, bf16=0.012)  # of 64 rows, at most
    assert ask(tmp_path, batch_size=64).threads == 1
    assert ask(tmp_path, batch_size=128).threads == 2
    assert ask(tmp_path, batch_size=32).threads == 1


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_a_precision_that_is_given_is_kept_and_alone_is_timed(clock, tmp_path, precision):
    asked = clock(float32=1.0, bf16=1.0)
    assert ask(tmp_path, precision=precision) == Choice(4, precision)
    assert asked == [precision]


def test_measured_once_for_everybody(clock, tmp_path):
    clock(float32=1.0, bf16=2.0)
    first = ask(tmp_path)
    again = clock(float32=0.001, bf16=0.0001)  # the weather changed
    assert ask(tmp_path) == first
    assert again == []
    [path] = tmp_path.glob("*.json")
    kept = json.loads(path.read_text())
    assert kept["choice"] == dataclasses.asdict(first)
    assert kept["torch"] == torch.__version__
    assert kept["cpu"] == probe.cpu()
    assert kept["at_most"] == 4
    for other in ({"batch_size": 16}, {"precision": "bf16"}):
        before = len(again)
        ask(tmp_path, **other)
        assert len(again) > before  # another question


def test_fewer_threads_allowed_is_another_question(clock, tmp_path, monkeypatch):
    clock(float32=1.0, bf16=1.0)
    assert ask(tmp_path).threads == 4
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert ask(tmp_path).threads == 1


@pytest.mark.parametrize("damage", ["", "{", '{"choice": {}}', '{"choice": {"threads": 1}}', "[]"])
def test_a_damaged_answer_is_measured_again(clock, tmp_path, damage):
    clock(float32=1.0, bf16=0.5)
    first = ask(tmp_path)
    [path] = tmp_path.glob("*.json")
    path.write_text(damage)
    assert ask(tmp_path) == first
    assert json.loads(path.read_text())["choice"] == dataclasses.asdict(first)


def refuse(*args, **options):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.fixture(params=["a read-only disk", "a full disk", "a file in the way"])
def unwritable(request, monkeypatch, tmp_path):
    folder = tmp_path / "probe"
    if request.param == "a file in the way":
        folder.write_text("")
        return folder
    if request.param == "a read-only disk":
        monkeypatch.setattr(filelock.FileLock, "acquire", refuse)
    monkeypatch.setattr(Path, "write_text", refuse)
    return folder


def test_what_cannot_be_kept_is_measured_each_time(clock, unwritable):
    asked = clock(float32=1.0, bf16=0.5)
    assert ask(unwritable) == ask(unwritable) == Choice(4, "bf16")
    assert asked == ["float32", "bf16"] * 2


@pytest.mark.parametrize("error", [InputError("a bad value"), OSError(errno.ENOSPC, "of the model")])
def test_what_fails_in_the_model_is_not_taken_for_a_full_disk(unwritable, monkeypatch, error):
    def fail(*args):
        raise error

    monkeypatch.setattr(probe, "timed", fail)
    with pytest.raises(type(error), match=str(error.args[-1])):
        ask(unwritable)


def test_what_is_kept_is_found_on_a_read_only_disk(clock, tmp_path, monkeypatch):
    clock(float32=1.0, bf16=0.5)
    first = ask(tmp_path)
    asked = clock(float32=0.001, bf16=0.001)
    monkeypatch.setattr(filelock.FileLock, "acquire", refuse)
    assert ask(tmp_path) == first
    assert asked == []


def test_probing_leaves_no_trace(tmp_path):
    model = nn.Sequential(network(), nn.Dropout(0.5))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    choice = choose(model, "own", SHAPE, batch_size=8, precision="auto", folder=tmp_path)
    assert choice.threads == torch.get_num_threads() == threads == 1
    assert choice.precision in ("float32", "bf16")
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert model.training


def test_a_sleeping_thread_is_not_working():
    def step(kind):
        time.sleep(0.05 if kind == "float32" else 0)
        sum(range(200_000))

    threads = torch.get_num_threads()
    seconds = probe.timed(step, ("float32", "bf16"))
    assert 0.2 < seconds["float32"] / seconds["bf16"] < 5  # by the wall it would be above 10
    assert torch.get_num_threads() == threads


def test_a_run_trains_with_what_was_chosen_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("ISKIT_ROOT", str(tmp_path))
    settings = {"dataset": "digits(limit=64)", "model": "cnn(width=4)", "epochs": 2, "evals": 1, "budget": 1.0}
    found = {}
    for precision in ("bf16", "float32"):
        chosen = Choice(1, precision)
        monkeypatch.setattr(probe, "choose", lambda *_, chosen=chosen, **__: chosen)
        run = Run(Experiment(**settings, study=precision))
        found[precision] = run.train()
        assert found[precision]["precision"] == precision
        assert found[precision]["threads"] == 1
    assert found["bf16"]["train_loss"] != found["float32"]["train_loss"]
    assert found["bf16"]["train_loss"] == pytest.approx(found["float32"]["train_loss"], rel=0.05)


def test_a_resumed_run_goes_on_with_what_it_began_with(tmp_path, monkeypatch):
    monkeypatch.setenv("ISKIT_ROOT", str(tmp_path))
    settings = {"dataset": "digits(limit=64)", "model": "cnn(width=4)", "epochs": 4, "evals": 2, "budget": 1.0}
    monkeypatch.setattr(probe, "choose", lambda *_, **__: Choice(1, "bf16"))
    whole = Run(Experiment(**settings, study="whole")).train()
    parted = Run(Experiment(**settings, study="parted"))
    for _ in parted:
        break
    monkeypatch.setattr(probe, "choose", lambda *_, **__: Choice(1, "float32"))
    assert parted.train()["train_loss"] == whole["train_loss"]
    assert parted.result["precision"] == "bf16"


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="platform: only glibc keeps memory on request")
def test_freed_memory_is_kept():
    """In a process of its own: it cannot be taken back."""
    code = (
        "import torch; from iskit.training.probe import keep_memory\n"
        "def resident(): return int(open('/proc/self/statm').read().split()[1]) * 4096\n"
        "def grown():\n"
        "    before = resident(); block = torch.ones(10 << 20); del block; return resident() - before\n"
        "assert grown() < 8 << 20\n"
        "assert keep_memory()\n"
        "assert grown() > 30 << 20\n"
        "many = [grown() for _ in range(30)]\n"
        "assert max(many[-5:]) < 8 << 20, many\n"  # the same memory again; some glibc take a few blocks until then
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
