"""Runs held against those of one value of a setting, alike in all else: a figure, and a sentence that is computed."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
import plotly.graph_objects as go

from iskit.judging.contrasts import against
from iskit.judging.findings import judged, told
from iskit.judging.verdict import BETTER, COLLAPSED, NEVER, NO_DIFFERENCE, WORSE, Judgement
from iskit.views.verdict import forest

# What a reader may guess, and the verdict's words that say so; all others leave it undecided.
ANSWERS = {"better": (BETTER,), "worse": (WORSE, COLLAPSED), "no difference": (NO_DIFFERENCE, NEVER)}


@dataclass(frozen=True)
class Held:
    """`Held("schedule", "step")`: each other schedule against step, at the same sampler, budget, seeds and all else.

    title: of the figure; what stands beside it is how many seeds there are.
    """

    key: str
    base: str
    title: str = "Accuracy above the reference"

    def families(self, frame: pd.DataFrame) -> tuple[list[Judgement], list[str]]:
        """A judgement for each group of runs that differ in the key and the seed alone; why others have none."""
        found, notes = judged(against(frame, **{self.key: self.base}), frame)
        if not found and not notes:
            notes = [f"No runs of {self.base} lie beside others of another {self.key}: there is nothing to compare."]
        return found, notes

    def figure(self, frame: pd.DataFrame) -> go.Figure:
        """Each difference with the interval that holds for its family together; filled: better or worse."""
        found, notes = self.families(frame)
        return forest({self.key: found}, notes, self.title)

    def sentence(self, frame: pd.DataFrame) -> str:
        """What came out, or why nothing did."""
        found, notes = self.families(frame)
        return " ".join([*([told(found, self.key)] if found else []), *notes])

    def came(self, frame: pd.DataFrame) -> Mapping[str, int]:
        """For each of ANSWERS in how many comparisons it came out; "" for those that are not decided."""
        return counted(self.families(frame)[0])


def counted(families: Sequence[Judgement]) -> dict[str, int]:
    words = [word for one in families for word in one.table["word"]]
    answer = {word: name for name, known in ANSWERS.items() for word in known}
    return dict(Counter(answer.get(word, "") for word in words))
