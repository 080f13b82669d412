"""A machine that cannot, at the command line: one line and exit code 1, not a traceback; nothing of it is swallowed."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

import iskit.cli
from iskit import files, inputs
from iskit.errors import InputError
from iskit.inputs import guard

TINY = ["dataset=digits(limit=200)", "model=cnn(width=4)", "epochs=4", "evals=2", "device=cpu"]


def iskit_in(folder: Path, *words: str, **options) -> subprocess.CompletedProcess:
    environment = {**os.environ, "ISKIT_ROOT": str(folder), **options.pop("env", {})}
    command = [sys.executable, "-c", "from iskit.cli import main; main()", *words]
    return subprocess.run(command, text=True, stderr=subprocess.PIPE, cwd=folder, env=environment, **options)


def refused(done: subprocess.CompletedProcess, code: int, message: str) -> None:
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("iskit: ")]
    assert len(lines) == 1, done.stderr
    assert message in lines[0]
    assert len(lines[0]) < 500
    assert done.returncode == code


def test_an_outputs_that_is_a_file(tmp_path):
    (tmp_path / "outputs").write_text("")
    refused(iskit_in(tmp_path, "run", *TINY), 2, "Not a directory")


def test_a_full_disk_under_standard_output(tmp_path):
    with open("/dev/full", "w") as full:
        refused(iskit_in(tmp_path, "methods", stdout=full), 1, "No space left on device")


@pytest.mark.parametrize("root", ["nowhere", "a file"])
def test_a_root_that_is_no_folder_is_not_made(root, tmp_path):
    (tmp_path / "a file").write_text("")
    done = iskit_in(tmp_path, "results", env={"ISKIT_ROOT": str(tmp_path / root)}, stdout=subprocess.PIPE)
    refused(done, 2, "is no folder: make it, or give the project's")
    assert [path.name for path in tmp_path.iterdir()] == ["a file"]


def test_brackets_in_names_and_an_output_that_is_not_utf8(tmp_path):
    project = tmp_path / "ä [b]c[/b]"  # a folder in a folder
    project.mkdir(parents=True)
    done = iskit_in(project, "run", *TINY, env={"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}, stdout=subprocess.PIPE)
    assert done.returncode == 0, done.stderr
    assert "[b]c[/b]" in done.stdout
    done = iskit_in(project, "results", env={"PYTHONIOENCODING": "ascii"}, stdout=subprocess.PIPE)
    assert done.returncode == 0, done.stderr


def called(monkeypatch, capsys, error):
    def fail():
        raise error

    monkeypatch.setattr(iskit.cli, "app", fail)
    with pytest.raises(SystemExit) as end:
        iskit.cli.main()
    return end.value.code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (
            OSError(28, "No space left on device", "outputs/x\n[/b]"),
            1,
            "iskit: outputs/x [/b]: No space left on device\n",
        ),
        (MemoryError(), 1, "iskit: MemoryError\n"),
        (ImportError("a.so: cannot map", path="a.so"), 1, "iskit: ImportError: a.so: cannot map\n"),
        (InputError("a=1 must be 2"), 2, "iskit: a=1 must be 2\n"),
    ],
)
def test_main_ends_in_one_line(error, code, line, monkeypatch, capsys):
    assert called(monkeypatch, capsys, error) == (code, line)


@pytest.mark.parametrize("error", [KeyError("x"), ImportError("x", path="x.py"), ValueError("x"), AssertionError()])
def test_a_bug_shows_its_traceback(error, monkeypatch, capsys):
    with pytest.raises(type(error)):
        called(monkeypatch, capsys, error)


def test_the_guard_names_what_and_why_and_lets_its_own_pass():
    with (
        pytest.raises(InputError, match=r"^a is wrong \(KeyError: 'x'\): mend it$") as caught,
        guard("a is wrong", "mend it"),
    ):
        raise KeyError("x")
    assert isinstance(caught.value.__cause__, KeyError)
    with pytest.raises(InputError, match=r"^inner$"), guard("outer", "mend"):
        raise InputError("inner")
    with pytest.raises(KeyError), guard("a", "b", OSError):
        raise KeyError
    with pytest.raises(KeyboardInterrupt), guard("a", "b"):
        raise KeyboardInterrupt


def test_what_is_free_is_between_nothing_and_all_of_the_memory():
    assert 0 < inputs.free_memory() <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    inputs.fits("a set", 10, "remedy", free=10)
    with pytest.raises(InputError, match=r"^a set takes 2.0 GB of memory, 1.0 GB are free: remedy$"):
        inputs.fits("a set", 2 * 10**9, "remedy", free=10**9)


def test_the_project_is_found_without_the_variable(monkeypatch, tmp_path):
    monkeypatch.delenv("ISKIT_ROOT", raising=False)
    for name in ("params", "notebooks/deep"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "notebooks/deep")
    assert files.root() == tmp_path


def test_a_stream_without_an_encoding_is_left_alone(monkeypatch):
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    monkeypatch.setattr(sys, "argv", ["iskit", "methods", "p"])
    with pytest.raises(SystemExit) as end:
        iskit.cli.main()
    assert not end.value.code
    assert "Katharopoulos" in sys.stdout.getvalue() or "p (" in sys.stdout.getvalue()
