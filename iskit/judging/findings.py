"""What runs found, in a few sentences that the verdict makes: no page of the kit says by hand what came out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from iskit.errors import InputError
from iskit.judging import statistics
from iskit.judging.contrasts import REFERENCE, Contrast, against
from iskit.judging.pairs import Pairs, pair
from iskit.judging.verdict import (
    BETTER,
    COLLAPSED,
    NEVER,
    NO_DIFFERENCE,
    NO_GAIN,
    NOT_TOLD,
    WORDS,
    WORSE,
    Judgement,
    collapse,
    joined,
    judge,
    signed,
)  # fmt: skip
from iskit.study.archive import results

PLAIN = {"augment": "standard"}  # what other looks are held against
NAMED = 3  # comparisons of one word that a sentence names, the largest first; more are counted
ENOUGH = 6  # seeds: with fewer no difference can be told
# Of images, as a data set's options make them, and how a sentence asks for them; see iskit/data/conditions.py.
KINDS = {"mislabelled": "Mislabelled images", "rare": "Rare classes", "copy": "Copies"}


@dataclass(frozen=True)
class Findings:
    """What runs found; a notebook shows it as Markdown.

    sentences: a few, each begins with its question: which images, how they look, how varied. which: the families
    behind the first, all samplers against unif for each budget, augmentation and the like; how: those behind the
    second, all augmentations against the standard one, under unif. notes: what could not be compared, and why.
    """

    sentences: list[str]
    which: list[Judgement]
    how: list[Judgement]
    notes: list[str]

    def _repr_markdown_(self) -> str:
        told = [sentence.replace("? ", "?** ", 1) for sentence in self.sentences]
        return "\n".join([*(f"- **{text}" for text in told), *(f"- {note}" for note in self.notes)])


def findings(runs: pd.DataFrame | str) -> Findings:
    """What these runs (a frame of `iskit.results`, or a study's name) found, in the words of the verdict.

    Compared are runs with the same budget, seed and all else; words, intervals and p are those of `judge`.
    """
    frame = results(runs) if isinstance(runs, str) else runs
    if frame.empty:
        return Findings([], [], [], ["Nothing is trained yet."])
    which, notes = judged(against(frame, **REFERENCE), frame)
    how, more = judged(against(frame[frame["sampler"] == REFERENCE["sampler"]], **PLAIN), frame)
    sentences = []
    if which:
        sentences.append(f"Which images? {told(which, 'sampler')}")
    elif not notes:
        notes.append("No runs of unif lie beside runs of another sampler: there is nothing to hold them against.")
    if how:
        sentences.append(f"How they look? With unif, {told(how, 'augment')}")
    if which:
        sentences.append(f"How varied? {_variety([one.contrast for one in which], frame)}")
    return Findings(sentences, which, how, notes + more)


def arm(judgement: Judgement, number: int, key: str = "sampler") -> str:
    """What one types for an arm."""
    return str(judgement.contrast.arms[number][key])


def judged(contrasts: Sequence[Contrast], frame: pd.DataFrame) -> tuple[list[Judgement], list[str]]:
    """The families that can be judged by these runs; why the others cannot."""
    found, notes = [], []
    for contrast in contrasts:
        try:
            found.append(judge(contrast, frame, families=len(contrasts)))
        except InputError as error:
            notes.append(f"Not compared: {error}.")
    return found, notes


def told(judgements: Sequence[Judgement], key: str) -> str:
    """All arms of some families by their words, in the words' order. key: the setting that they differ in."""
    rows = [
        (arm(one, number, key), f" at {one.contrast.name}" if len(judgements) > 1 else "", row)
        for one in judgements
        for number, row in enumerate(one.table.itertuples())
    ]
    names = joined(list(dict.fromkeys(name for name, _, _ in rows)))
    base = judgements[0].contrast.reference[key]
    said = []
    for word in WORDS:
        here = sorted((one for one in rows if one[2].word == word), key=lambda one: -abs(one[2].difference))
        if here and word in SAID:
            said += [f"{name} {_filled(SAID[word], row, base)}{at}" for name, at, row in here[:NAMED]]
            if len(here) > NAMED:
                said.append(f"{word} in {len(here) - NAMED} more")
        elif here:
            few = word != NOT_TOLD and len(here) <= NAMED
            where = joined([f"{name}{at}" for name, at, _ in here]) if few else f"{len(here)} of {len(rows)}"
            said.append(f"{COUNTED[word].format(judgements[0].contrast.margin)} {'of' if few else 'in'} {where}")
    compared = "" if len(rows) == 1 else f", {len(rows)} comparisons"
    return f"{names} against {base}{compared}, {_seeds(judgements)}: {'; '.join(said)}."


SAID = {
    NEVER: "never acted",
    COLLAPSED: "{collapse}",
    **dict.fromkeys((WORSE, BETTER), "is {row.word} by {size:.2f} points ({low} to {high})"),
}
COUNTED = {
    NO_DIFFERENCE: "no difference of {:g} points",
    NO_GAIN: "no gain above {:g} points",
    NOT_TOLD: "not told apart",
}


def _filled(text: str, row: Any, base: str) -> str:
    numbers = {"size": abs(row.difference), "low": signed(row.low), "high": signed(row.high)}
    return text.format(row=row, collapse=collapse(row, base), **numbers)


def _seeds(judgements: Sequence[Judgement]) -> str:
    return _counted([int(one.table["seeds"].iloc[0]) for one in judgements])


def _counted(seeds: Sequence[int]) -> str:
    counts = sorted(set(seeds))
    text = (
        f"{counts[0]} seed{'s' if counts[0] > 1 else ''}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]} seeds"
    )
    return text if counts[0] >= ENOUGH else f"{text} ({ENOUGH} are needed to tell a difference)"


def _variety(contrasts: Sequence[Contrast], frame: pd.DataFrame) -> str:
    """Whose sample counts are more or less even than unif's: by the effective number of images, exp of the entropy."""
    told: dict[str, dict[str, int]] = {"fewer": {}, "more": {}}
    base, examples, arms = [], set(), set()
    for contrast in contrasts:
        pairs = pair(contrast, frame)
        assert pairs.reference is not None
        number = np.exp(pairs.reference["entropy"].to_numpy(float))
        difference = np.exp(pairs.values("entropy")) - number[:, None]
        base.append(number.mean())
        examples |= set(pairs.reference.get("examples", ()))
        names = [str(one["sampler"]) for one in contrast.arms]
        arms |= set(names)
        for name, p, mean in zip(names, statistics.flip_test(difference), difference.mean(axis=0), strict=True):
            if p <= statistics.ERROR:
                count = told["more" if mean > 0 else "fewer"]
                count[name] = count.get(name, 0) + 1
    lowest, highest = f"{min(base):.0f}", f"{max(base):.0f}"
    span = lowest if lowest == highest else f"{lowest} to {highest}"
    of = f" of {examples.pop():,}" if len(examples) == 1 else ""
    said = [
        f"{word} than unif: " + joined([f"{name} in {count} of {len(contrasts)}" for name, count in counts.items()])
        for word, counts in told.items()
        if counts
    ]
    return f"Effective number of images, exp(H): unif {span}{of}; {'; '.join(said) or 'none told apart from it'}."


def drawn(runs: pd.DataFrame | str) -> Findings:
    """What these runs drew beside unif's: how many of the mislabelled, rare and copied images, and how varied.

    Differences are shares of all draws, in points, with the same budget, seed and all else; told apart by the
    verdict's test, intervals hold for all methods of a family together.
    """
    frame = results(runs) if isinstance(runs, str) else runs
    if frame.empty:
        return Findings([], [], [], ["Nothing is trained yet."])
    families, notes = [], []
    for contrast in against(frame, **REFERENCE):
        try:
            families.append((contrast, pair(contrast, frame)))
        except InputError as error:
            notes.append(f"Not compared: {error}.")
    if not families:
        alone = "No runs of unif lie beside runs of another sampler: there is nothing to hold them against."
        return Findings([], [], [], notes or [alone])
    sentences = []
    for kind, title in KINDS.items():
        known = [(one, pairs) for one, pairs in families if _knows(pairs, f"share_{kind}")]
        if known:
            sentences.append(f"{title}? {_share(f'share_{kind}', known, len(families) > 1)}")
    sentences.append(f"How varied? {_variety([contrast for contrast, _ in families], frame)}")
    return Findings(sentences, [], [], notes)


def _knows(pairs: Pairs, column: str) -> bool:
    return all(column in runs and runs[column].notna().all() for runs in pairs.all)


def _share(column: str, families: Sequence[tuple[Contrast, Pairs]], named: bool) -> str:
    """Who drew more or fewer of a kind of images than unif, which stands first."""
    said: dict[str, list[str]] = {"more": [], "fewer": [], "not told apart": []}
    base = []
    for contrast, pairs in families:
        assert pairs.reference is not None
        own = 100 * pairs.reference[column].to_numpy(float)
        difference = 100 * pairs.values(column) - own[:, None]
        base.append(own.mean())
        told, span = statistics.flip_test(difference), statistics.interval(difference)
        for number, settings in enumerate(contrast.arms):
            name = f"{settings['sampler']}{f' at {contrast.name}' if named else ''}"
            middle, low, high = (values[number] for values in span)
            if told[number] > statistics.ERROR:
                said["not told apart"].append(name)
            else:
                size = f"by {abs(middle):.1f} points ({signed(low)} to {signed(high)})"
                said["more" if middle > 0 else "fewer"].append(f"{name} {size}")
    of = " to ".join(dict.fromkeys(f"{value:.1f}" for value in (min(base), max(base))))
    parts = [f"{word}: {joined(names)}" for word, names in said.items() if names]
    return f"Of what unif drew {of} %; {'; '.join(parts)}; {_counted([len(pairs.seeds) for _, pairs in families])}."


@dataclass(frozen=True)
class Checked:
    """What was found to hold; a notebook shows it as Markdown."""

    lines: list[str]

    def _repr_markdown_(self) -> str:
        return "\n".join(f"- {line}" for line in self.lines)


def check(frame: pd.DataFrame) -> Checked:
    """Holds the runs against their budgets, and what `findings` says of them against the runs themselves.

    AssertionError names the run or the comparison that is wrong; nothing trained is nothing to check, and wrong too.
    """
    assert len(frame), "nothing is trained, so nothing can be checked"
    counted = frame[frame["unit"] == "backward"]
    over = counted["passes_backward"] - counted["budget"] * counted["epochs"] * counted["examples"]
    for path in counted.loc[(over <= -1) | (over > counted["batch_size"]), "path"]:
        raise AssertionError(f"{path} did not end within one batch of its budget")
    lines = [f"{len(counted)} of {len(frame)} runs have a budget of examples: each ended within one batch of it."]
    found, compared = findings(frame), 0
    for judgement in [*found.which, *found.how]:
        table = judgement.table
        for title, by_hand, row in zip(
            table["arm"], _differences(frame, judgement.contrast), table.itertuples(), strict=True
        ):
            agrees = abs(by_hand - row.difference) < 1e-6
            agrees &= row.word not in (BETTER, WORSE) or (by_hand > 0) == (row.word == BETTER)
            assert agrees, f"{judgement.contrast.name}, {title}: {row.word} is said of {by_hand:+.2f} points"
            compared += 1
    lines.append(f"{compared} differences that the findings judge are those of the runs.")
    return Checked(lines)


def _differences(frame: pd.DataFrame, contrast: Contrast) -> list[float]:
    """Of each arm to the reference: mean over the seeds that all have, straight from the runs."""
    accuracy = []
    for settings in (*contrast.arms, contrast.reference):
        runs = frame
        for name in runs.columns.intersection(list(settings)):
            runs = runs[runs[name] == settings[name]]
        accuracy.append(runs.set_index("seed")["accuracy"])
    wide = pd.concat(accuracy, axis=1, keys=range(len(accuracy))).dropna()
    return [float((wide[number] - wide[len(contrast.arms)]).mean()) for number in range(len(contrast.arms))]
