"""The errors people see, each in one line that says what to do: what they gave cannot work, or training went astray."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any


class InputError(ValueError):
    """Something the user gave cannot work. The message names the argument, its value and the remedy.

    The command line prints it without a traceback and exits with code 2.
    """


class Diverged(RuntimeError):
    """The loss is no longer a number: names the step, t and what to try."""

    history: Any = None  # of the run so far, where the run is not in the caller's hands


class Unsaved(RuntimeError):
    """What a run found could not be written: names the folder, why, and what of the run is kept."""


def suggest(word: str, known: Iterable[str], aliases: Iterable[str] = ()) -> str:
    """A remedy for an unknown name: the nearest name or alias if one is near, else all names."""
    known = sorted(known)
    by_lower = {name.lower(): name for name in (*known, *aliases)}
    near = get_close_matches(word.lower(), by_lower, n=1, cutoff=0.6)
    return f"did you mean {by_lower[near[0]]!r}?" if near else f"known: {', '.join(known)}"
