"""Tuning: the same trials for each arm, none twice, never the test set; what is written follows from the trials."""

import os
import signal
import sys
from collections import Counter
from math import log

import blind
import pytest
import yaml
from run_folders import FOUND, write_past, write_run

from iskit import files
from iskit.cli import main
from iskit.data.digits import Digits
from iskit.errors import InputError
from iskit.judging import tune, tuning
from iskit.judging.tuning import Tuning
from iskit.runs.experiment import Experiment
from iskit.runs.run import Run
from iskit.study import plan
from iskit.study.worker import Progress

TEXT = """
study: fair
dataset: digits(limit=200)
model: cnn(width=4)
epochs: 4
evals: 2
seeds: 3
tune:
  where: {budget: 0.5, augment: none}
  arms: {sampler: [unif, p, selective_backprop]}
  validation: 50
  strengths: {selective_backprop: {beta: [1, 2, 3, 4]}}
"""
OPTIMUM = {"unif": 0.1, "p": 0.2, "selective_backprop": 0.1}


def accuracy(experiment: Experiment) -> float:
    """A peak at the arm's OPTIMUM, a beta of 3 is two points better."""
    name = experiment.sampler.split("(")[0]
    bonus = 2.0 * ("beta=3" in experiment.sampler)
    return 90 - 5 * log(experiment.lr / OPTIMUM[name]) ** 2 + bonus + 0.01 * (experiment.seed == 101)


@pytest.fixture
def trained(monkeypatch):
    """Trials without training; gives the list of what was trained. `trained.accuracy` may be set: None diverges,
    `trained.last` is how many are trained until the sweep is stopped."""

    class Trained(list):
        accuracy = staticmethod(accuracy)
        last = 1 << 30

    done = Trained()

    class Swept:
        def __init__(self, experiments, workers, outputs, plan):
            self.experiments, self.outputs, self.stopped = experiments, outputs, False

        def stop(self):
            self.stopped = True

        def folder(self, number):
            return Run(self.experiments[number], self.outputs).path

        def __iter__(self):
            for number, one in enumerate(self.experiments):
                run = Run(one, self.outputs)
                if not run.finished and run.status["state"] != "failed":
                    if self.stopped or len(done) == done.last:
                        return
                    done.append(one)
                    if (found := done.accuracy(one)) is None:
                        run.path.mkdir(parents=True)
                        files.write_json(run.path / "status.json", {"state": "failed", "diverged": True})
                        write_past(run.path, forward_only=3, forward=[5, 7], backward=7, seconds_train=1.5)
                    else:
                        write_past(path := write_run(self.outputs, {"accuracy": found}, **one.to_dict()))
                        files.write_json(path / "result.json", files.read_json(path / "result.json") | {"data": None})
                failed = run.status["state"] == "failed"
                yield Progress(number, 1.0, None, not failed, "diverged" if failed else None)

    monkeypatch.setattr(tuning, "Sweep", Swept)
    return done


def written(folder, text=TEXT, name="fair.yaml"):
    (folder / name).write_text(text)
    return plan.read_file(folder / name)


def test_every_arm_has_as_many_trials_and_the_best_is_chosen(trained, tmp_path):
    many = Tuning(written(tmp_path), outputs=tmp_path)
    assert [news.number for news in many] == list(range(3 * 2 * (5 + 4)))
    found = {arm["arm"]: arm for arm in many.found["arms"]}
    assert {name: len(arm["trials"]) for name, arm in found.items()} == {"unif-SGD": 18, "p-SGD": 18, "SB": 18}
    assert {name: arm["lr"] for name, arm in found.items()} == {"unif-SGD": 0.1, "p-SGD": 0.2, "SB": 0.1}
    assert found["SB"]["settings"] == {"sampler": "selective_backprop(beta=3)", "lr": 0.1}
    assert [arm["edges"] for arm in many.found["arms"]] == [[], [], []]
    tried = {t["lr"] for t in found["p-SGD"]["trials"]} - {0.025, 0.05, 0.1, 0.2, 0.4}
    assert tried == {0.126, 0.1587, 0.252, 0.3175}
    assert {t["lr"] for t in found["SB"]["trials"]} == {0.025, 0.05, 0.1, 0.2, 0.4}
    assert found["p-SGD"]["passes"] == {name: 18 * count for name, count in FOUND["passes"].items()}
    assert found["p-SGD"]["seconds"] == 18 * FOUND["training_seconds"]
    assert {one.seed for one in trained} == {101, 102}
    assert {(one.study, one.validation) for one in trained} == {("fair-tuning", 50)}
    assert many.found["plan"] == many.source.digest
    assert files.read_json(tmp_path / "fair-tuning" / "tuned.json") == many.found


def test_the_file_of_the_tuned_arms_holds_what_was_chosen(trained, tmp_path):
    many = Tuning(written(tmp_path), outputs=tmp_path)
    list(many)
    final = plan.read_file(tmp_path / "fair" / "tuned.yaml")
    assert Counter((e.study, e.sampler, e.lr, e.validation) for e in final.experiments) == {
        ("fair", "unif", 0.1, 0): 3,
        ("fair", "p", 0.2, 0): 3,
        ("fair", "selective_backprop(beta=3)", 0.1, 0): 3,
    }
    assert final.contrasts["tuned"]["reference"] == {"sampler": "unif", "lr": 0.1}


def test_a_second_time_nothing_is_trained_and_the_choice_is_the_same(trained, tmp_path):
    list(Tuning(written(tmp_path), outputs=tmp_path))
    kept = [(tmp_path / name).read_bytes() for name in ("fair-tuning/tuned.json", "fair/tuned.yaml")]
    trained.clear()
    assert len(list(Tuning(written(tmp_path), outputs=tmp_path))) == 54
    assert trained == []
    assert kept == [(tmp_path / name).read_bytes() for name in ("fair-tuning/tuned.json", "fair/tuned.yaml")]


@pytest.mark.parametrize("last", [0, 7, 30, 41])
def test_one_that_was_stopped_goes_on_and_ends_the_same(trained, tmp_path, last):
    trained.last = last
    stopped = Tuning(written(tmp_path), outputs=tmp_path / "one")
    list(stopped)
    assert stopped.found == {}
    assert not stopped.path.exists()
    assert not stopped.final.exists()
    trained.last = 1 << 30
    again = Tuning(written(tmp_path), outputs=tmp_path / "one")
    list(again)
    assert len(trained) == len(set(trained)) == 54
    whole = Tuning(written(tmp_path), outputs=tmp_path / "two")
    list(whole)
    assert again.found == whole.found


def test_an_optimum_on_the_edge_extends_the_grid_for_all_arms(trained, tmp_path, monkeypatch):
    monkeypatch.setitem(OPTIMUM, "p", 0.8)
    many = Tuning(written(tmp_path), outputs=tmp_path)
    list(many)
    lrs = [sorted({t["lr"] for t in arm["trials"] if t["value"] is None}) for arm in many.found["arms"]]
    for one in lrs:
        assert {0.8, 1.6} < set(one)
        assert 3.2 not in one
        assert 0.0125 not in one
    assert [len(arm["trials"]) for arm in many.found["arms"]] == [2 * (7 + 4)] * 3
    assert [arm["lr"] for arm in many.found["arms"]] == [0.1, 0.8, 0.1]


def test_the_grid_does_not_grow_for_ever_and_the_edge_is_told(trained, tmp_path):
    trained.accuracy = lambda e: 50 + (e.lr if e.sampler == "p" else -(log(e.lr / 0.1) ** 2))
    source = written(tmp_path, TEXT.replace("  strengths: {selective_backprop: {beta: [1, 2, 3, 4]}}\n", ""))
    many = Tuning(source, outputs=tmp_path)
    list(many)
    assert max(t["lr"] for t in many.found["arms"][0]["trials"]) == 0.4 * 2**tune.EXTENSIONS
    assert [arm["edges"] for arm in many.found["arms"]] == [[], ["lr"], []]
    assert len(trained) <= many.most


def test_a_trial_that_diverges_has_lost_and_counts_in_the_cost(trained, tmp_path):
    trained.accuracy = lambda e: None if (e.lr, e.seed, e.sampler) == (0.2, 102, "p") else accuracy(e)
    many = Tuning(written(tmp_path), outputs=tmp_path)
    assert sum(news.finished for news in many) == 54
    assert many.failed == {}
    arm = many.found["arms"][1]
    assert arm["lr"] != 0.2
    [lost] = [t for t in arm["trials"] if t["accuracy"] is None]
    assert lost["passes"] == {"forward_only": 3, "forward": 7, "backward": 7}
    assert lost["seconds"] == 1.5
    assert arm["passes"]["backward"] == 17 * FOUND["passes"]["backward"] + 7


def test_an_arm_that_always_diverges_is_named(trained, tmp_path):
    trained.accuracy = lambda e: None if e.sampler == "p" else accuracy(e)
    with pytest.raises(InputError, match=r"p-SGD: every lr from 0\.025 to 0\.4 diverged"):
        list(Tuning(written(tmp_path), outputs=tmp_path))


def test_another_file_of_the_study_does_not_overwrite_the_choice(trained, tmp_path):
    list(Tuning(written(tmp_path), outputs=tmp_path))
    Tuning(written(tmp_path, TEXT.replace("0.5", "0.6")), outputs=tmp_path)
    with pytest.raises(InputError, match=r"study='fair' was tuned by fair.yaml"):
        Tuning(written(tmp_path, name="other.yaml"), outputs=tmp_path)


BLIND = """
study: blind
dataset: digits(limit=199)  # no other test's: they stay in memory
model: cnn(width=4)
epochs: 3
evals: 1
tune:
  where: {budget: 0.5, augment: none}
  arms: {sampler: [unif, p]}
  validation: 50
  lr: [0.00001, 0.1, 0.00002]
"""


def test_trials_never_read_the_test_set(warm_workers, monkeypatch, tmp_path):
    monkeypatch.setattr(Digits, "load", blind.load)
    monkeypatch.setattr("iskit.study.sweep.train", blind.train)
    monkeypatch.setattr(tune, "EXTENSIONS", 0)
    many = Tuning(written(tmp_path, BLIND), workers=1, outputs=tmp_path)
    list(many)
    assert many.failed == {}
    assert [arm["lr"] for arm in many.found["arms"]] == [0.1, 0.1]
    assert all(t["accuracy"] is not None for arm in many.found["arms"] for t in arm["trials"])
    final = plan.read_file(many.final).experiments
    with pytest.raises(AssertionError, match="the test set was read"):
        Run(final[0], tmp_path).train()


@pytest.mark.parametrize("when", [7, 30, 54])
def test_the_command_stops_on_ctrl_c_and_goes_on(trained, tmp_path, monkeypatch, capsys, when):
    def interrupted(experiment):
        if len(trained) == when:
            os.kill(os.getpid(), signal.SIGINT)
        return accuracy(experiment)

    monkeypatch.setenv("ISKIT_ROOT", str(tmp_path))
    (tmp_path / "fair.yaml").write_text(TEXT)
    monkeypatch.setattr(sys, "argv", ["iskit", "tune", str(tmp_path / "fair.yaml")])
    trained.accuracy = interrupted
    main_ends(0 if when == 54 else 128 + signal.SIGINT)
    tuned = tmp_path / "outputs" / "fair-tuning" / "tuned.json"
    out = capsys.readouterr().out
    assert tuned.exists() == (when == 54)
    if when < 54:
        total = 30 if when < 30 else 54  # the second stage is known, and not begun
        assert f"stopped with {when} of {total} runs done; the same command goes on from here" in out
        main_ends()
    assert len(trained) == 54
    assert tuned.exists()


def test_the_command_shows_what_is_to_do_and_what_was_chosen(trained, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ISKIT_ROOT", str(tmp_path))
    (tmp_path / "fair.yaml").write_text(TEXT)
    monkeypatch.setattr(sys, "argv", ["iskit", "tune", str(tmp_path / "fair.yaml")])
    main_ends()
    out = capsys.readouterr().out
    assert "beta=3" in out
    assert "92.0" in out
    assert f"iskit sweep {tmp_path}/outputs/fair/tuned.yaml" in out
    monkeypatch.undo()
    monkeypatch.setenv("ISKIT_ROOT", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["iskit", "tune", str(tmp_path / "fair.yaml"), "--dry-run"])
    main_ends()
    assert "54 runs: 54 finished; 0 to do; at most 90" in capsys.readouterr().out
    settings = yaml.safe_load(TEXT) | {"tune": {"arms": {"sampler": ["unif", "p"]}, "validation": 0}}
    (tmp_path / "wrong.yaml").write_text(yaml.safe_dump(settings))
    monkeypatch.setattr(sys, "argv", ["iskit", "tune", str(tmp_path / "wrong.yaml")])
    main_ends(2)
    assert capsys.readouterr().err.startswith("iskit: wrong.yaml: tune: validation=0 must be at least 1")


def main_ends(code=0):
    with pytest.raises(SystemExit) as end:
        main()
    assert (end.value.code or 0) == code
