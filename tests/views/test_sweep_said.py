"""A sweep's last words are the findings of its own runs."""

import pandas as pd
from judged import runs, write

import iskit
from iskit.cli.console import show_results

BASE = [90.0, 90.4, 89.7, 90.2, 90.1, 89.9]


def test_a_sweep_ends_with_what_its_own_runs_found(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ISKIT_ROOT", str(tmp_path))
    frame = runs({"unif": BASE, "p": [base + 1 for base in BASE], "c": BASE})
    write(frame, tmp_path / "outputs")
    found = pd.DataFrame(iskit.results("s"))
    own = found[found["sampler"] != "c"]
    show_results("s", [tmp_path / path for path in own["path"]])
    said = capsys.readouterr().out
    assert all(sentence in said for sentence in iskit.findings(own).sentences)
    assert "p is better by 1.00 points" in said
    show_results("s")
    assert "Which images?" not in capsys.readouterr().out
