"""Runs held against those of one value of a setting, alike in all else: a figure, and a sentence that is computed."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import inf

import pandas as pd
import plotly.graph_objects as go
from IPython.display import Markdown

from iskit.judging.contrasts import REFERENCE, against, read
from iskit.judging.findings import arm, judged, told
from iskit.judging.verdict import BETTER, COLLAPSED, NEVER, NO_DIFFERENCE, WORSE, Judgement, judge
from iskit.runs.parts import SPELLING
from iskit.views.verdict import forest

# What a reader may guess, and the verdict's words that say so; all others leave it undecided.
ANSWERS = {"better": (BETTER,), "worse": (WORSE, COLLAPSED), "no difference": (NO_DIFFERENCE, NEVER)}


@dataclass(frozen=True)
class Held:
    """`Held("schedule", "step")`: each other schedule against step, at the same sampler, budget, seeds and all else.

    title: of the figure; of: the values that a guess is about, empty for all but the base.
    """

    key: str
    base: str
    title: str = "Accuracy above the reference"
    of: tuple[str, ...] = ()

    def families(self, frame: pd.DataFrame) -> tuple[list[Judgement], list[str]]:
        """A judgement for each group of runs that differ in the key and the seed alone; why others have none."""
        base = self.spelt(self.base)
        found, notes = judged(against(frame, **{self.key: base}), frame)
        if not found and not notes:
            notes = [f"No runs of {base} lie beside others of another {self.key}: there is nothing to compare."]
        return found, notes

    def figure(self, frame: pd.DataFrame) -> go.Figure:
        """Each difference with the interval that holds for its family together; filled: better or worse."""
        found, notes = self.families(frame)
        return forest({self.key: found}, notes, self.title)

    def sentence(self, frame: pd.DataFrame) -> str:
        """What came out, or why nothing did."""
        found, notes = self.families(frame)
        return " ".join([*([told(found, self.key)] if found else []), *notes])

    def text(self, frame: pd.DataFrame) -> Markdown:
        """The sentence, to be shown."""
        return Markdown(self.sentence(frame))

    def came(self, frame: pd.DataFrame) -> Mapping[str, int]:
        """For each of ANSWERS in how many comparisons it came out; "" for those that are not decided."""
        asked = {self.spelt(value) for value in self.of}
        found = [
            (arm(one, number, self.key), word)
            for one in self.families(frame)[0]
            for number, word in enumerate(one.table["word"])
        ]
        return counted(word for name, word in found if not asked or name in asked)

    def spelt(self, value: str) -> str:
        return SPELLING.get(self.key, str)(value)


def counted(words: Iterable[str]) -> dict[str, int]:
    """Words of the verdict -> how often each of ANSWERS; "" for what decides nothing."""
    answer = {word: name for name, known in ANSWERS.items() for word in known}
    return dict(Counter(answer.get(word, "") for word in words))


@dataclass(frozen=True)
class Times:
    """What runs cost as multiples of uniform draws' at the same budget: `Times("seconds", "selective_backprop")`.

    cost: one of `contrasts.COSTS`; of: the sampler that was asked about.
    """

    cost: str
    of: str

    def sentence(self, frame: pd.DataFrame) -> str:
        return " ".join(one.sentence for one in self.families(frame)) or NOTHING

    def families(self, frame: pd.DataFrame) -> list[Judgement]:
        """Of each budget, all samplers against uniform draws."""
        found = []
        for budget, runs in frame[frame["sampler"] != "sgd"].groupby("budget"):
            arms = [spec for spec in dict.fromkeys(runs["sampler"]) if spec != REFERENCE["sampler"]]
            if arms and REFERENCE["sampler"] in set(runs["sampler"]):
                said = {"where": {"budget": budget}, "arms": {"sampler": arms}, "ratio": self.cost}
                found += [judge(one, runs) for one in read({f"budget {budget:g}": said})]
        return found

    def came(self, frame: pd.DataFrame) -> dict[str, int]:
        """For each of MULTIPLES in how many budgets it came out; "": the interval holds more than one."""
        answers = []
        for one in self.families(frame):
            for settings, row in zip(one.contrast.arms, one.table.to_dict("records"), strict=True):
                if settings["sampler"] == SPELLING["sampler"](self.of):
                    answers += [
                        [name for name, (low, high) in MULTIPLES.items() if row["low"] < high and row["high"] > low]
                    ]
        return dict(Counter(fits[0] if len(fits) == 1 else "" for fits in answers))


MULTIPLES = {"as many": (0.0, 1.15), "up to twice": (1.15, 2.0), "more than twice": (2.0, inf)}
NOTHING = "No runs of unif lie beside runs of another sampler: there is nothing to hold them against."
