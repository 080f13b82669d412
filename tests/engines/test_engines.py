"""What is wrong with an engine's words is said before anything is trained or submitted."""

import sys
from contextlib import nullcontext

import pytest
from studies import study
from test_cli import command  # noqa: F401 - a fixture

from iskit.engines import Options, engine
from iskit.errors import InputError
from iskit.runs.run import Run
from iskit.study.local import Answer, Died
from iskit.study.sweep import Sweep


def test_an_unknown_engine_and_one_that_is_not_installed(monkeypatch):
    with pytest.raises(InputError, match="engine='rey' is unknown: did you mean 'ray'"):
        engine("rey", Options())
    for name, package in (("ray", "ray"), ("slurm", "submitit.core.job_environment")):
        monkeypatch.setitem(sys.modules, package, None)
        monkeypatch.delitem(sys.modules, f"iskit.engines.on_{name}", raising=False)
        with pytest.raises(InputError, match=rf"engine='{name}' needs {package}.*: run pip install -e '.\[{name}\]'"):
            engine(name, Options())


@pytest.mark.parametrize("options", [{"cpus": 0}, {"gpus": -1.0}, {"jobs": 0}, {"minutes": 0}])
def test_amounts_are_above_zero(options):
    [(name, value)] = options.items()
    with pytest.raises(InputError, match=f"{name}={value} must be above 0"):
        Options(**options)


class Losing:
    """A pool of one worker, whose machine is gone three times before it answers."""

    def __init__(self):
        self.task, self.given = None, 0

    def lent(self):
        return nullcontext(self)

    @property
    def idle(self):
        return [] if self.task else [self]

    @property
    def busy(self):
        return [self] if self.task else []

    def fill(self, tasks):
        pass

    def give(self, task):
        self.task, self.given = task, self.given + 1

    def hear(self, seconds):
        task, self.task = self.task, None
        if self.given <= 3:
            return [(task, Died(None))]
        Run(task.experiment, task.outputs).train()
        return [(task, Answer("finished"))]


def test_a_machine_that_is_gone_counts_as_no_try_of_the_run(tmp_path):
    many = Sweep(study(6)[:1], outputs=tmp_path, retries=0)
    many.pool = Losing()
    assert [news.finished for news in many] == [True]
    assert (many.failed, many.pool.given) == ({}, 4)


def test_a_wrong_word_is_one_line_and_nothing_is_begun(command, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setenv("PATH", "/nowhere")
    wrong = {
        ("--engine", "ray", "--address", "127.0.0.1:1"): "address='127.0.0.1:1' cannot be reached",
        ("--engine", "slurm"): "engine='slurm' needs sbatch, which is not here",
        ("--engine", "spark"): "engine='spark' is unknown",
        ("--engine", "slurm", "--jobs", "0"): "jobs=0 must be above 0",
    }
    for words, said in wrong.items():
        code, out, err = command("sweep", "epochs=1", *words)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert said in err
    assert not (tmp_path / "outputs").exists()


def test_a_job_is_printed_as_it_is_to_be_submitted(command):  # noqa: F811
    code, out, err = command("sweep", "dataset=digits(limit=200)", "epochs=1", "--engine", "slurm", "--print")
    assert (code, err) == (0, "")
    assert out.startswith("#!/bin/bash")
