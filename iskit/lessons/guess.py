"""A guess that the reader of a page makes before a result appears, and what came out beside it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from html import escape
from pathlib import Path
from typing import Any

import ipywidgets as ipw
from IPython.display import HTML, display

from iskit import files
from iskit.errors import InputError, suggest
from iskit.pages.notebook import hands
from iskit.runs.experiment import Experiment

NONE = "no guess"
LOOK = ipw.Layout(width="auto")


def ask(question: str, *choices: str, study: str = "", guess: str = "") -> "Guess":
    """Shows a question with its possible answers, and keeps the reader's in outputs/<study>/, beside the runs.

    A guess that was made is shown again when the cell or the kernel is started anew; it cannot be changed, unless one
    removes its file. guess: the answer where nobody is there to press a button, as in batch; "": none. study: by
    default that of an `Experiment`. InputError for fewer than two answers, and for a guess that is none of them.
    """
    if len(set(choices)) < max(2, len(choices)):
        raise InputError(f"choices={list(choices)!r} must be at least two different answers")
    if guess and guess not in choices:
        raise InputError(f"guess={guess!r} is no answer: {suggest(guess, choices)}")
    asked = Guess(question, choices, files.root() / "outputs" / Experiment(study=study or Experiment().study).study)
    if not hands():
        if guess:
            asked.make(guess)
        answers = " · ".join(choices)
        display(HTML(escape(f"{question} {answers}. Guess: {asked.choice or NONE}.")))
    else:
        asked.show()
    return asked


class Guess:
    """A question and its reader's answer: `made`, whether he pressed a button; `choice`, None if it was Skip."""

    def __init__(self, question: str, choices: tuple[str, ...], folder: Path):
        self.question, self.choices = question, choices
        self.path = folder / f"guess-{files.digest([question, *choices])}.json"
        self.then: list[Callable[[], None]] = []  # to be called when the guess is made
        kept = self._read()
        self.made, self.choice = kept is not None, (kept or {}).get("guess")

    def _read(self) -> dict[str, Any] | None:
        try:
            kept = files.read_json(self.path)
        except (OSError, ValueError):  # none was made; or the file is no longer whole, and it is made anew
            return None
        return kept if isinstance(kept, dict) and kept.get("guess") in (None, *self.choices) else None

    def make(self, choice: str | None) -> None:
        """Keeps the guess. None: the reader would rather not say."""
        told = {"question": self.question, "choices": self.choices, "guess": choice}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        files.write_json(self.path, {**told, "at": datetime.now().isoformat(timespec="seconds")})
        self.made, self.choice = True, choice
        for call in self.then:
            call()

    def show(self) -> None:
        """Buttons for the answers, which go when one is pressed."""
        said = ipw.HTML()
        answers: list[tuple[str, str | None]] = [*((one, one) for one in self.choices), ("Skip", None)]
        buttons = {text: ipw.Button(description=text, layout=LOOK) for text, _ in answers}
        buttons["Skip"].tooltip = "go on without a guess"

        def tell() -> None:
            said.value = f"Your guess: <b>{escape(self.choice or NONE)}</b>. What came out stands beside it below."
            for button in buttons.values():
                button.disabled = True

        def pressed(choice: str | None) -> None:
            try:
                self.make(choice)
            except OSError as error:
                said.value = f"It cannot be kept in {self.path}: {error.strerror or error}"
            else:
                tell()

        for text, choice in answers:
            buttons[text].on_click(lambda _, choice=choice: pressed(choice))
        if self.made:
            tell()
        row = ipw.HBox(list(buttons.values()), layout=ipw.Layout(flex_flow="row wrap"))
        display(ipw.VBox([ipw.HTML(f"<b>{escape(self.question)}</b>"), row, said]))

    def beside(self, came: Mapping[str, int], told: str) -> "Beside":
        """The guess and what came out. came: for each answer, in how many comparisons it is what came out; "" for
        those that are not decided; told: what came out, in a sentence with its interval."""
        return Beside(self.question, self.choice, dict(came), told)


@dataclass(frozen=True)
class Beside:
    """A guess beside what came out; a notebook shows it as Markdown."""

    question: str
    choice: str | None
    came: dict[str, int]
    told: str

    @property
    def held(self) -> str:
        """Whether the guess held, in words."""
        if self.choice is None:
            return NONE
        count, of = self.came.get(self.choice, 0), sum(self.came.values())
        if not of:
            return "nothing to hold it against yet"
        if of == 1:
            return "it held" if count else "not decided by these runs" if self.came.get("") else "it did not hold"
        undecided = self.came.get("", 0)
        more = f", {undecided} {'are' if undecided > 1 else 'is'} not decided by these runs" if undecided else ""
        return f"it held in {count} of {of} comparisons{more}"

    def _repr_markdown_(self) -> str:
        guess = f"**{self.choice}**: {self.held}" if self.choice else NONE
        return f"*{self.question}*\n\n- Your guess: {guess}.\n- What came out: {self.told}"
