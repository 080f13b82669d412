"""The rule by which tables of trials are judged, on tables done by hand."""

from math import inf

import pytest

from iskit.errors import InputError
from iskit.judging.optimum import best, beyond, choose, finer, mean, on_edge, peak

GRID = (0.025, 0.05, 0.1, 0.2, 0.4)


def table(*means, spread=0.2, lrs=GRID):
    """Two seeds a learning rate, a standard error of spread / 2 each; None: one of the two diverged."""
    return {
        lr: (90.0, None) if one is None else (one - spread / 2, one + spread / 2)
        for lr, one in zip(lrs, means, strict=True)
    }


@pytest.mark.parametrize(
    ("means", "chosen"),
    [
        ((80, 85, 90, 95, 85), 0.2),  # clear of all others
        ((80, 85, 94.91, 95, 85), 0.1),  # .1 is within the standard error, .1
        ((80, 85, 94.89, 95, 85), 0.2),  # and now not
        ((80, 94.95, 80, 95, 85), 0.2),  # .05 is as near to .1: the better one
        ((80, 95, 80, 94.95, 85), 0.05),
        ((95, 80, 80, 94.95, 85), 0.2),  # .025 is farther by its logarithm, though not by the difference
        ((95, 95, 95, 95, 95), 0.1),
        ((80, 85, 90, 99, None), 0.2),  # the mean of .4's other seed does not count
        ((80, 70, None, None, None), 0.025),
    ],
)
def test_the_nearest_to_a_tenth_within_one_standard_error_of_the_best_is_chosen(means, chosen):
    assert choose(table(*means)) == chosen


def test_the_standard_error_is_the_best_ones_own():
    found = {0.1: (80.0, 100.0), 0.2: (92.0, 92.2), 0.4: (50.0, 50.0)}  # of .1 it is 10, of .2 it is .1
    assert choose(found) == 0.2
    assert choose({**found, 0.2: (90.0, 94.0)}) == 0.1  # 92 - 2 = 90, the mean of .1
    three = {0.1: (90.0, 90.0, 90.0), 0.2: (91.0, 91.0, 92.5)}  # sd .866, by the root of 3: .5; 91.5 - .5 > 90
    assert choose(three) == 0.2
    assert choose({**three, 0.1: (91.1, 91.1, 91.1)}) == 0.1


def test_a_diverged_trial_has_lost_to_all():
    assert mean([99.0, None]) == -inf
    assert peak(table(10, 20, 30, 5, None)) == 0.1
    assert best({1: (99.9, None), 2: (10.0, 10.0)}) == 2
    with pytest.raises(InputError, match=r"every lr from 0.025 to 0.4 diverged: give smaller ones"):
        choose(table(None, None, None, None, None))


def test_of_strengths_the_first_of_the_best_is_taken():
    assert best({None: (90.0, 91.0), 1: (92.0, 91.0), 2: (91.0, 92.0)}) == 1
    assert best({None: (92.0, 91.0), 1: (91.0, 92.0)}) is None


def test_a_best_on_the_edge_extends_the_grid_for_all():
    inner, low, high = table(80, 90, 80, 70, 60), table(90, 80, 70, 60, 50), table(50, 60, 70, 80, 90)
    assert [on_edge(one) for one in (inner, low, high)] == [0, -1, 1]
    assert beyond([inner, inner]) == []
    assert beyond([inner, low]) == [0.0125]
    assert beyond([inner, high]) == [0.8]
    assert beyond([low, inner, high]) == [0.0125, 0.8]
    assert beyond([table(80, 90, 95, lrs=(0.1, 0.3, 0.9))]) == [2.7]  # by the ratio of the last step


def test_the_best_asks_for_more_even_if_a_milder_one_within_its_error_would_be_chosen():
    found = table(50, 60, 70, 89.95, 90)
    assert choose(found) == 0.2
    assert beyond([found]) == [0.8]


def test_all_equal_is_no_edge():
    assert on_edge(table(100, 100, 100, 100, 100)) == 0
    assert beyond([table(None, 90, 80, 70, 60)]) == []


@pytest.mark.parametrize(
    ("chosen", "count", "found"),
    [
        (0.1, 2, [0.07071, 0.1414]),  # halfway, by ratio, to .05 and to .2
        (0.1, 3, [0.063, 0.07937, 0.1414]),
        (0.1, 1, [0.07071]),
        (0.4, 2, [0.2828, 0.5657]),  # as if .8 came next
        (0.025, 2, [0.01768, 0.03536]),
    ],
)
def test_finer_learning_rates_lie_between_the_neighbours(chosen, count, found):
    assert finer(GRID, chosen, count) == found
    assert finer(reversed(GRID), chosen, count) == found
