"""Paths of data and weights: under data_dir first, which is no part of a run's name, then in the project."""

import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from iskit import files
from iskit.data import datasets
from iskit.models import models
from iskit.runs.experiment import Experiment
from iskit.runs.parts import build, canonical
from iskit.runs.run import Run


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.setenv("ISKIT_ROOT", str(tmp_path))
    return tmp_path


def test_under_data_dir_first_then_in_the_project(project):
    assert files.located("x", project / "data") == project / "x"
    (project / "x").mkdir()
    (project / "data" / "x").mkdir(parents=True)
    assert files.located("x", project / "data") == project / "data" / "x"
    assert files.located(str(project / "y"), project / "data") == project / "y"
    assert files.located("x" * 5000, project / "data") == project / ("x" * 5000)  # no name of a file


def test_images_that_moved_with_data_dir_are_the_same_run(project):
    for part in ("train", "test"):
        for number in range(2):
            folder = project / "pictures" / part / f"class{number}"
            folder.mkdir(parents=True)
            for row in range(4):
                pixels = np.full((8, 8, 3), 40 * row + number, dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{row}.png")
    settings = {"dataset": "imagefolder(path='pictures')", "model": "cnn(width=2)", "batch_size": 4, "device": "cpu"}
    here = Run(Experiment(**settings, epochs=1, evals=1, budget=1.0))
    here.train()
    shutil.move(project / "pictures", project / "elsewhere" / "pictures")
    there = Run(Experiment(**settings, epochs=1, evals=1, budget=1.0, data_dir="elsewhere"))
    assert there.path == here.path
    there.check()  # of the same data: its digest is asked
    assert datasets.create(settings["dataset"], project / "elsewhere").folder == project / "elsewhere" / "pictures"


def test_weights_that_moved_with_data_dir_are_the_same_run(project, digits):
    torch.manual_seed(3)
    trained = models.create("resnet8", 10, 1, 8)
    torch.save(trained.state_dict(), project / "w.pt")
    model = "finetune(backbone='resnet8', weights='w.pt')"
    here, there = (Experiment(model=model, data_dir=name) for name in ("data", "elsewhere"))
    name = Run(here).path
    (project / "elsewhere").mkdir()
    shutil.move(project / "w.pt", project / "elsewhere" / "w.pt")
    assert Run(there).path == name
    assert canonical(there)["weights"]
    assert "weights" not in canonical(here)  # they are gone from there
    first = next(iter(trained.parameters()))
    assert torch.equal(next(iter(build(there, digits).parameters())), first)
