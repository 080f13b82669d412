"""docs/coming_from.md: each spec that it names is one, and trains."""

import re
from inspect import signature
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import iskit
from iskit.samplers import samplers

TEXT = (Path(__file__).parents[2] / "docs" / "coming_from.md").read_text(encoding="utf-8")
SPECS = [spec for spec in re.findall(r"`(\w+\([^`]*\))`", TEXT) if spec.partition("(")[0] in list(samplers)]
X, Y = torch.randn(192, 5, generator=torch.Generator().manual_seed(0)), torch.arange(192) % 3


def test_there_are_some():
    assert len(set(SPECS)) > 10


@pytest.mark.parametrize("spec", dict.fromkeys(SPECS))
def test_each_line_trains(spec: str):
    model = nn.Linear(5, 3)
    loader = iskit.wrap((X, Y), model, sampler=spec, batch_size=16, budget=0.6, epochs=10)
    for x, y in loader:
        logits = model(x)
        loader.reduce(F.cross_entropy(logits, y, reduction="none"), logits).backward()
    assert loader.t == 1


def test_the_calls_take_what_the_page_says():
    called = re.findall(r"iskit\.(wrap|fit)\(([^`]*)\)`", TEXT)
    assert len(called) == 6
    for name, arguments in called:
        known = set(signature(getattr(iskit, name)).parameters)
        assert set(re.findall(r"(\w+)=", arguments)) <= known
