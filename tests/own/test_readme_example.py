"""The README's example in a user's own code runs as printed there, and pays off as it says."""

from pathlib import Path

import pytest
import torch

from iskit.inputs import read_yaml
from iskit.models import models
from iskit.runs.experiment import Experiment
from iskit.samplers import samplers

ROOT = Path(__file__).parents[2]

# The first example of the Keras library for importance sampling (Katharopoulos & Fleuret 2018), on digits instead of
# MNIST: of these there are so few that gnorm's switch needs 10 epochs, not 3, to come on.
MODEL = """\
import torch
from sklearn.datasets import load_digits
from torch import nn

import iskit

digits = load_digits()
x, y = torch.tensor(digits.data / 16).float(), torch.tensor(digits.target)
train, test = (x[:1500], y[:1500]), (x[1500:], y[1500:])

model = nn.Sequential(
    nn.Linear(64, 512), nn.ReLU(), nn.Dropout(0.2),
    nn.Linear(512, 512), nn.ReLU(), nn.Dropout(0.2),
    nn.Linear(512, 10),
)
"""
FIT = """\
history = iskit.fit(
    model, train, validation=test, optimizer="adam", lr=1e-3, epochs=10, batch_size=128, budget=1.0,
    sampler="gnorm(presample=3)",  # the one line changed: sgd is plain training
)
print(history.frame()[["t", "accuracy", "backward", "forward_only", "seconds_train"]])
"""
LOOP = """\
optimizer = torch.optim.Adam(model.parameters())
loss = nn.CrossEntropyLoss(reduction="none")
loader = iskit.wrap(train, model, sampler="gnorm(presample=3)", batch_size=128, budget=1.0, epochs=10)
for image, target in loader:
    logits = model(image)
    loader.reduce(loss(logits, target), logits).backward()
    optimizer.step()
    optimizer.zero_grad()
"""


def run(*parts: str) -> dict:
    names: dict = {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for part in parts:
            exec(part, names)
    return names


def test_one_line(capsys):
    rows = run(MODEL, FIT)["history"].rows
    assert rows[-1]["accuracy"] > 85
    assert rows[-1]["forward_only"] > 0  # importance sampling has switched on
    assert rows[-1]["backward"] == 118 * 128
    assert "forward_only" in capsys.readouterr().out


def test_ones_own_loop():
    names = run(MODEL, LOOP)
    assert names["loader"].t == 1
    assert names["loader"].meter.forward_only > 0
    names["model"].eval()
    x, y = names["test"]
    assert (names["model"](x).argmax(1) == y).float().mean() > 0.85


@pytest.mark.parametrize("part", [MODEL, FIT, LOOP])
def test_the_readme_shows_these_very_lines(part):
    assert part in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_same_as_a_params_file():
    settings = read_yaml(ROOT / "params" / "mnist-mlp.yaml")
    experiment = Experiment.parse(settings)
    assert (experiment.optimizer, experiment.batch_size, experiment.epochs) == ("adam", 128, 10)
    assert samplers.canonical(experiment.sampler) == samplers.canonical("gnorm(presample=3)")
    assert experiment.model == "mlp"
    if "mlp" in models:
        network = models.create(experiment.model, 10, 1, 28)
        sizes = [tuple(p.shape) for p in network.parameters() if p.ndim == 2]
        assert sizes == [(512, 784), (512, 512), (10, 512)]
