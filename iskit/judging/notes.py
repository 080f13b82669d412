"""What a reader must know beside a judgement: what else differs, controls that are not neutral, too few seeds."""

from collections.abc import Mapping
from math import isnan, nan
from typing import Any

import pandas as pd

from iskit.errors import InputError
from iskit.judging import statistics
from iskit.judging.contrasts import Contrast
from iskit.judging.pairs import Pairs, untold
from iskit.samplers import samplers
from iskit.study.archive import counts_digest

STANDARD = 8  # seeds of a study


def notes_on(contrast: Contrast, pairs: Pairs) -> list[str]:
    """Sentences, none of them on what came out."""
    assert pairs.reference is not None
    notes = []
    named = list(zip(contrast.titles, pairs.arms, strict=True))
    for (title, runs), told in zip(named, contrast.arms, strict=True):
        if differ := untold(runs, pairs.reference, told):
            notes.append(f"{title} differs from {contrast.against} also in {', '.join(differ)}")
    for title, runs in [*named, (contrast.against, pairs.reference)]:
        try:
            name, options = samplers.parse(runs["sampler"].iloc[0])
        except InputError:  # known no more
            continue
        if options.get("control") and mean(runs, "weighted") > 0:
            notes.append(
                f"{title}: the weights of a control are noise, so it is not neutral: "
                f"judge {samplers.title(name)} against {samplers.card(name).neutral} too"
            )
    notes += _same_counts([*named, (contrast.against, pairs.reference)])
    if len(pairs.seeds) < STANDARD:
        notes.append(
            f"{count_seeds(len(pairs.seeds))}: "
            + ("6 are needed to tell a difference, " if 2.0 ** (1 - len(pairs.seeds)) > statistics.ERROR else "")
            + f"{STANDARD} are the standard"
        )
    return notes


def _same_counts(named: list[tuple[str, pd.DataFrame]]) -> list[str]:
    """Which samplers trained the same examples as often, with the same weights, in all seeds."""
    seen: dict[tuple, list[tuple[str, str]]] = {}
    for title, runs in named:
        weighted = runs["weighted"].tolist() if "weighted" in runs else [nan] * len(runs)
        counts = tuple(_counts(run) for run in runs.to_dict("records"))
        if None not in counts:
            key = (counts, tuple(None if isnan(one) else round(one, 9) for one in weighted))
            seen.setdefault(key, []).append((title, runs["sampler"].iloc[0]))
    return [
        f"{joined([title for title, _ in same])} trained the same examples as often"
        for same in seen.values()
        if len({spec for _, spec in same}) > 1
    ]


def _counts(run: Mapping[str, Any]) -> str | None:
    """A digest of how often a run trained each example; None if it is not known."""
    digest = run.get("counts_digest")
    if isinstance(digest, str):
        return digest
    try:
        return counts_digest(run["path"])
    except InputError:
        return None


def mean(runs: pd.DataFrame, name: str) -> float:
    return float(runs[name].mean()) if name in runs else nan


def joined(names: list[str]) -> str:
    return ", ".join(names[:-1]) + " and " + names[-1] if len(names) > 1 else names[0]


def count_seeds(n: int) -> str:
    return f"{n} seed{'s' if n > 1 else ''}"
