"""The judgement of a study: each contrast's runs -> one word an arm, the numbers behind it, one sentence a family."""

from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf, nan
from typing import Any

import numpy as np
import pandas as pd

from iskit import files
from iskit.data import datasets
from iskit.errors import InputError
from iskit.judging import statistics
from iskit.judging.contrasts import Contrast, naming
from iskit.judging.notes import count_seeds, joined, mean, notes_on
from iskit.judging.pairs import Pairs, pair
from iskit.samplers import Sampler, samplers

Correct = Callable[[str], np.ndarray]  # path of a run -> (test images,) bool: which it got right; InputError if unknown

# An arm's word is the first that applies, in this order.
NEVER, COLLAPSED, WORSE, BETTER = "never acted", "collapsed", "worse", "better"
NO_DIFFERENCE, NO_GAIN, NOT_TOLD = "no difference", "no gain above the margin", "not told apart"
WORDS = (NEVER, COLLAPSED, WORSE, BETTER, NO_DIFFERENCE, NO_GAIN, NOT_TOLD)
RISES, FALLS = "rises", "falls"  # what a trend does, if it is told


@dataclass(frozen=True)
class Judgement:
    """What became of one contrast.

    table: a row an arm (a step of a trend), all numbers in points of the measure unless they say otherwise; sentence:
    what came out, computed; notes: what a reader must know beside it; families: how many the study has.
    """

    contrast: Contrast
    table: pd.DataFrame
    sentence: str
    notes: list[str] = field(default_factory=list)
    families: int = 1


def judge(
    contrast: Contrast, frame: pd.DataFrame, chance: float | None = None, correct: Correct | None = None,
    families: int = 1,
) -> Judgement:  # fmt: skip
    """One contrast by the runs of `iskit.results`.

    chance: accuracy in percent of guessing; None: from the runs, else from the data set's classes. correct: gives the
    test images a run got right, for the noise of the test set. InputError names the contrast.
    """
    with naming(contrast.name):
        pairs = pair(contrast, frame)
        if contrast.trend:
            found = _trend(contrast, pairs)
        elif contrast.ratio:
            found = _ratio(contrast, pairs)
        else:
            found = _difference(contrast, pairs, chance, correct)
    table, sentence, notes = found
    if pairs.left_out:
        notes.append(f"seeds left out, since not all have them: {', '.join(map(str, pairs.left_out))}")
    notes.append(f"one of {families} families" if families > 1 else "the only family")
    table.insert(0, "contrast", contrast.name)
    return Judgement(contrast, table, sentence, notes, families)


def _difference(
    contrast: Contrast, pairs: Pairs, chance: float | None, correct: Correct | None
) -> tuple[pd.DataFrame, str, list[str]]:
    assert pairs.reference is not None
    base, value = pairs.reference[contrast.measure].to_numpy(float), pairs.values(contrast.measure)
    difference = value - base[:, None]
    middle, low, high = statistics.interval(difference)
    p = statistics.flip_test(difference)
    bar, guessed = _collapse_bar(pairs.reference, chance)
    collapsed = (pairs.values("accuracy") < bar).sum(axis=0)
    fallen = int((pairs.reference["accuracy"] < bar).sum())
    words = [
        word(
            idle=_idle(runs),
            collapsed=int(collapsed[k]),
            reference_collapsed=fallen,
            interval=(middle[k], low[k], high[k]),
            p=p[k],
            margin=contrast.margin,
        )
        for k, runs in enumerate(pairs.arms)
    ]
    table = pd.DataFrame(
        {
            "arm": contrast.titles,
            "reference": contrast.against,
            "measure": contrast.measure,
            "seeds": len(pairs.seeds),
            "word": words,
            "difference": middle,
            "low": low,
            "high": high,
            "p": p,
            "margin": contrast.margin,
            "smallest": statistics.smallest_effect(difference),
            "test_noise": [_image_noise(runs, pairs.reference, correct) for runs in pairs.arms],
            "correlation": [statistics.correlation(column, base) for column in value.T],
            "collapsed": collapsed,
            "reference_collapsed": fallen,
            "mean": value.mean(axis=0),
            "reference_mean": base.mean(),
            **{name: [mean(runs, name) for runs in pairs.arms] for name in ("acted", "on", "weighted")},
            **{f"times_{kind}": statistics.ratio(*pairs.amounts(kind)).middle for kind in contrast.per},
        }
    )
    notes = notes_on(contrast, pairs)
    if fallen:
        notes.append(
            f"{contrast.against} itself collapsed in {fallen} of {len(pairs.seeds)} runs: no arm can be better"
        )
    if guessed:
        notes.append("the data set's classes are not known here: collapsed is below half the reference's median")
    return table, _sentence(contrast, table, len(pairs.seeds)), notes


def word(
    *, idle: bool, collapsed: int, reference_collapsed: int, interval: tuple[float, float, float], p: float,
    margin: float,
) -> str:  # fmt: skip
    """The first that applies. interval: mean difference, its simultaneous low and high end; p: corrected.

    Below 6 seeds no p is small enough for a difference. Where either side collapsed, differences are skewed, which
    the test does not forgive: never better.
    """
    middle, low, high = interval
    told = p <= statistics.ERROR
    applies = {
        NEVER: idle,
        COLLAPSED: collapsed > 0,
        WORSE: told and middle < 0,
        BETTER: told and middle > 0 and not reference_collapsed,
        NO_DIFFERENCE: -margin < low and high < margin,
        NO_GAIN: high < margin,
        NOT_TOLD: True,
    }
    return next(word for word in WORDS if applies[word])


def _ratio(contrast: Contrast, pairs: Pairs) -> tuple[pd.DataFrame, str, list[str]]:
    assert contrast.ratio is not None
    arm, reference = pairs.amounts(contrast.ratio)
    if min(arm.min(), reference.min()) <= 0:
        raise InputError(f"ratio={contrast.ratio!r}: a run whose {_read(contrast.ratio)} is 0 has no ratio")
    middle, low, high = statistics.ratio(arm, reference)
    table = pd.DataFrame(
        {"arm": contrast.titles, "reference": contrast.against, "measure": contrast.ratio, "seeds": len(pairs.seeds),
         "ratio": middle, "low": low, "high": high}
    )  # fmt: skip
    said = [f"{row.arm} {row.ratio:.3g} times ({row.low:.3g} to {row.high:.3g})" for row in table.itertuples()]
    return table, (
        f"{contrast.name}: {_read(contrast.ratio)} against {contrast.against}, over {count_seeds(len(pairs.seeds))}: "
        f"{'; '.join(said)}."
    ), notes_on(contrast, pairs)  # fmt: skip


def _trend(contrast: Contrast, pairs: Pairs) -> tuple[pd.DataFrame, str, list[str]]:
    if len(pairs.seeds) < 2:
        raise InputError("a trend needs two seeds or more, which are its blocks")
    value = pairs.values(contrast.measure)
    found, back = statistics.trend(value), statistics.trend(-value)
    said = RISES if found.p <= statistics.ERROR else FALLS if back.p <= statistics.ERROR else "is not told to rise"
    told = back if said == FALLS else found
    table = pd.DataFrame(
        {"arm": contrast.titles, "measure": contrast.measure, "seeds": len(pairs.seeds),
         "word": said, "mean": value.mean(axis=0), "p": told.p, "L": found.statistic}
    )  # fmt: skip
    return table, (
        f"{contrast.name}: {_read(contrast.measure)} {said} along the steps "
        f"{', '.join(contrast.titles)} (Page's L = {found.statistic:g}, p = {told.p:.2g}, "
        f"{count_seeds(len(pairs.seeds))})."
    ), []  # fmt: skip


def _collapse_bar(reference: pd.DataFrame, chance: float | None) -> tuple[np.ndarray, bool]:
    """Halfway from chance to the reference's median accuracy, and whether chance had to be taken as 0."""
    if chance is None and "chance" in reference and reference["chance"].notna().any():
        chance = float(reference["chance"].mean())
    if chance is None:
        one = reference.iloc[0]
        try:
            loader = datasets.create(one["dataset"], files.root() / one["data_dir"])
            chance = 100 / len(loader.classes or loader.about().classes)
        except InputError:  # its files are not on this machine
            return reference["accuracy"].median() / 2, True
    return (chance + reference["accuracy"].median()) / 2, False


def _idle(runs: pd.DataFrame) -> bool:
    """Whether a method that goes by what it learns chose and weighted as if it were not there, in all its runs."""
    if not {"acted", "weighted"} <= set(runs) or not ((runs["acted"] == 0) & (runs["weighted"] == 0)).all():
        return False
    try:
        kind = type(samplers.create(runs["sampler"].iloc[0]))
    except InputError:  # it is known no more, nor is what it goes by
        return False
    hooks = ("select", "finish", "reduce", "update")
    learns = any(getattr(kind, hook) is not getattr(Sampler, hook) for hook in hooks)
    return learns or bool((runs["passes_prepared"] > 0).any())


def _image_noise(arm: pd.DataFrame, reference: pd.DataFrame, correct: Correct | None) -> float:
    if correct is None:
        return nan
    try:
        bits = [np.stack([correct(path) for path in runs["path"]]) for runs in (arm, reference)]
    except InputError:  # a run of an earlier version kept none
        return nan
    return statistics.image_noise(*bits)


def _sentence(contrast: Contrast, table: pd.DataFrame, seeds: int) -> str:
    """All arms of a family in one sentence, in the words' order."""
    said = []
    for verdict in WORDS:
        rows = list(table[table["word"] == verdict].itertuples())
        if rows and verdict in (WORSE, BETTER):
            said += [
                f"{row.arm} is {verdict} by {abs(row.difference):.2f} points ({signed(row.low)} to {signed(row.high)})"
                for row in rows
            ]
        elif rows and verdict == COLLAPSED:
            said += [f"{row.arm} {collapse(row, contrast.against)}" for row in rows]
        elif rows:
            one = len(rows) == 1
            phrase = {
                NEVER: "never acted",
                NO_DIFFERENCE: f"{'makes' if one else 'make'} no difference of {contrast.margin:g} points",
                NO_GAIN: f"{'brings' if one else 'bring'} no gain above {contrast.margin:g} points",
                NOT_TOLD: f"{'is' if one else 'are'} not told apart from it",
            }[verdict]
            said.append(f"{joined([row.arm for row in rows])} {phrase}")
    head = f"{contrast.name}: against {contrast.against}, {_read(contrast.measure)}, {count_seeds(seeds)}"
    return f"{head}: {'; '.join(said)}."


def collapse(row: Any, against: str) -> str:
    """Of a table's row: how often its arm collapsed, and how often the reference did."""
    too = f", as {against} in {row.reference_collapsed}" if row.reference_collapsed else ""
    return f"collapsed in {row.collapsed} of {row.seeds} runs{too}"


def signed(value: float) -> str:
    """Points with their sign, -0.00 without."""
    return f"{round(value, 2) + 0.0:+.2f}" if abs(value) < inf else ("+∞" if value > 0 else "-∞")


def _read(measure: str) -> str:
    return measure.replace("_", " ")
