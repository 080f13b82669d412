"""The page beyond images from scratch: weights that were trained before, curves a network, what the check refuses."""

import numpy as np
import pandas as pd
import pytest
import torch

import iskit
from iskit import files
from iskit.errors import InputError
from iskit.lessons import beyond
from iskit.runs.grid import grid
from iskit.runs.run import Run

RNN = "lstm(width=2)"
FIRST = ("digits(classes=(0, 1), limit=40)", "cnn(width=2)", 1)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """An empty one, with runs of a network that was trained before and of one that reads."""
    root = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ISKIT_ROOT", str(root))
        tuned = beyond.before("page", *FIRST)
        settings = {
            **{"study": "page", "dataset": "digits(classes=(2, 3, 4), limit=40)", "augment": "none", "epochs": 2},
            **{
                "model": [tuned.model, RNN],
                "sampler": ["unif", "gnorm(presample=2)"],
                "budget": 0.5,
                "evals": 2,
                "batch_size": 8,
            },
        }
        for experiment in grid({**settings, "seeds": 2}):
            Run(experiment).train()
        yield tuned


@pytest.fixture
def frame(project):
    return iskit.results("page").sort_values("model", kind="stable", ignore_index=True)


def test_a_network_is_trained_before_once_and_its_weights_are_kept(project, monkeypatch):
    [folder] = (path.parent for path in (files.root() / "outputs" / "page-before").glob("*/result.json"))
    kept = torch.load(files.root() / "outputs" / "page" / beyond.WEIGHTS, weights_only=True)
    made = torch.load(folder / "model.pt", weights_only=True)
    assert all(torch.equal(kept[name], made[name]) for name in made)
    text = (folder / "result.json").stat().st_mtime_ns
    assert beyond.before("page", *FIRST) == project
    assert (folder / "result.json").stat().st_mtime_ns == text
    assert project.model == "finetune(backbone='cnn(width=2)', weights='outputs/page/before.pt')"
    accuracy = iskit.results("page-before")["accuracy"].item()
    assert project._repr_markdown_().endswith(f"limit=40)`: {accuracy:.1f} % of its test images right.")


def test_a_curve_is_the_mean_of_one_network_s_seeds(frame):
    assert beyond.networks(frame) == ["fine-tuned cnn(width=2)", RNN]
    for model, name in zip(dict.fromkeys(frame["model"]), beyond.networks(frame), strict=True):
        lines = {line.name: line for line in beyond.curves(frame, name).data if line.name}
        assert len(lines) == 2
        ends = frame[(frame["model"] == model) & (frame["sampler"] == "unif")]["accuracy"]
        [uniform] = [line for label, line in lines.items() if label.startswith("unif")]
        assert uniform.y[-1] == pytest.approx(ends.mean())
    assert beyond.curves(frame).layout.title.text.startswith("fine-tuned")


def test_the_switch_is_told_for_each_network_of_a_method_that_has_one(frame):
    lines = beyond.switches(frame).data
    assert [line.name.partition(", ")[0] for line in lines] == beyond.networks(frame)
    runs = frame[(frame["model"] == RNN) & (frame["sampler"] != "unif")]
    tau = pd.concat([iskit.history_of(path) for path in runs["path"]]).groupby("t")["sampler_tau"].mean()
    np.testing.assert_allclose(lines[1].y, tau)
    with pytest.raises(InputError, match="no sampler of these runs watches tau"):
        beyond.switches(frame[frame["sampler"] == "unif"])


def test_the_check_holds_the_first_weights_against_what_was_trained_before(frame, monkeypatch):
    told = beyond.check(frame)._repr_markdown_()
    assert "fine-tuned cnn(width=2): 24 of 26 tensors start as trained before" in told
    assert "depends on each of the 64 pixels" in told
    build = beyond.build

    def anew(experiment, data):
        model = build(experiment, data)
        with torch.no_grad():
            next(model.parameters()).add_(1)
        return model

    monkeypatch.setattr(beyond, "build", anew)
    with pytest.raises(AssertionError, match="does not start as trained"):
        beyond.check(frame)


def test_the_check_finds_pixels_that_are_never_read(frame, monkeypatch):
    build = beyond.build

    def blind(experiment, data):
        model = build(experiment, data)
        model.order = model.order[1:]
        return model

    monkeypatch.setattr(beyond, "build", blind)
    with pytest.raises(AssertionError, match=r"sees 63 of 64 pixels"):
        beyond.check(frame[frame["model"] == RNN])
