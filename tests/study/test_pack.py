"""A packed study stands in place of its folders: the same results, readers, figures, verdict and sweep."""

import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import iskit
from iskit.errors import InputError
from iskit.study import plan
from iskit.study.archive import ranked_counts_of
from iskit.study.pack import pack, thinned
from iskit.study.packed import POINTS, SHELF, opened
from iskit.study.sweep import Sweep
from iskit.views import gallery, runs

TEXT = """
study: small
dataset: digits(limit=80)
model: cnn(width=2)
epochs: 4
evals: 25
seeds: 2
blocks:
  first: {sampler: [unif, p]}
  more: {sampler: c, budget: 0.5}
contrasts:
  choosing: {arms: {sampler: p}}
"""


def written(folder: Path) -> Path:
    file = folder / "small.yaml"
    file.write_text(TEXT, encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Outputs with six finished runs of a study file."""
    outputs = tmp_path_factory.mktemp("outputs")
    found = plan.read_file(written(outputs))
    plan.keep(found, outputs)
    for experiment in found.experiments:
        iskit.Run(experiment, outputs, plan=found.digest).train()
    return outputs


@pytest.fixture
def packed(study: Path, tmp_path: Path) -> Path:
    """Outputs where the study is but its packed file, on the shelf."""
    file = tmp_path / SHELF / "small.zip"
    assert pack("small", file, study) == (6, {})
    return tmp_path


def by_run(frame: pd.DataFrame) -> pd.DataFrame:
    frame = frame.assign(run=[Path(path).name for path in frame["path"]]).set_index("run").sort_index()
    return frame.drop(columns="path")


def test_results_are_the_same(study, packed):
    pd.testing.assert_frame_equal(by_run(iskit.results("small", packed)), by_run(iskit.results("small", study)))
    file = str(packed / SHELF / "small.zip")
    pd.testing.assert_frame_equal(by_run(iskit.results(file)), by_run(iskit.results("small", study)))
    assert len(iskit.results(outputs=packed)) == 6
    assert iskit.results("other", packed).empty


def test_readers_are_the_same_where_all_is_kept(study, packed):
    frame, boxed = by_run(iskit.results("small", study)), iskit.results("small", packed)
    paths = {Path(path).name: path for path in boxed["path"]}
    for run, row in frame.iterrows():
        own = study / "small" / run
        history = thinned(iskit.history_of(own)).reset_index(drop=True)
        pd.testing.assert_frame_equal(
            iskit.history_of(paths[run])[history.columns], history.dropna(axis=1, how="all"), check_dtype=False
        )
        np.testing.assert_array_equal(iskit.correct_of(paths[run]), iskit.correct_of(own))
        np.testing.assert_array_equal(ranked_counts_of(paths[run]), np.sort(iskit.counts_of(own))[::-1])
        if row["seed"] == 1:
            np.testing.assert_array_equal(iskit.counts_of(paths[run]), iskit.counts_of(own))
            pd.testing.assert_frame_equal(
                iskit.sample_of(paths[run]), iskit.sample_of(own), check_dtype=False, rtol=1e-6, check_like=True
            )
        else:
            for read in (iskit.counts_of, iskit.sample_of):
                with pytest.raises(InputError, match="lowest seed of each arm"):
                    read(paths[run])


def test_other_seeds_keep_means_and_quantiles_of_the_sample(study, packed):
    whole = opened(packed / SHELF / "small.zip")
    table = whole.table("quantiles").set_index("run")
    assert len(table.index.unique()) == 3
    for run in table.index.unique():
        sample = iskit.sample_of(study / "small" / run)
        last = sample[sample["t"] == sample["t"].max()]
        kept = table.loc[run].iloc[-1]
        assert kept["loss"] == pytest.approx(last["loss"].mean())
        assert kept["prob_90"] == pytest.approx(np.quantile(last["prob"], 0.9))
        assert kept["drawn"] == last["drawn"].sum()


def test_histories_are_thinned_to_twenty_points_with_both_ends():
    history = pd.DataFrame({"t": np.arange(101) / 100})
    kept = thinned(history)["t"]
    assert len(kept) == POINTS == 20
    assert (kept.iloc[0], kept.iloc[-1]) == (0, 1)
    assert kept.diff().dropna().between(0.049, 0.061).all()
    assert thinned(history[:20]) is not history
    assert len(thinned(history[:7])) == 7


def test_a_block_alone(study, tmp_path):
    assert pack("small", tmp_path / "one.zip", study, "more") == (2, {})
    assert set(iskit.results(str(tmp_path / "one.zip"))["sampler"]) == {"c"}
    with pytest.raises(InputError, match=r"block='mor'.*did you mean 'more'"):
        pack("small", tmp_path / "two.zip", study, "mor")
    assert not (tmp_path / "two.zip").exists()


def test_a_run_in_a_folder_and_in_a_file_counts_once(study, packed):
    some = next((study / "small").glob("unif-*"))
    shutil.copytree(some, packed / "small" / some.name)
    frame = iskit.results("small", packed)
    assert len(frame) == 6
    assert str(packed / "small" / some.name) in set(frame["path"])
    assert frame.attrs["copies"] == {}


def test_a_sweep_takes_packed_runs_for_finished(packed):
    experiments = plan.read_file(written(packed)).blocks["first"]
    news = list(Sweep(experiments, outputs=packed))
    frame = iskit.results("small", packed).set_index(["sampler", "seed"])["accuracy"]
    assert [one.finished for one in news] == [True] * 4
    assert [one.accuracy for one in news] == [frame[e.sampler, e.seed] for e in experiments]
    assert not (packed / "small").exists()


def test_figures_of_a_packed_study(packed, monkeypatch):
    monkeypatch.setenv("ISKIT_ROOT", str(packed.parent))
    frame = iskit.results("small", packed)
    assert runs.curves(frame).data
    assert runs.sample_counts(frame).data
    assert "<img" in gallery.trained(frame, "p").data


def test_the_study_files_come_along(packed):
    found = opened(packed / SHELF / "small.zip")
    assert found.files["plan/small.yaml"].decode() == TEXT
    assert found.about == {"format": 1, "study": "small", "block": None}


def broken(file: Path, change: str) -> None:
    if change == "flipped":
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 0xFF
        file.write_bytes(data)
    elif change == "cut":
        file.write_bytes(file.read_bytes()[:-100])
    elif change == "text":
        file.write_text("no zip")
    else:
        with zipfile.ZipFile(file) as whole:
            parts = {name: whole.read(name) for name in whole.namelist() if name != change}
        if change == "format":
            parts["about.json"] = json.dumps({"format": 2, "study": "small"}).encode()
        with zipfile.ZipFile(file, "w") as whole:
            for name, data in parts.items():
                whole.writestr(name, data)


@pytest.mark.parametrize("change", ["flipped", "cut", "text", "about.json", "runs.parquet", "format"])
def test_a_damaged_file_or_one_of_another_version_is_one_line_and_nothing_half_read(packed, change):
    file = packed / SHELF / "small.zip"
    broken(file, change)
    word = "format 2, read is 1" if change == "format" else "damaged|holds no"
    with pytest.raises(InputError, match=word) as told:
        iskit.results(str(file))
    assert "\n" not in str(told.value)
    frame = iskit.results("small", packed)
    assert frame.empty
    assert list(frame.attrs["damaged"]) == [str(file)]


def test_what_cannot_be_packed_is_refused(study, tmp_path):
    with pytest.raises(InputError, match="has no finished run"):
        pack("nothing", tmp_path / "a.zip", study)
    with pytest.raises(InputError, match=r"must end in \.zip"):
        pack("small", tmp_path / "a.tar", study)
    with pytest.raises(InputError, match="is not there"):
        iskit.results(str(tmp_path / "a.zip"))
    assert list(tmp_path.iterdir()) == []


def test_the_verdict_is_by_the_contrasts_that_came_along(study, packed):
    """In folders and packed alike, by the study's name and by the file's."""
    (packed / "small").mkdir()
    found = [iskit.verdict("small", outputs=study), iskit.verdict("small", outputs=packed)]
    found.append(iskit.verdict(str(packed / SHELF / "small.zip"), outputs=packed))
    for one in found:
        assert [judgement.contrast.name for judgement in one] == ["choosing"]
        assert one.sentences == found[0].sentences
