"""See the sampling: what the page holds is what the runs' own files hold; what cannot be shown is said."""

import re
import shutil
from base64 import b64decode
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from run_folders import write_run
from sampled import SMALL, embedded, trained

import iskit
from iskit.data import Dataset
from iskit.errors import InputError
from iskit.runs.parts import load
from iskit.study.pack import pack
from iskit.views import sampling


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    return tmp_path_factory.mktemp("outputs")


@pytest.fixture(scope="module")
def frame(outputs):
    return trained(outputs)


@pytest.fixture
def copied(frame, tmp_path):
    """The same runs in folders that a test may spoil."""
    for path in frame["path"]:
        shutil.copytree(path, tmp_path / "seen" / Path(path).name)
    return frame.assign(path=[str(tmp_path / "seen" / Path(path).name) for path in frame["path"]])


def sheet_of(page: str) -> np.ndarray:
    [code] = re.findall(r'<img src="data:image/png;base64,([^"]*)"', page)
    return np.asarray(Image.open(BytesIO(b64decode(code))))


def said(page: str) -> str:
    assert page.startswith('<p role="status">')
    return re.sub("<[^>]*>", "", page)


@pytest.mark.parametrize("images", [60, sampling.IMAGES], ids=["some", "all"])
def test_the_page_holds_what_the_runs_files_hold(frame, images):
    content = embedded(sampling.see(frame, images=images).data)
    assert len(content["index"]) == min(images, content["examples"])
    assert [method["name"] for method in content["methods"]] == SMALL["sampler"]
    for method, path in zip(content["methods"], frame["path"], strict=True):
        sample = pd.read_parquet(Path(path) / "sample.parquet")
        past = pd.read_parquet(Path(path) / "history.parquet")
        assert method["t"] == list(dict.fromkeys(sample["t"]))
        for name in ("drawn", "loss", "prob"):
            own = sample.pivot(index="t", columns="index", values=name)[content["index"]]
            np.testing.assert_array_equal(method[name], own)
        counts = np.load(Path(path) / "counts.npy")
        np.testing.assert_array_equal(method["drawn"].sum(axis=0), counts[content["index"]])
        lines = method["lines"]
        np.testing.assert_allclose(lines["loss"]["value"], past["sample_loss"], rtol=1e-5)
        assert lines["entropy"] == {"t": past["t"].tolist(), "value": past["entropy"].tolist()}
        np.testing.assert_allclose(np.log(lines["effective"]["value"]), past["entropy"])
        for kind in ("rare", "mislabelled"):
            assert lines[kind]["value"] == past[f"share_{kind}"].tolist()


def test_it_shows_the_images_their_labels_and_kinds_as_the_data_set_tells(frame):
    page = sampling.see(frame, images=60).data
    content, data = embedded(page), load(SMALL["dataset"], Path("data"), 0, torch.device("cpu"), 1)
    index = torch.tensor(content["index"])
    assert len(set(content["index"])) == 60
    assert content["label"] == data.label[index].tolist()
    wrong = np.array(content["label"]) != np.array(content["true"])
    np.testing.assert_array_equal(wrong, data.flags["mislabelled"][index])
    for kind, flag in data.flags.items():
        assert content["kinds"][kind] == flag[index].int().tolist()
        assert content["shares"][kind] == pytest.approx(flag.double().mean().item())
    whole = sheet_of(page)
    for number, image in enumerate(data.images(index)[..., 0]):
        down, left = divmod(number, content["across"])
        np.testing.assert_array_equal(whole[8 * down : 8 * down + 8, 8 * left : 8 * left + 8], image)


def test_of_many_evaluations_some_are_shown_and_no_draw_is_lost(frame, monkeypatch):
    every = embedded(sampling.see(frame).data)
    monkeypatch.setattr(sampling, "FRAMES", 3)
    few = embedded(sampling.see(frame).data)
    for method, whole in zip(few["methods"], every["methods"], strict=True):
        assert method["t"] == [whole["t"][at] for at in (0, 2, 5)]
        np.testing.assert_array_equal(method["drawn"].sum(axis=0), whole["drawn"].sum(axis=0))
        np.testing.assert_array_equal(method["drawn"][1], whole["drawn"][1:3].sum(axis=0))
        np.testing.assert_array_equal(method["loss"], whole["loss"][[0, 2, 5]])


def test_a_packed_study_shows_the_same(frame, outputs, tmp_path):
    pack("seen", tmp_path / "seen.zip", outputs)
    boxed = iskit.results(str(tmp_path / "seen.zip"))
    boxed = boxed.set_index("sampler", drop=False).loc[SMALL["sampler"]]
    one, other = (embedded(sampling.see(which).data) for which in (frame, boxed))
    for method, same in zip(one["methods"], other["methods"], strict=True):
        for name in ("drawn", "loss", "prob"):
            np.testing.assert_array_equal(method[name], same[name])


def test_photographs_are_shrunk_and_keep_their_colours():
    image = torch.zeros(25, 80, 80, 3, dtype=torch.uint8)
    image[:, :, :, 0] = torch.arange(25)[:, None, None] * 10
    data = Dataset(image, torch.zeros(25).long(), image, torch.zeros(25).long(), (0.5,) * 3, (0.5,) * 3, ("a",))
    sheet = np.asarray(Image.open(BytesIO(b64decode(sampling.sheet(data, np.arange(25)).split(",")[1]))))
    assert sheet.shape == (2 * sampling.SIDE, sampling.ACROSS * sampling.SIDE, 3)
    assert sheet[40, 4 * sampling.SIDE + 5].tolist() == [240, 0, 0]  # number 24


def test_nothing_of_a_name_ends_the_script_and_nothing_is_asked_of_elsewhere(frame, monkeypatch):
    content = sampling.told(sampling.chosen(frame))
    content["classes"][:2] = ['</script><img src="http://x">', "<!--<script>"]
    page = sampling.fragment(content, "data:,")
    assert embedded(page)["classes"] == content["classes"]
    assert page.count("</script>") == 3
    addresses = set(re.findall(r"https?://[^\s\"'<\\]+", sampling.see(frame).data))
    assert addresses == {"http://www.w3.org/2000/svg"}  # a name, no address


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"seed": 7}, "seed=7 has no finished run: give one of 1"),
        ({"images": 0}, "images=0 must be at least 1"),
    ],
)
def test_what_cannot_be_chosen_is_a_sentence(frame, settings, words):
    assert words in said(sampling.see(frame, **settings).data)


def test_no_results_and_runs_without_a_sample_are_a_sentence(tmp_path, copied):
    assert "nothing is trained yet: press Run" in said(sampling.see(iskit.results("none", tmp_path)).data)
    old = write_run(tmp_path / "old", study="seen")
    assert f"{old} holds no finished run, or one of an earlier version" in said(
        sampling.see(iskit.results("seen", tmp_path / "old")).data
    )
    sample = Path(copied["path"][0]) / "sample.parquet"
    sample.write_bytes(b"no table")
    one = copied[:1]
    assert "is damaged" in said(sampling.see(one).data)
    whole = pd.read_parquet(Path(copied["path"][1]) / "sample.parquet")
    whole[:-1].to_parquet(sample)
    assert "holds no whole sample" in said(sampling.see(one).data)
    assert "holds other images than" in said(sampling.see(copied[1:].assign(data_digest="of others")).data)
    with pytest.raises(InputError, match="nothing is trained yet"):
        sampling.check(one[:0])


def test_a_study_half_done_shows_what_is_there_and_says_what_is_not(frame, outputs, copied):
    alone = trained(outputs, sampler="unif", seed=0)
    half = pd.concat([alone, frame], ignore_index=True)
    content = embedded(sampling.see(half).data)
    assert "seed 1" in content["about"]  # the one that all methods have
    assert len(content["methods"]) == 2
    assert content["notes"] == []
    content = embedded(sampling.see(half, seed=0).data)
    assert [method["name"] for method in content["methods"]] == ["unif"]
    [note] = content["notes"]
    assert note == "Not shown: selective_backprop has no finished run of seed 0 yet: train the rest."
    (Path(copied["path"][0]) / "sample.parquet").unlink()
    content = embedded(sampling.see(copied).data)
    assert [method["name"] for method in content["methods"]] == ["selective_backprop"]
    assert "earlier version (sample.parquet is missing" in content["notes"][0]


def test_arms_that_differ_in_more_are_named_apart_and_other_runs_left_out(frame, outputs):
    more = trained(outputs, sampler="unif", budget=0.8)
    content = embedded(sampling.see(pd.concat([frame, more], ignore_index=True)).data)
    assert [method["name"] for method in content["methods"]] == ["unif, 50%", "selective_backprop, 50%", "unif, 80%"]
    fewer = trained(outputs, sampler="p", evals=3)
    content = embedded(sampling.see(pd.concat([frame, fewer], ignore_index=True)).data)
    assert len(content["methods"]) == 2
    assert content["notes"][0].startswith("Not shown: p, evals=3 was evaluated 3 times, unif, evals=6 6 times")
    other = trained(outputs, sampler="unif", dataset="digits(limit=150)")
    content = embedded(sampling.see(pd.concat([frame, other], ignore_index=True)).data)
    assert len(content["methods"]) == 2
    assert content["notes"] == [f"Only runs on {frame['dataset'][0]} are shown, 2 of 3."]
    assert embedded(sampling.see(other).data)["kinds"] == {}


def test_the_check_holds_the_page_against_the_files(copied):
    assert "2 methods, 6 moments" in sampling.check(copied).lines[0]
    counts = np.load(Path(copied["path"][1]) / "counts.npy")
    np.save(Path(copied["path"][1]) / "counts.npy", counts + 1)
    with pytest.raises(AssertionError, match="the page's draws are not its counts"):
        sampling.check(copied)
