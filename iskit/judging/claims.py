"""The study's claims, and whether they hold by the judgements of a study of ours: rules fixed before its runs.

The claims are those of Arazo et al. 2021 and, the last one, of Katharopoulos & Fleuret 2018. What decides about each is
written here as words of `iskit.verdict`; nothing about a claim is decided by hand.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from iskit.judging import paper
from iskit.judging.verdict import BETTER, COLLAPSED, FALLS, NO_DIFFERENCE, NO_GAIN, RISES, WORSE, Judgement

HOLDS, FAILS, UNTOLD, UNJUDGED = "holds", "does not hold", "cannot be told", "not judged"
# Words for: no gain. Not NEVER: a method that never acted says nothing of what it does when it acts.
NONE = frozenset({WORSE, COLLAPSED, NO_DIFFERENCE, NO_GAIN})


@dataclass(frozen=True)
class Part:
    """What a claim says of some arms.

    cells: (contrast, number of the arm in it); holds, fails: the words that speak for and against it; range: of a ratio
    instead. every: it is said of all cells, else of at least one.
    """

    text: str
    cells: tuple[tuple[str, int], ...]
    holds: frozenset[str] = frozenset()
    fails: frozenset[str] = frozenset()
    range: tuple[float, float] = (0.0, 0.0)
    every: bool = True


@dataclass(frozen=True)
class Beside:
    """A difference that the paper's tables give: arm and reference by columns of `paper.numbers`; minutes: a ratio of
    those instead."""

    text: str
    arm: Mapping[str, Any]
    reference: Mapping[str, Any]
    minutes: bool = False


@dataclass(frozen=True)
class Claim:
    """text: as the paper has it; parts: what must hold of our judgements; beside: the paper's own numbers."""

    text: str
    parts: tuple[Part, ...]
    beside: tuple[Beside, ...] = ()

    @property
    def contrasts(self) -> list[str]:
        """Those that decide about it, in order."""
        return list(dict.fromkeys(name for part in self.parts for name, _ in part.cells))


def _is(text: str, name: str, holds: Iterable[str], fails: Iterable[str], arm: int = 0) -> Part:
    return Part(text, ((name, arm),), frozenset(holds), frozenset(fails))


def _gap(text: str, arm: Mapping[str, Any], reference: Mapping[str, Any], **both: Any) -> Beside:
    both = {"schedule": "linear", "budget": 0.3, "augmentation": "standard", "sampler": "unif", **both}
    return Beside(text, {**both, **arm}, {**both, **reference})


CLAIMS = (
    Claim(
        "At an equal budget importance sampling gives no consistent gain over uniform sampling.",
        tuple(
            Part(f"{name} is not better under every augmentation", cells, NONE, frozenset({BETTER}), every=False)
            for name, cells in {
                "p-SGD": (("choosing-standard", 1), *((f"choosing-{a}", 1) for a in ("randaugment", "mixup", "ricap"))),
                "SB": (("choosing-standard", 3), *((f"choosing-{a}", 2) for a in ("randaugment", "mixup", "ricap"))),
                "c-SGD": (("choosing-standard", 2),),
                "gnorm": (("choosing-standard", 4),),
            }.items()
        ),
        tuple(
            _gap(f"{title} less unif-SGD", {"sampler": name}, {})
            for name, title in {"p": "p-SGD", "c": "c-SGD", "selective_backprop": "SB"}.items()
        ),
    ),
    Claim(
        "A learning rate that falls linearly beats one that falls in steps.",
        tuple(
            _is(f"for {title}", f"linear-{name}", {BETTER}, {WORSE, COLLAPSED, NO_DIFFERENCE, NO_GAIN})
            for name, title in {"unif": "unif-SGD", "p": "p-SGD", "selective_backprop": "SB"}.items()
        ),
        tuple(
            _gap(f"{title}, linear less step", {"schedule": "linear"}, {"schedule": "step"}, sampler=name)
            for name, title in {"unif": "unif-SGD", "p": "p-SGD", "selective_backprop": "SB"}.items()
        ),
    ),
    Claim(
        "A new subset each epoch beats a fixed one, random or a core-set (Figure 1a, b; the paper names neither its "
        "core-set nor the budgets in the text).",
        tuple(
            _is(f"{title} is worse", "fixed", {WORSE, COLLAPSED}, {BETTER, NO_DIFFERENCE}, arm)
            for arm, title in enumerate(["a random subset", "the most forgotten", "the k-center core-set"])
        ),
    ),
    Claim(
        "Accuracy rises along the ladder of variety: p-SGD by step, without smoothing and averaging; linear; with "
        "smoothing; with averaging; with each augmentation (Figure 1c, d).",
        (_is("it rises", "ladder", {RISES}, {FALLS}),),
    ),
    Claim(
        "RICAP at a budget of .3 reaches full training with standard augmentation.",
        (_is("it is not worse", "full", {NO_DIFFERENCE, BETTER}, {WORSE, COLLAPSED}),),
        (
            _gap(
                "unif-SGD with RICAP at .3 less SGD",
                {"augmentation": "ricap"},
                {"sampler": "sgd", "budget": 1.0},
            ),
            _gap("with mixup", {"augmentation": "mixup"}, {"sampler": "sgd", "budget": 1.0}),
        ),
    ),
    Claim(
        "At a budget of .05 every augmentation hurts; at .1 RandAugment hurts, RICAP is neutral, mixup helps, and "
        "selective backprop can collapse.",
        (
            *(
                _is(f"{title} hurts at .05", "varying-0.05", {WORSE, COLLAPSED}, {BETTER, NO_DIFFERENCE}, arm)
                for arm, title in enumerate(["RandAugment", "mixup", "RICAP"])
            ),
            _is("RandAugment hurts at .1", "varying-0.1", {WORSE, COLLAPSED}, {BETTER, NO_DIFFERENCE}, 0),
            _is("RICAP is neutral at .1", "varying-0.1", {NO_DIFFERENCE}, {WORSE, COLLAPSED, BETTER}, 2),
            _is("mixup helps at .1", "varying-0.1", {BETTER}, {WORSE, COLLAPSED, NO_DIFFERENCE, NO_GAIN}, 1),
            _is("SB collapses in some runs at .1", "choosing-0.1", {COLLAPSED}, (), 2),
        ),
        tuple(
            _gap(f"{title} less standard at {budget}", {"augmentation": name}, {}, budget=budget)
            for budget in (0.05, 0.1)
            for name, title in {"randaugment": "RandAugment", "mixup": "mixup", "ricap": "RICAP"}.items()
        ),
    ),
    Claim(
        "Selective backprop takes about twice the time of uniform sampling.",
        (Part("the ratio of seconds lies between 1.5 and 2.5", (("selection-seconds", 0),), range=(1.5, 2.5)),),
        (
            Beside(
                "minutes of SB, times those of unif-SGD",
                {"schedule": "linear", "augmentation": "standard", "sampler": "selective_backprop", "budget": 0.3},
                {"schedule": "linear", "augmentation": "standard", "sampler": "unif", "budget": 0.3},
                minutes=True,
            ),
        ),
    ),
    Claim(
        "At an equal wall clock the upper bound of the gradient's norm gives a lower training loss (down to a tenth) "
        "and a test error 5 to 17 % lower than uniform sampling; sampling by loss gives less.",
        (
            Part("its training loss is lower", (("seconds-loss", 0),), range=(0.0, 1.0)),
            _is("its accuracy is better", "seconds", {BETTER}, NONE),
            _is("it is better than by loss", "bound", {BETTER}, NONE),
        ),
    ),
)


def standing(part: Part, judged: Mapping[str, Judgement]) -> str:
    """HOLDS, FAILS, UNTOLD or UNJUDGED, by the judgements of contrasts by name."""
    found = [_cell(part, judged[name], arm) if name in judged else UNJUDGED for name, arm in part.cells]
    if UNJUDGED in found:
        return UNJUDGED
    decisive, other = (FAILS, HOLDS) if part.every else (HOLDS, FAILS)
    if decisive in found:
        return decisive
    return other if set(found) == {other} else UNTOLD


def holds(claim: Claim, judged: Mapping[str, Judgement]) -> str:
    """A claim holds if all its parts do, and does not if one does not."""
    found = [standing(part, judged) for part in claim.parts]
    if FAILS in found:
        return FAILS
    if set(found) == {UNJUDGED}:
        return UNJUDGED
    return HOLDS if set(found) == {HOLDS} else UNTOLD


def _cell(part: Part, judgement: Judgement, arm: int) -> str:
    row = judgement.table.iloc[arm]
    if judgement.contrast.ratio:
        low, high = part.range
        if low <= row["low"] and row["high"] <= high:
            return HOLDS
        return FAILS if row["high"] < low or row["low"] > high else UNTOLD
    return HOLDS if row["word"] in part.holds else FAILS if row["word"] in part.fails else UNTOLD


def in_paper(one: Beside) -> dict[str, float]:
    """Data set -> the difference in points, or the ratio of minutes, of the paper's tables."""
    numbers = paper.numbers()
    value = "minutes" if one.minutes else "accuracy_mean"

    def column(wanted: Mapping[str, Any]) -> pd.Series:
        rows = numbers
        for name, what in wanted.items():
            rows = rows[rows[name] == what]
        return rows.dropna(subset=[value]).drop_duplicates("dataset").set_index("dataset")[value]

    arm, reference = column(one.arm), column(one.reference)
    found = (arm / reference if one.minutes else arm - reference).dropna()
    return {str(name): float(found[name]) for name in arm.index if name in found.index}
