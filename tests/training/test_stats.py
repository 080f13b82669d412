"""Variability of sample counts against closed forms, NumPy and SciPy."""

import math

import numpy as np
import pytest
import torch
from scipy import stats as scipy_stats

from iskit.training.stats import coverage, effective_sample_size, entropy, shares

COUNTS = [
    torch.tensor(np.random.default_rng(0).poisson(3, 5000)),
    torch.tensor([0, 0, 5, 1, 0, 94]),
    torch.tensor([2**40, 1, 3]),
]


@pytest.mark.parametrize("counts", COUNTS, ids=["many", "few", "huge"])
def test_against_numpy_and_scipy(counts):
    c = counts.numpy()
    assert entropy(counts) == pytest.approx(scipy_stats.entropy(c), rel=1e-12)
    assert coverage(counts) == pytest.approx(np.count_nonzero(c) / len(c), rel=1e-12)
    assert effective_sample_size(counts) == pytest.approx(float(c.sum()) ** 2 / (c.astype(float) ** 2).sum(), rel=1e-12)
    assert shares(counts).sum().item() == pytest.approx(1, rel=1e-12)
    assert 1 <= effective_sample_size(counts) <= math.exp(entropy(counts)) <= coverage(counts) * len(c) + 1e-9


@pytest.mark.parametrize("n", [1, 2, 1000])
@pytest.mark.parametrize("times", [1, 60])
def test_equal_counts_are_as_varied_as_can_be(n, times):
    counts = torch.full((n,), times)
    assert entropy(counts) == pytest.approx(math.log(n))
    assert coverage(counts) == 1
    assert effective_sample_size(counts) == pytest.approx(n)


def test_a_single_example_has_no_variety():
    counts = torch.tensor([0, 7, 0, 0])
    assert entropy(counts) == 0
    assert coverage(counts) == 0.25
    assert effective_sample_size(counts) == 1


def test_before_anything_was_trained_all_are_zero():
    counts = torch.zeros(5, dtype=torch.int64)
    assert entropy(counts) == coverage(counts) == effective_sample_size(counts) == 0
