"""What a study's judgement looks like: console, Markdown, figure, data frame."""

import sys

import pandas as pd
import pytest
from judged import runs, write

import iskit
from iskit import files
from iskit.cli import main
from iskit.cli.console import console
from iskit.errors import InputError
from iskit.views.verdict import cells, figure

BASE = [90.0, 90.4, 89.7, 90.2, 90.1, 89.9, 90.3, 89.8]
UP = [base + more for base, more in zip(BASE, [1.1, 0.9, 1.2, 1.0, 0.8, 1.3, 1.05, 0.95], strict=True)]
STUDY = """
study: s
contrasts:
  choosing:
    where: {augment: standard|mixup}
    arms: {sampler: [p-SGD, c]}
    margin: 0.4
  time: {where: {augment: standard|mixup}, arms: {sampler: p}, ratio: seconds}
  ladder: {where: {sampler: p}, trend: {budget: [0.1, 0.2, 0.3]}}
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ISKIT_ROOT", str(tmp_path))
    parts = [
        runs({"unif": BASE, "p": UP, "c": BASE}, augment="standard|mixup"),
        *(runs({"p": [base + budget for base in BASE]}, budget=budget, augment="none") for budget in (0.1, 0.2)),
    ]
    write(pd.concat(parts, ignore_index=True), tmp_path / "outputs")
    (tmp_path / "study.yaml").write_text(STUDY)
    return tmp_path


@pytest.fixture
def command(project, monkeypatch, capsys):
    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["iskit", *words])
        try:
            main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        return code, *capsys.readouterr()

    return call


def test_the_command_says_the_sentence_the_table_and_the_notes(command, monkeypatch):
    monkeypatch.setattr(console, "width", 200)
    code, out, err = command("verdict", "study.yaml", "--contrast", "choosing")
    assert (code, err) == (0, "")
    found = iskit.verdict("study.yaml")["choosing"]
    assert found.sentence in out
    assert "p-SGD is better by 1.04 points" in found.sentence
    table = out[out.index("verdict") :]
    for row in cells(found).to_numpy():
        (line,) = [line for line in table.splitlines() if line.strip().startswith(row[0])]
        assert line.split() == " ".join(row).split()
    assert "one of 3 families" in out
    assert "time" not in out


def test_markdown_is_a_table_with_every_cell(command):
    code, out, _ = command("verdict", "study.yaml", "--markdown")
    assert (code, out) == (0, iskit.verdict("study.yaml").markdown())
    assert iskit.verdict("study.yaml")._repr_markdown_() == out
    head = next(line for line in out.splitlines() if line.startswith("| arm |"))
    assert all(line.count("|") == head.count("|") for line in out.split("**time")[0].splitlines() if line[:1] == "|")
    assert "| p-SGD | better | +1.04 |" in out
    assert "| c-SGD | no difference | +0.00 | +0.00 to +0.00 |" in out
    assert "**time: seconds against unif-SGD" in out
    assert "| step | mean % |" in out


def test_titles_with_stages_do_not_break_markdown(project):
    (project / "looks.yaml").write_text(
        "study: s\ncontrasts: {looks: {reference: {sampler: p, augment: none, budget: 0.2}, "
        "arms: {augment: standard|mixup, budget: 0.3}}}"
    )
    assert "| standard\\|mixup, budget=0.3 |" in iskit.verdict("looks.yaml").markdown()


def test_a_study_without_contrasts_is_judged_against_unif(command):
    code, out, _ = command("verdict", "s")
    assert code == 0
    assert "samplers: against unif-SGD, accuracy, 8 seeds: p-SGD is better" in out
    assert "the only family" in out


def test_the_frame_has_a_row_an_arm_of_all_families(project):
    found = iskit.verdict("study.yaml")
    assert found.frame["contrast"].tolist() == ["choosing"] * 2 + ["time"] + ["ladder"] * 3
    assert found.frame["word"].tolist()[:2] == ["better", "no difference"]
    assert found.sentences == [one.sentence for one in found]
    assert len(found) == 3


def test_the_figure_shows_difference_interval_margin_and_zero(project):
    found = iskit.verdict("study.yaml")
    shown, table = found.figure("choosing"), found["choosing"].table.set_index("arm")
    (points,) = shown.data
    table = table.loc[list(points.y)]
    assert list(points.x) == pytest.approx(list(table["difference"]))
    assert list(points.x + points.error_x.array) == pytest.approx(list(table["high"]))
    assert list(points.x - points.error_x.arrayminus) == pytest.approx(list(table["low"]))
    line, band = shown.layout.shapes
    assert (line.x0, line.x1) == (0, 0)
    assert (band.x0, band.x1) == (-0.4, 0.4)
    assert figure(found["time"]).layout.shapes[0].x0 == 1
    assert list(found.figure("ladder").data[0].x) == ["budget=0.1", "budget=0.2", "budget=0.3"]
    assert found.figure() == shown


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["none.yaml"], "none.yaml cannot be opened"),
        (["ss"], "study='ss' has no finished runs under outputs/: did you mean 's'?"),
        (["study.yaml", "--contrast", "chosing"], "contrast='chosing' is unknown: did you mean 'choosing'?"),
        (["bad.yaml"], "contrast 'mine': it names no arm"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(command, project, words, message):
    (project / "bad.yaml").write_text("study: s\ncontrasts: {mine: {margin: 1}}")
    code, out, err = command("verdict", *words)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"iskit: {message}")


def test_a_contrast_that_is_not_there_is_refused(project):
    with pytest.raises(InputError, match="did you mean 'time'"):
        iskit.verdict("study.yaml")["tme"]


def test_the_cost_of_tuning_is_said(project):
    assert not any("tuned alike" in note for note in iskit.verdict("study.yaml")["choosing"].notes)
    arms = [{"trials": [{}, {}], "passes": {"forward": 9, "backward": 600}, "seconds": 60.0} for _ in range(3)]
    folder = project / "outputs" / f"{iskit.results()['study'][0]}-tuning"
    folder.mkdir()
    files.write_json(folder / "tuned.json", {"arms": arms})
    for one in iskit.verdict("study.yaml"):
        assert "by 6 trials (1,800 examples trained, 3.0 min of training), which are in no cost here" in one.notes[-1]
