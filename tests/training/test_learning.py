"""The RNN and the fine-tuning learn, on real data."""

import pytest
import torch

from iskit.augment import Pipeline
from iskit.data import datasets
from iskit.models import models
from iskit.samplers import samplers
from iskit.training.trainer import Trainer


def train(spec, data, **settings):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = models.create(spec, len(data.classes), data.channels, data.size)
    trainer = Trainer(
        model,
        data,
        samplers.create("sgd"),
        Pipeline.parse("none"),
        budget=1.0,
        batch_size=32,
        evals=1,
        schedule=lambda t: 1 - t,
        **settings,
    )
    for _ in trainer:
        pass
    return model, trainer.history.frame().accuracy.iloc[-1]


@pytest.mark.parametrize("permuted", [False, True])
def test_an_lstm_learns_digits_pixel_by_pixel(permuted, tmp_path):
    digits = datasets.create("digits(size=4)", tmp_path).load()
    _, accuracy = train(f"lstm(width=64, permuted={permuted})", digits, epochs=10, optimizer="adam", lr=1e-2)
    assert accuracy > 75  # chance is 10


def test_fine_tuning_on_five_digits_goes_on_from_the_other_five(tmp_path):
    five, other = (datasets.create(f"digits(classes={c})", tmp_path).load() for c in ((0, 1, 2, 3, 4), (5, 6, 7, 8, 9)))
    model, accuracy = train("resnet8(width=8)", five, epochs=5, lr=0.05)
    assert accuracy > 90
    path = tmp_path / "five.pt"
    torch.save(model.state_dict(), path)
    _, tuned = train(f"finetune(backbone='resnet8(width=8)', weights='{path}')", other, epochs=1, lr=0.05)
    _, scratch = train("resnet8(width=8)", other, epochs=1, lr=0.05)
    assert tuned > max(scratch, 80)  # chance is 20
