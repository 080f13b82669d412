"""The tests behind a verdict, on arrays of paired numbers: a row a seed, a column an arm. Floats throughout.

Definitions and their simulated errors and powers: `../shared/methods.md`, "A verdict that would convince a referee".
"""

from functools import cache
from typing import NamedTuple

import numpy as np
from scipy import stats

ERROR = 0.05  # of a whole family: the chance that any of its arms is called different though none is
POWER = 0.8
EXACT = 18  # seeds; with more, patterns are drawn
TIES = 1e-9  # relative: patterns whose statistics differ by less are equal
ROUNDING = 1e-12  # relative: of the variance of differences that are all alike


def signs(n: int) -> np.ndarray:
    """(patterns, n) of 1 and -1: how the n seeds' differences may be flipped, the first pattern flips none.

    Flipping all seeds changes no two-sided statistic, so the last seed keeps its sign: 2^(n-1) patterns. Of more than
    EXACT seeds as many random ones as EXACT has, the first among them, always the same.
    """
    if n > EXACT:
        drawn = np.random.Generator(np.random.Philox(n)).integers(2, size=(2 ** (EXACT - 1), n))
        drawn[0] = 0
        return 1.0 - 2.0 * drawn
    patterns = np.arange(2 ** (n - 1))[:, None] >> np.arange(n) & 1
    return 1.0 - 2.0 * patterns


def flip_test(difference: np.ndarray, patterns: np.ndarray | None = None) -> np.ndarray:
    """(..., n, K) paired differences -> (..., K) two-sided p values, corrected for the K arms.

    All arms of a seed are flipped together, which a shared reference allows. An arm's statistic is |mean| over its
    deviation, whose square is at least the arms' median one, in every pattern anew; its p is the share of patterns
    in which the largest statistic of all arms is at least its own. Never below 2^(1-n), so above ERROR for n < 6.
    patterns: as `signs` gives them, which is the default.
    """
    n = difference.shape[-2]
    flips = signs(n) if patterns is None else patterns
    size = np.abs(flips @ difference) / n
    square = np.mean(difference**2, axis=-2, keepdims=True)  # that no flip changes
    variance = square - size**2
    variance[variance < ROUNDING * square] = 0
    variance = np.maximum(variance, np.median(variance, axis=-1, keepdims=True))
    with np.errstate(divide="ignore", invalid="ignore"):
        statistic = np.where(size > 0, size / np.sqrt(variance), 0.0)
    largest = statistic.max(axis=-1, keepdims=True)
    return np.mean(largest >= statistic[..., :1, :] * (1 - TIES), axis=-2)


class Interval(NamedTuple):
    """Of K arms: each array (K,)."""

    middle: np.ndarray
    low: np.ndarray
    high: np.ndarray


def interval(difference: np.ndarray) -> Interval:
    """Simultaneous intervals for the means of (n, K) differences: Student's t at 1 - ERROR / 2K (Bonferroni).

    One seed alone says nothing: its intervals are infinite.
    """
    n, arms = difference.shape
    middle = difference.mean(axis=0)
    if n < 2:
        return Interval(middle, np.full(arms, -np.inf), np.full(arms, np.inf))
    half = stats.t.ppf(1 - ERROR / (2 * arms), n - 1) * difference.std(axis=0, ddof=1) / np.sqrt(n)
    return Interval(middle, middle - half, middle + half)


def ratio(arm: np.ndarray, reference: np.ndarray) -> Interval:
    """Geometric mean over seeds of arm / reference, both (n, K) and positive, with its simultaneous interval."""
    return Interval(*map(np.exp, interval(np.log(arm) - np.log(reference))))


def smallest_effect(difference: np.ndarray) -> np.ndarray:
    """(K,): the mean difference that would have been found with a chance of POWER, in the units of (n, K) differences.

    The deviation that the test goes by, the arm's or the median one, times `detectable(n, K)`; inf below 6 seeds.
    """
    n, arms = difference.shape
    least = detectable(n, arms)
    if least == np.inf:
        return np.full(arms, np.inf)
    variance = difference.var(axis=0, ddof=1)
    return np.sqrt(np.maximum(variance, np.median(variance))) * least


@cache
def detectable(n: int, arms: int, studies: int = 1000) -> float:
    """The effect on one of `arms` that `flip_test` finds with POWER, in deviations of a paired difference.

    By simulation of normal differences whose correlation between arms is .5, as one shared reference makes it; to .01,
    with an error of about .03. Flips beyond 256 are left to chance.
    """
    flips = signs(n)
    if 1 / len(flips) > ERROR:
        return np.inf
    random = np.random.Generator(np.random.Philox((n, arms)))
    if len(flips) > 256:
        flips = np.concatenate([flips[:1], random.choice(flips[1:], 255, replace=False)])
    runs = random.standard_normal((studies, n, arms + 1))
    null = (runs[..., 1:] - runs[..., :1]) / np.sqrt(2)
    low, high = 0.0, 16.0
    while high - low > 0.01:
        effect = (low + high) / 2
        shifted = null + np.eye(arms)[0] * effect
        found = np.concatenate([flip_test(part, flips)[:, 0] <= ERROR for part in np.array_split(shifted, 10)])
        low, high = (low, effect) if found.mean() >= POWER else (effect, high)
    return (low + high) / 2


def image_noise(arm: np.ndarray, reference: np.ndarray) -> float:
    """Standard error, in points, of a mean difference of accuracies that the choice of the test images alone makes.

    arm, reference (n, images) bool: which test images each seed's run got right. The deviation over images of the mean
    over seeds of arm - reference, over the root of their number.
    """
    mean = np.mean(arm.astype(float) - reference, axis=0)
    return float(100 * mean.std(ddof=1) / np.sqrt(len(mean)))


def correlation(arm: np.ndarray, reference: np.ndarray) -> float:
    """Pearson's, over the seeds of two (n,) arrays; NaN if one of them does not vary, or below three seeds."""
    if len(arm) < 3 or np.ptp(arm) == 0 or np.ptp(reference) == 0:
        return float("nan")
    return float(np.corrcoef(arm, reference)[0, 1])


class Trend(NamedTuple):
    """statistic: Page's L; p: one-sided, for a rise along the steps."""

    statistic: float
    p: float


def trend(value: np.ndarray) -> Trend:
    """Page's test (1963) of (n, steps) values: whether they rise along the steps; seeds are its blocks."""
    found = stats.page_trend_test(value)
    return Trend(float(found.statistic), float(found.pvalue))
