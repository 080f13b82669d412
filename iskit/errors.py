"""The errors people see, each in one line that says what to do: what they gave cannot work, or training went astray."""

import re
import reprlib
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any, ClassVar

VALUE = 60  # characters that are shown of a value

_repr = reprlib.Repr()  # looks at a few items only: a YAML alias may stand for billions
_repr.maxstring = _repr.maxlong = _repr.maxother = VALUE
_repr.maxlevel = 3


class InputError(ValueError):
    """Something the user gave cannot work. The message names the argument, its value and the remedy.

    It is one line, whatever the value: a message that is too long keeps its head, which names the argument, and its
    tail, the remedy. The command line prints it without a traceback and exits with code 2.
    """

    longest: ClassVar[int] = 400

    def __init__(self, message: str):
        super().__init__(one_line(message, self.longest))


class Diverged(RuntimeError):
    """The loss is no longer a number: names the step, t and what to try."""

    history: Any = None  # of the run so far, where the run is not in the caller's hands


class Unsaved(RuntimeError):
    """What a run found could not be written: names the folder, why, and what of the run is kept."""


def one_line(text: str, longest: int) -> str:
    """The text without line breaks, its control characters escaped, its middle left out where it is too long."""
    text = re.sub(r"\s*[\n\r\t\v\f\x1c-\x1e\x85\u2028\u2029]\s*", " ", _cut(text, longest)).strip()
    return _cut("".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text), longest)


def shown(value: Any) -> str:
    """The value as messages show it: its repr, in VALUE characters at most."""
    try:
        return one_line(_repr.repr(value), VALUE)
    except ValueError:
        return "a whole number of thousands of digits"  # Python refuses to write it


def suggest(word: str, known: Iterable[str], aliases: Iterable[str] = ()) -> str:
    """A remedy for an unknown name: the nearest name or alias if one is near, else all names."""
    known = sorted(known)
    by_lower = {name.lower(): name for name in (*known, *aliases)}
    near = get_close_matches(word[:VALUE].lower(), by_lower, n=1, cutoff=0.6)
    return f"did you mean {by_lower[near[0]]!r}?" if near else f"known: {', '.join(known)}"


def _cut(text: str, longest: int) -> str:
    head = longest * 2 // 3
    return text if len(text) <= longest else f"{text[:head]} ... {text[head + 5 - longest :]}"
