"""How the best of a table of trials is chosen: pure functions of value -> accuracies, one rule for all arms."""

from collections.abc import Iterable, Mapping, Sequence
from math import inf, log, sqrt
from statistics import fmean, stdev
from typing import TypeVar

from iskit.errors import InputError

V = TypeVar("V")
Table = Mapping[V, Sequence[float | None]]  # accuracies of a value's trials, by seed; None: it diverged

USUAL = 0.1  # the learning rate that is taken if the trials do not tell it from the best


def mean(accuracies: Sequence[float | None]) -> float:
    """Of a value's trials; below all others if one diverged."""
    known = [one for one in accuracies if one is not None]
    return fmean(known) if len(known) == len(accuracies) else -inf


def best(table: Table[V]) -> V:
    """The value with the highest mean, the first of several."""
    return max(table, key=lambda value: mean(table[value]))


def peak(table: Table[float]) -> float:
    """The learning rate with the highest mean; of several the one nearest USUAL."""
    return max(table, key=lambda lr: (mean(table[lr]), -distance(lr), -lr))


def choose(table: Table[float]) -> float:
    """Of the learning rates within one standard error of the best one's mean, the one nearest USUAL, by its logarithm;
    of two as near, the better one. InputError if all diverged."""
    top = peak(table)
    if mean(table[top]) == -inf:
        raise InputError(f"every lr from {min(table):g} to {max(table):g} diverged: give smaller ones in tune: lr")
    accuracies = [one for one in table[top] if one is not None]
    lowest = fmean(accuracies) - stdev(accuracies) / sqrt(len(accuracies)) - 1e-9  # points: no rounding decides
    near = [lr for lr in table if mean(table[lr]) >= lowest]
    return min(near, key=lambda lr: (distance(lr), -mean(table[lr]), lr))


def distance(lr: float) -> float:
    """Of a learning rate to USUAL, in powers of e, rounded: half as much and twice as much are as near."""
    return round(abs(log(lr / USUAL)), 9)


def on_edge(table: Table[float]) -> int:
    """-1, 1: the best learning rate is the lowest, the highest of the grid, so that a better one may lie beyond; else
    0."""
    top = peak(table)
    return (top == max(table)) - (top == min(table))


def beyond(tables: Iterable[Table[float]]) -> list[float]:
    """The learning rates by which the common grid of all arms grows: a step past each edge where one has its best."""
    tables = list(tables)
    lrs = sorted(tables[0])
    edges = {on_edge(table) for table in tables}
    steps = {-1: lrs[0] * lrs[0] / lrs[1], 1: lrs[-1] * lrs[-1] / lrs[-2]}
    return [rounded(steps[edge]) for edge in (-1, 1) if edge in edges]


def finer(lrs: Iterable[float], chosen: float, count: int) -> list[float]:
    """So many learning rates between the neighbours of the chosen one, in even ratios; an odd one lies below it.

    On an edge the missing neighbour lies as far off as the other.
    """
    lrs = sorted(lrs)
    place = lrs.index(chosen)
    down = chosen / lrs[place - 1] if place else lrs[1] / lrs[0]
    up = lrs[place + 1] / chosen if place + 1 < len(lrs) else lrs[-1] / lrs[-2]
    below, above = count - count // 2, count // 2
    return [rounded(chosen * down ** (-part / (below + 1))) for part in range(below, 0, -1)] + [
        rounded(chosen * up ** (part / (above + 1))) for part in range(1, above + 1)
    ]


def rounded(lr: float) -> float:
    """To four digits, as people write them."""
    return float(f"{lr:.4g}")
