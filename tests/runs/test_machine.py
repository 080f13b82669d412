"""Threads and precision are decided once a study, whoever comes first, and obeyed by all."""

import json
import threading

import pytest

from iskit.errors import InputError
from iskit.runs import machine, run
from iskit.runs.experiment import Experiment
from iskit.runs.machine import decided
from iskit.runs.run import Run
from iskit.training import probe
from iskit.training.probe import Choice

TINY = {"dataset": "digits(limit=64)", "model": "cnn(width=4)", "epochs": 2, "evals": 1, "budget": 1.0}


@pytest.fixture(autouse=True)
def four_cores(monkeypatch):
    monkeypatch.setattr(machine, "cores", lambda: 4)
    monkeypatch.setattr(probe, "has_bf16", lambda: True)


def never() -> Choice:
    raise AssertionError("measured again")


def test_decided_once_for_each_kind(tmp_path):
    first = Choice(3, "bf16")
    assert decided(Experiment(**TINY), tmp_path, lambda: first) == first
    for alike in ({"seed": 5}, {"lr": 0.5}, {"sampler": "p"}, {"epochs": 9}):
        assert decided(Experiment(**{**TINY, **alike}), tmp_path, never) == first
    for n, other in enumerate([{"model": "mlp"}, {"batch_size": 8}, {"precision": "bf16"}, {"dataset": "digits"}]):
        choice = Choice(n % 4 + 1, "float32")
        assert decided(Experiment(**{**TINY, **other}), tmp_path, lambda choice=choice: choice) == choice
    assert decided(Experiment(**TINY), tmp_path, never) == first


def test_of_many_at_once_one_decides(tmp_path):
    asked = []

    def measure():
        asked.append(threading.get_ident())
        return Choice(len(asked), "float32")

    threads = [threading.Thread(target=decided, args=(Experiment(**TINY), tmp_path, measure)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(asked) == 1


@pytest.mark.parametrize("text", ["", "null", "[1]", "{", "[" * 100_000, '{"x": {"threads": 0, "precision": "f"}}'])
def test_a_damaged_decision_is_named_and_made_anew(text, tmp_path):
    (tmp_path / "machine.json").write_text(text)
    with pytest.warns(UserWarning, match=r"machine\.json is damaged: threads and precision are decided anew"):
        assert decided(Experiment(**TINY), tmp_path, lambda: Choice(2, "bf16")) == Choice(2, "bf16")
    assert decided(Experiment(**TINY), tmp_path, never) == Choice(2, "bf16")


def test_a_study_folder_that_cannot_be_is_one_line(tmp_path):
    (tmp_path / "s").write_text("")
    with pytest.raises(InputError, match=r"s cannot be written \(.*\)"):
        decided(Experiment(**TINY), tmp_path / "s", lambda: Choice(1, "float32"))


def test_a_machine_that_cannot_says_so(tmp_path, monkeypatch):
    decided(Experiment(**TINY), tmp_path, lambda: Choice(4, "bf16"))
    monkeypatch.setattr(machine, "cores", lambda: 2)
    with pytest.warns(UserWarning, match=r"asks for 4 threads a run: on the 2 cores of this machine a run takes 2"):
        assert decided(Experiment(**TINY), tmp_path, never) == Choice(2, "bf16")
    monkeypatch.setattr(machine, "cores", lambda: 4)
    monkeypatch.setattr(probe, "has_bf16", lambda: False)
    with pytest.warns(UserWarning, match="asks for bf16, which this processor computes slowly"):
        assert decided(Experiment(**TINY), tmp_path, never) == Choice(4, "bf16")


def test_every_run_of_a_study_trains_with_what_the_first_decided(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "choose", lambda *_: Choice(2, "bf16"))
    first = Run(Experiment(**TINY), tmp_path).train()
    monkeypatch.setattr(run, "choose", lambda *_: Choice(1, "float32"))
    second = Run(Experiment(**TINY, seed=2), tmp_path).train()
    elsewhere = Run(Experiment(**TINY, seed=2, study="another"), tmp_path).train()
    assert [(found["threads"], found["precision"]) for found in (first, second, elsewhere)] == [
        (2, "bf16"),
        (2, "bf16"),
        (1, "float32"),
    ]
    [choice] = json.loads((tmp_path / "playground" / "machine.json").read_text()).values()
    assert choice == {"threads": 2, "precision": "bf16"}
