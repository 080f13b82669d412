"""A study file: blocks of grids, one study in several files, what is refused and which block is named."""

from pathlib import Path

import pytest
import yaml

from iskit.errors import InputError
from iskit.runs.grid import grid
from iskit.study import plan

TEXT = """
study: tables
dataset: digits(limit=100)
epochs: 2
seeds: 2
blocks:
  full: {sampler: sgd}
  tight:
    sampler: [unif, p]
    budget: [0.3, 0.5]
  once: {sampler: c, seed: 7}
contrasts:
  choosing: {where: {budget: 0.3}, arms: {sampler: p}}
"""


def written(folder: Path, text: str = TEXT, name: str = "tables.yaml") -> plan.Plan:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return plan.read_file(path)


def test_blocks_are_grids_of_the_files_settings_and_their_own(tmp_path):
    found = written(tmp_path)
    common = {"study": "tables", "dataset": "digits(limit=100)", "epochs": 2}
    assert found.study == "tables"
    assert found.blocks == {
        "full": grid({**common, "sampler": "sgd", "seeds": 2}),
        "tight": grid({**common, "sampler": ["unif", "p"], "budget": [0.3, 0.5], "seeds": 2}),
        "once": grid({**common, "sampler": "c", "seed": 7}),
    }
    assert len(found.experiments) == 2 + 8 + 1
    assert found.contrasts == {"choosing": {"where": {"budget": 0.3}, "arms": {"sampler": "p"}}}


def test_a_run_that_two_blocks_name_stands_once(tmp_path):
    found = written(tmp_path, TEXT.replace("once: {sampler: c, seed: 7}", "again: {sampler: p, budget: 0.3}"))
    assert len(found.experiments) == 2 + 8
    assert set(found.blocks["again"]) < set(found.blocks["tight"])


def test_settings_without_blocks_are_one_grid():
    found = plan.read({"sampler": ["unif", "p"], "seeds": 3})
    assert found.blocks == {"": grid({"sampler": ["unif", "p"], "seeds": 3})}
    assert found.digest == ""


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("sampler: [unif, p]", "sampler: [unif, pp]"), r"block tight: sampler='pp' is unknown"),
        (("budget: [0.3, 0.5]", "bugdet: [0.3, 0.5]"), r"block tight: unknown setting 'bugdet'"),
        (("full: {sampler: sgd}", "full: {study: other}"), r"block full: study='other' stands in a block"),
        (("full: {sampler: sgd}", "full: [sgd]"), r"blocks must map"),
        (("choosing: {where: {budget: 0.3}, arms: {sampler: p}}", "choosing: p"), r"contrasts must map"),
        (("epochs: 2", "epochs: 0"), r"block full: epochs=0"),
    ],
)
def test_what_cannot_work_is_refused_with_file_and_block(tmp_path, change, message):
    with pytest.raises(InputError, match=rf"tables\.yaml: {message}"):
        written(tmp_path, TEXT.replace(*change))


def test_no_blocks_at_all_are_refused():
    with pytest.raises(InputError, match="names nothing to run"):
        plan.read({"blocks": {}})


def test_the_digest_is_of_the_file(tmp_path):
    one, other = written(tmp_path), written(tmp_path, TEXT + "# a remark\n")
    assert one.digest != other.digest
    assert one.digest == written(tmp_path).digest
    assert one.experiments == other.experiments


def test_files_of_one_study_are_kept_and_judged_as_a_whole(tmp_path):
    plan.keep(written(tmp_path), tmp_path / "out")
    second = {"study": "tables", "blocks": {"more": {"sampler": "scan"}}, "contrasts": {"more": {"arms": {}}}}
    plan.keep(written(tmp_path, yaml.safe_dump(second), "second.yaml"), tmp_path / "out")
    kept = plan.kept("tables", tmp_path / "out")
    assert [one.name for one in kept] == ["second.yaml", "tables.yaml"]
    assert set(plan.contrasts_of(kept)) == {"choosing", "more"}
    assert kept[1].digest == written(tmp_path).digest
    assert plan.kept("elsewhere", tmp_path / "out") == []


@pytest.mark.parametrize(
    ("what", "second"),
    [
        ("block 'full'", {"blocks": {"full": {"sampler": "scan"}}}),
        ("contrast 'choosing'", {"blocks": {"more": {}}, "contrasts": {"choosing": {"margin": 2.0}}}),
    ],
)
def test_two_files_that_disagree_are_named(tmp_path, what, second):
    plan.keep(written(tmp_path), tmp_path / "out")
    other = written(tmp_path, yaml.safe_dump({"study": "tables", **second}), "second.yaml")
    with pytest.raises(InputError, match=rf"second.yaml and tables.yaml of study='tables' disagree on the {what}"):
        plan.keep(other, tmp_path / "out")
    plan.keep(written(tmp_path, TEXT.replace("seeds: 2", "seeds: 3")), tmp_path / "out")  # a newer version of itself
