"""The command line: what it prints, and exit code 2 with one line for what cannot work."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import iskit
from iskit.augment import augments
from iskit.cli import main
from iskit.samplers import samplers

TINY = ["dataset=digits(limit=200)", "model=cnn(width=4)", "epochs=4", "evals=2"]


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    """Calls iskit in a project of its own; gives exit code, stdout and stderr."""
    (tmp_path / "params").mkdir()
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ISKIT_ROOT", str(tmp_path))

    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["iskit", *words])
        try:
            main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        return code, *capsys.readouterr()

    return call


def test_run_from_yaml_and_settings(command, tmp_path):
    (tmp_path / "params" / "x.yaml").write_text(
        "dataset: digits(limit=200)\nmodel: cnn(width=4)\nepochs: 4\nlr: 1e-1\nbudget: 0.9\n"
    )
    code, out, err = command("run", "params/x.yaml", "budget=0.5", "study=cli", "augment=standard|mixup")
    assert (code, err) == (0, "")
    assert "416 forward, 416 backward" in out
    assert "best" not in out  # the best of all evaluations is picked on the test set
    frame = iskit.results("cli")
    assert frame.loc[0, ["budget", "lr", "augment"]].tolist() == [0.5, 0.1, "standard|mixup"]
    code, out, _ = command("results", "cli")
    assert code == 0
    assert "unif" in out
    assert f"{frame.loc[0, 'accuracy']:.2f}" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["bugdet=0.3"], "unknown setting 'bugdet' (0.3): did you mean 'budget'?"),
        (["sampler=foo"], "sampler='foo' is unknown"),
        (["augment=mixupp"], "did you mean 'mixup'?"),
        (["budget=0"], "budget=0.0 must be above 0"),
        (["budget=1.5"], "budget=1.5 must be above 0 and at most 1"),
        (["budget=0.3x"], "budget='0.3x' must be a number"),
        (["budget=0.001"], "less than one batch"),
        (["sampler=sgd", "budget=0.5"], "use scan"),
        (["dataset=parquet(path='gone')"], "gone"),
        (["broken.yaml"], "broken.yaml is not readable YAML"),
        (["list.yaml"], "list.yaml holds no settings"),
        (["typo.yaml"], "typo.yaml: unknown setting 'bugdet'"),
        (["nothing.yaml"], "nothing.yaml cannot be opened"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(command, tmp_path, words, message):
    (tmp_path / "broken.yaml").write_text("a: [1, 2\nb: }")
    (tmp_path / "list.yaml").write_text("- 1\n- 2\n")
    (tmp_path / "typo.yaml").write_text("bugdet: 0.3\n")
    before = set(tmp_path.iterdir())
    code, out, err = command("run", *TINY, *words)
    assert code == 2
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("iskit: ")
    assert message in err
    assert set(tmp_path.iterdir()) == before  # no run folder


def test_methods_lists_every_card(command):
    code, out, _ = command("methods")
    assert code == 0
    for registry in (samplers, augments):
        for name in registry:
            assert f"\n{name} " in out
    code, out, _ = command("methods", "p-SGD")
    assert code == 0
    for field in ("cite", "changes", "passes", "rule", "differs", "neutral", "options"):
        assert field in out
    assert "warmup=0.0 share of the run sampled uniformly" in " ".join(out.split())
    code, out, _ = command("methods", "selective_backpropagation")  # as the official README has it
    assert code == 0
    assert "selective_backprop (sampler, SB in papers)" in out
    code, _, err = command("methods", "unfi")
    assert (code, err) == (2, "iskit: method 'unfi' is unknown: did you mean 'unif'?\n")


def test_sweep_trains_a_grid(warm_workers, command):
    code, out, _ = command("sweep", *TINY, "sampler=[unif, p]", "seeds=2", "study=s", "--workers", "1")
    assert code == 0
    assert len(iskit.results("s")) == 4
    assert "±" in out


def test_results_of_a_study_that_is_not_there_are_refused(command):
    assert command("run", *TINY, "study=mine")[0] == 0
    code, _, err = command("results", "mien")
    assert (code, err) == (2, "iskit: study='mien' is no folder under outputs/: did you mean 'mine'?\n")


def test_results_tell_runs_of_different_settings_apart(command):
    for epochs in ("4", "5"):
        assert command("run", *TINY, f"epochs={epochs}", "study=s")[0] == 0
    _, out, _ = command("results", "s")
    assert "sampler unif" in out  # what all have in common is said once
    assert [line.split()[0] for line in out.splitlines()[2:5]] == ["epochs", "4", "5"]


def test_a_diverged_run_is_one_line_and_exit_code_1(command):
    code, _, err = command("run", *TINY, "lr=1e30", "momentum=0")
    assert code == 1
    assert err.count("\n") == 1
    assert "not a finite number at step" in err


def test_report_needs_a_notebook(command):
    code, _, err = command("report", "none.ipynb", "out.html")
    assert code == 2
    assert "none.ipynb cannot be opened (No such file" in err
    assert not Path("out.html").exists()


def test_the_console_script_ends_with_the_exit_code(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", "from iskit.cli import main; main()", "run", "bugdet=0.3"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "iskit: unknown setting 'bugdet' (0.3): did you mean 'budget'?\n"


def test_an_interrupt_before_training_is_one_line(command, monkeypatch):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    monkeypatch.setattr("iskit.cli.train.read_settings", lambda words: os.kill(os.getpid(), signal.SIGINT))
    try:
        assert command("run", "seed=1") == (130, "", "iskit: interrupted\n")
    finally:
        signal.signal(signal.SIGINT, before)
