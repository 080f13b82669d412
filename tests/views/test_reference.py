"""The findings: made from packed results alone, by rules fixed before; what people add has no digits."""

import re
import subprocess
from pathlib import Path

import pandas as pd
import pytest
import yaml
from judged import runs, write

from iskit import files
from iskit.errors import InputError
from iskit.study.archive import results
from iskit.study.pack import pack
from iskit.study.packed import SHELF, opened
from iskit.views import reference
from iskit.views.reference import PAGE, README_MARKS, answer, answered, comments, found, page

ROOT = Path(__file__).parents[2]
BASE = [90.0, 90.4, 89.7, 90.2, 90.1, 89.9, 90.3, 89.8]
TEXT = """
study: s
budget: 0.3
seeds: 8
blocks:
  all: {sampler: [unif, p, c]}
contrasts:
  choosing-here: {arms: {sampler: [p, c]}}
  choosing-more: {arms: {sampler: [rho]}}
  linear-p: {where: {sampler: p}, reference: {schedule: step}, arms: {schedule: linear}}
"""


@pytest.fixture
def outputs(tmp_path):
    frame = runs({"unif": BASE, "p": [one + 1 + 0.1 * (n % 2) for n, one in enumerate(BASE)], "c": BASE})
    write(frame, tmp_path)
    for run in (tmp_path / "s").glob("run*"):
        pd.DataFrame({"t": [1.0], "accuracy": [90.0]}).to_parquet(run / "history.parquet")
        pd.DataFrame({"t": [1.0], "index": [0], "loss": [1.0], "prob": [0.5], "drawn": [1]}).to_parquet(
            run / "sample.parquet"
        )
    (tmp_path / "s" / "plan").mkdir()
    (tmp_path / "s" / "plan" / "s.yaml").write_text(TEXT)
    (tmp_path / SHELF).mkdir()
    pack("s", tmp_path / SHELF / "s.zip", tmp_path)
    return tmp_path


def test_contrasts_are_judged_as_far_as_their_runs_are_packed(outputs):
    known = found(outputs)
    assert list(known.judged) == ["choosing-here"]
    assert list(known.missing) == ["choosing-more", "linear-p"]
    assert known.judged["choosing-here"].table["word"].tolist() == ["better", "no difference"]
    assert len(known.runs) == 24
    pack("s", outputs / SHELF / "again.zip", outputs)  # packed twice, counted once
    assert len(found(outputs).runs) == 24
    with pytest.raises(InputError, match="holds no packed study"):
        found(outputs / "elsewhere")


def test_the_answer_is_computed(outputs):
    (told,) = answer(found(outputs))
    assert told == (
        "1. Which images? p and c against unif, 2 comparisons, 8 seeds: p is better by 1.05 points (+1.00 to +1.10); "
        "no difference of 0.5 points of c."
    )


def test_one_name_of_two_studies_is_refused(outputs):
    for run in (outputs / "s").glob("run*"):
        settings = yaml.safe_load((run / "params.yaml").read_text())
        (run / "params.yaml").write_text(yaml.safe_dump({**settings, "study": "t"}))
    (outputs / "s").rename(outputs / "t")
    (outputs / "t" / "plan" / "s.yaml").write_text(TEXT.replace("study: s", "study: t"))
    pack("t", outputs / SHELF / "t.zip", outputs)
    with pytest.raises(InputError, match="'choosing-here' stands in s and t: rename one"):
        found(outputs)


def test_comments_are_kept_and_all_else_made_anew(outputs):
    known = found(outputs)
    first = page(known)
    assert "**not judged**" in first
    assert "`linear-p` is not judged yet: contrast 'linear-p': no finished" in first
    said = first.replace("comment: claim 2 -->\n", "comment: claim 2 -->\nA word of ours.\n").replace(
        "Findings", "Mine"
    )
    again = page(known, said)
    assert comments(again)["claim 2"] == "A word of ours."
    assert again.replace("A word of ours.", "") == first
    begin, end = README_MARKS
    assert answered(f"a {begin} old {end} b", known) == f"a {begin}\n{answer(known)[0]}\n{end} b"
    with pytest.raises(InputError, match="no place for the answer"):
        answered("a", known)


def test_the_page_is_the_packed_results():
    """As committed; where no study is packed yet there is no page."""
    if not any(opened(box).about["study"].startswith("first-") for box in (ROOT / "outputs" / SHELF).glob("*.zip")):
        assert not (ROOT / PAGE).exists()
        return
    text, known = (ROOT / PAGE).read_text(encoding="utf-8"), found(ROOT / "outputs")
    assert page(known, text) == text
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert answered(readme, known) == readme
    for name in known.judged:
        assert (ROOT / reference.FIGURES / f"{name}.png").exists()
    for name, said in comments(text).items():
        assert not re.search(r"\d", said), f"the comment {name} has digits"


def git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_the_plan_is_older_than_the_results():
    """Each packed run of a study under params/study names a file that was committed before the first of its results."""
    if not (ROOT / ".git").exists() or git("rev-parse", "--is-shallow-repository").strip() == "true":
        pytest.skip("platform: no history of commits here")
    for box in sorted((ROOT / "outputs" / SHELF).glob("*.zip")):
        added = git("log", "--diff-filter=A", "--format=%H", "--", str(box)).split()
        earlier = git("rev-list", f"{added[-1]}^" if added else "HEAD", "--", "params/study").split()
        known = set()
        for commit in earlier:
            for name in git("ls-tree", "-r", "--name-only", commit, "params/study").split():
                known.add(files.digest(git("show", f"{commit}:{name}")))
        assert set(results(str(box))["plan"]) <= known, box.name
