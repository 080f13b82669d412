"""The tests behind a verdict against scipy, closed forms, and what they promise of simulated studies."""

import itertools
from math import inf, isnan, sqrt

import numpy as np
import pytest
from scipy import stats

from iskit.judging import statistics
from iskit.judging.statistics import ERROR, detectable, flip_test, interval, smallest_effect


def studies(seed: int, count: int, seeds: int, effect: float = 0.0, arms: int = 9, sd: float = 0.3) -> np.ndarray:
    """(count, seeds, arms) differences to a shared reference, correlated by .5 with it within a seed; arm 0 differs."""
    random = np.random.default_rng(seed)
    own, shared = random.standard_normal((count, seeds, arms + 1)), random.standard_normal((count, seeds, 1))
    accuracy = sd * (sqrt(0.5) * own + sqrt(0.5) * shared)
    difference = accuracy[..., 1:] - accuracy[..., :1]
    difference[..., 0] += effect
    return difference


def p_values(difference: np.ndarray) -> np.ndarray:
    return np.concatenate([flip_test(part) for part in np.array_split(difference, 20)])  # memory


def slow(difference: np.ndarray) -> np.ndarray:
    """As the definition reads, pattern by pattern."""
    n = len(difference)

    def statistic(d: np.ndarray) -> np.ndarray:
        variance = d.var(axis=0, ddof=1)
        return abs(d.mean(axis=0)) / np.sqrt(np.maximum(variance, np.median(variance)) / n)

    own = statistic(difference)
    flips = [np.array([1, *flip]) for flip in itertools.product((1, -1), repeat=n - 1)]
    largest = np.array([statistic(flip[:, None] * difference).max() for flip in flips])
    return np.array([(largest >= one * (1 - 1e-9)).mean() for one in own])


@pytest.mark.parametrize("n", [2, 6, 9])
def test_one_arm_is_scipys_exact_sign_flip_test(n):
    difference = np.random.default_rng(n).normal(0.4, 1, n)
    found = stats.permutation_test(
        (difference,), np.mean, permutation_type="samples", n_resamples=np.inf, alternative="two-sided"
    )
    assert flip_test(difference[:, None]) == pytest.approx([found.pvalue])


@pytest.mark.parametrize(("n", "arms"), [(6, 2), (6, 9), (7, 4)])
def test_several_arms_are_as_the_definition_reads(n, arms):
    for difference in studies(n, 5, n, 0.4, arms) * np.linspace(0.2, 3, arms):  # a calm arm leans on the median
        assert flip_test(difference) == pytest.approx(slow(difference), rel=1e-12)


def test_the_floor_of_p_and_a_seed_without_a_sign():
    up = np.array([0.3, 0.1, 0.4, 0.15, 0.9, 0.26])[:, None]
    for n in (3, 5, 6):
        assert flip_test(up[:n]) == 2.0 ** (1 - n)
    up[2] = 0
    assert flip_test(up) == 2.0 ** (1 - 5)
    assert flip_test(np.zeros((6, 2))).tolist() == [1, 1]
    assert flip_test(np.full((6, 1), 0.1)) == 2.0 ** (1 - 6)  # no deviation at all: infinitely far from 0
    alike = np.random.default_rng(0).normal(0.3, 0.2, (25, 1))
    assert flip_test(alike + 3) == flip_test(alike + 3) == 2.0 ** (1 - statistics.EXACT)


def test_rounding_makes_no_tie_uneven():
    """0.1 + 0.2 is not 0.3 in binary; whole numbers have no such trouble."""
    whole = np.random.default_rng(3).integers(-6, 9, (300, 6, 3)).astype(float)
    assert np.array_equal(flip_test(whole / 10), flip_test(whole))
    assert np.array_equal(flip_test(whole / 7), flip_test(whole))


@pytest.mark.parametrize(("n", "floor"), [(6, 1 / 32), (8, 6 / 128)])
def test_of_null_studies_the_promised_share_has_an_arm_called_different(n, floor):
    assert np.floor(ERROR * 2 ** (n - 1)) / 2 ** (n - 1) == floor
    called = (p_values(studies(n, 2000, n)) <= ERROR).any(axis=1).mean()
    assert abs(called - floor) <= 3 * sqrt(floor * (1 - floor) / 2000)


@pytest.mark.parametrize(
    ("n", "effect", "power"),
    [(6, 0.3, 0.18), (6, 0.5, 0.58), (6, 1.0, 0.99), (8, 0.3, 0.40), (8, 0.5, 0.90), (8, 1.0, 1.0)],
)
def test_a_true_difference_is_found_as_often_as_promised(n, effect, power):
    found = (p_values(studies(n, 2000, n, effect))[:, 0] <= ERROR).mean()
    assert abs(found - power) <= 3 * sqrt(max(power * (1 - power), 0.001) / 2000)  # 1.0 is rounded


@pytest.mark.parametrize("arms", [1, 4])
def test_intervals_are_scipys_paired_ones_at_bonferronis_level(arms):
    random = np.random.default_rng(arms)
    reference, arm = random.normal(90, 1, (8, 1)), random.normal(90.5, 1, (8, arms))
    found = interval(arm - reference)
    for k in range(arms):
        theirs = stats.ttest_rel(arm[:, k], reference[:, 0]).confidence_interval(1 - 0.05 / arms)
        assert (found.low[k], found.high[k]) == pytest.approx((theirs.low, theirs.high))
        assert found.middle[k] == pytest.approx((arm[:, k] - reference[:, 0]).mean())
    assert interval(np.array([[1.0]])).high == inf


def test_a_ratio_is_geometric_with_the_interval_of_its_logarithm():
    arm, reference = np.array([[2.0], [4.0], [8.0]]), np.array([[1.0], [1.0], [1.0]])
    found = statistics.ratio(arm, reference)
    half = stats.t.ppf(0.975, 2) * np.log(2) / sqrt(3)
    assert found.middle == pytest.approx([4])
    assert (found.low[0], found.high[0]) == pytest.approx((4 / np.exp(half), 4 * np.exp(half)))


def test_pages_trend_by_hand_and_as_scipys():
    rising = np.array([[1.0, 2.0, 3.0], [10.0, 20.0, 30.0]])
    assert statistics.trend(rising) == pytest.approx((2 * (1 + 4 + 9), 1 / 36))  # one of 6 x 6 orders
    assert statistics.trend(rising[:, ::-1]).p == pytest.approx(1)
    noisy = np.random.default_rng(5).normal(size=(8, 4))
    theirs = stats.page_trend_test(noisy)
    assert statistics.trend(noisy) == pytest.approx((theirs.statistic, theirs.pvalue))


@pytest.mark.parametrize(("n", "expected"), [(5, inf), (6, 2.1), (7, 1.6), (8, 1.5)])
def test_the_smallest_effect_is_that_of_the_simulated_table(n, expected):
    assert detectable(n, 9) == pytest.approx(expected, abs=0.06)


def test_the_smallest_effect_is_found_in_four_of_five_studies_and_scales_with_the_deviation():
    sd = 0.3
    found = p_values(studies(11, 2000, 8, detectable(8, 9) * sd))[:, 0] <= ERROR
    assert found.mean() == pytest.approx(0.8, abs=0.04)
    difference = np.random.default_rng(2).normal(size=(8, 3))
    deviation = difference.std(axis=0, ddof=1)
    floored = np.maximum(deviation, np.median(deviation))
    assert smallest_effect(difference) == pytest.approx(floored * detectable(8, 3))
    assert smallest_effect(difference[:1]).tolist() == [inf] * 3


def test_the_noise_of_the_test_set_by_hand():
    arm = np.array([[1, 1, 0, 0], [1, 0, 0, 0]], dtype=bool)
    reference = np.array([[0, 1, 0, 1], [0, 0, 0, 1]], dtype=bool)
    assert statistics.image_noise(arm, reference) == pytest.approx(100 * sqrt(2 / 3) / sqrt(4))  # of 1, 0, 0, -1
    assert statistics.image_noise(arm, arm) == 0


def test_correlation_over_seeds():
    base = np.array([1.0, 2.0, 4.0])
    assert statistics.correlation(3 * base + 1, base) == pytest.approx(1)
    assert statistics.correlation(-base, base) == pytest.approx(-1)
    assert isnan(statistics.correlation(base, np.ones(3)))
    assert isnan(statistics.correlation(base[:2], base[:2]))
