"""The panel of a page that teaches: a guess before the result, shipped results until there are own ones, exercises."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ipywidgets as ipw
import pandas as pd
import plotly.graph_objects as go
from IPython.core.formatters import DisplayFormatter
from IPython.display import Markdown, display

from iskit.errors import InputError
from iskit.lessons.guess import Guess, ask
from iskit.lessons.held import ANSWERS, Held
from iskit.pages.chooser import View
from iskit.pages.controls import more_controls
from iskit.pages.notebook import origin
from iskit.pages.panel import Panel
from iskit.pages.widgets import attached, grid_controls
from iskit.runs.parts import SPELLING
from iskit.study.archive import results

FIRST = "Your guess first: answer the question above, or press Skip. Then the result appears here."
FEW = "Nothing trained yet, and no results of this are shipped: press Run above, and it shows yours."


def begin(settings: Mapping[str, Any], shipped: Mapping[str, Any] | None = None) -> "Lesson":
    """The panel of a page: many runs, as `iskit.grid` makes them of the settings.

    shipped: which of the results that come with the kit are shown until there are own ones: `study`, one or several of
    which the first that is there counts, and other settings with the values that are meant. A cell that is run again
    finds its panel, as with `grid_panel`. InputError for settings that cannot work.
    """
    panel = attached(
        "lesson",
        settings,
        lambda: Lesson(settings, grid_controls(settings), more_controls(settings), shipped_runs(**(shipped or {}))),
    )
    assert isinstance(panel, Lesson)
    return panel


def shipped_runs(study: str | Sequence[str] = (), **where: Any) -> pd.DataFrame:
    """Of the packed results in outputs/reference/ (and a study's own folder) those with these values; empty without."""
    for name in [study] if isinstance(study, str) else study:
        found = results(name)
        if found.empty:
            continue
        found = found[found["path"].str.contains(".zip", regex=False)]
        for key, values in where.items():
            spell = SPELLING.get(key, lambda value: value)
            found = found[found[key].isin([spell(one) for one in (values if isinstance(values, list) else [values])])]
        if len(found):
            return found.reset_index(drop=True)
    return pd.DataFrame()


class Lesson(Panel):
    """A panel whose views wait for the reader's guess, and show shipped results until there are own ones."""

    def __init__(
        self,
        settings: Mapping[str, Any],
        controls: Mapping[str, ipw.ValueWidget] | None = None,
        more: Mapping[str, ipw.ValueWidget] | None = None,
        shipped: pd.DataFrame | None = None,
    ):
        super().__init__(settings, controls or {}, more)
        self.shipped = pd.DataFrame() if shipped is None else shipped
        self.question: Guess | None = None

    def ask(self, question: str, *choices: str, guess: str = "") -> None:
        """See `iskit.ask`; without choices: better, worse, no difference. The views appear once it is answered."""
        self.question = ask(question, *(choices or ANSWERS), study=self.experiments[0].study, guess=guess)
        self.question.then.append(self.renew)

    def view(self, make: Callable[..., View], **chosen: Any) -> Any:
        """Own results, else the shipped ones, said to be such; what cannot be shown of these runs is said."""
        if self.hands and self.question and not self.question.made:
            return FIRST
        frame = self.runs
        if frame.empty:
            return FEW
        try:
            made = make(frame, **chosen)
        except InputError as error:
            return Markdown(f"These runs cannot be shown so: {error}.")
        return made if frame is self.frame else labelled(made, frame)

    def answer(self, held: Held) -> None:
        """Shows what came out, computed, beside the guess."""
        self.show(Answer(self, held))

    @property
    def runs(self) -> pd.DataFrame:
        return self.frame if len(self.frame) else self.shipped

    def origin(self) -> None:
        """Shows what made the runs."""
        self.show(origin)

    def exercise(self, **changes: Any) -> "Lesson":
        """Says whether the runs that the exercise asks for are there: those of the page with other settings.

        Returns them as a panel without controls: `solve` trains what is missing.
        """
        settings = {**self.settings, **changes}
        panel = attached("exercise " + ", ".join(changes), settings, lambda: Lesson(settings))
        assert isinstance(panel, Lesson)
        panel._read()
        there, of = len(panel.frame), len(panel.experiments)
        asked = ", ".join(f"`{key}={value}`" for key, value in changes.items())
        if there == of:
            said = f"**Done:** all {of} runs with {asked} are there; what they found stands in the solution below."
        else:
            said = f"**Not yet:** {there} of the {of} runs with {asked} are there. Train them, and run this cell again."
        display(Markdown(said))
        return panel

    def solve(self, held: Held) -> None:
        """Trains what is missing of the exercise, and says what it found."""
        self.start()
        self.show(Answer(self, held))


@dataclass(frozen=True)
class Answer:
    """What came out of a lesson's runs, beside the guess if there was a question."""

    lesson: Lesson
    held: Held

    def __call__(self, frame: pd.DataFrame) -> Any:
        told, question = self.held.sentence(frame), self.lesson.question
        return question.beside(self.held.came(frame), told) if question else Markdown(told)


@dataclass(frozen=True)
class Labelled:
    """Something that is shown, with a line above it."""

    shown: Any
    line: str

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        data, _ = DisplayFormatter().format(self.shown)
        above = {"text/markdown": f"*{self.line}*\n\n", "text/html": f"<p><i>{self.line}</i></p>", "text/plain": ""}
        return {kind: above.get(kind, "") + text for kind, text in data.items()}


def labelled(shown: Any, frame: pd.DataFrame) -> Any:
    """A view of shipped runs, said to be such."""
    about = f"{', '.join(frame['study'].unique())}: {len(frame)} runs, {frame['seed'].nunique()} seeds"
    line = f"shipped results, none of yours: {about}, {', '.join(frame['model'].unique())}"
    if isinstance(shown, go.Figure):
        above = (shown.layout.margin.t or 80) + 24
        return shown.update_layout(title_subtitle={"text": line, "font_size": 12}, margin_t=above)
    return Labelled(shown, f"{line[0].upper()}{line[1:]}. Run this page's own above.")
