"""What parts say of themselves in their docstrings: a method's card, the meaning of each option."""

import inspect
import re
from dataclasses import dataclass

CARD_FIELDS = ("cite", "changes", "passes", "rule", "differs", "neutral")
TAUGHT = ("formula", "when")  # beyond what every card has


@dataclass(frozen=True)
class Card:
    """What a method's file says of itself in its docstring.

    summary: what it does, in one line; cite: the source; changes: what it changes and when;
    passes: what it costs beyond training; rule: the formula; differs: from the source, and why;
    neutral: the setting at which it is plain SGD (a sampler) or leaves images alone (an augmentation);
    formula: the rule in LaTeX; when: what speaks for it. The last two may be empty.
    """

    name: str
    summary: str
    cite: str
    changes: str
    passes: str
    rule: str
    differs: str
    neutral: str
    formula: str = ""
    when: str = ""

    @classmethod
    def read(cls, name: str, docstring: str) -> "Card":
        """Reads `field: text` lines; a field's text goes on over indented lines. ValueError if one is missing."""
        head, _, body = inspect.cleandoc(docstring).partition("\n")
        fields = {
            key: re.sub(r"\s+", " ", text).strip()
            for key, text in re.findall(r"^(\w+):((?:.*)(?:\n[ ]+.*)*)", body, flags=re.MULTILINE)
        }
        missing = [key for key in CARD_FIELDS if not fields.get(key)]
        if missing:
            raise ValueError(f"the card of {name!r} lacks {', '.join(missing)}")
        known = {key: fields.get(key, "") for key in (*CARD_FIELDS, *TAUGHT)}
        return cls(name, head.strip(), **known)

    @property
    def setting(self) -> tuple[str, float]:
        """What a sampler's `neutral: option=value[, budget=value]` means: the spec, and the budget."""
        if self.neutral == "always":
            return self.name, 1.0
        said = re.fullmatch(r"(?P<options>.*?)(?:(?:, )?budget=(?P<budget>[\d.]+))?", self.neutral)
        assert said
        return f"{self.name}({said['options']})", float(said["budget"] or 1)


def explained(docstring: str) -> dict[str, str]:
    """`a: the first; b, c: two more. Further words.` -> what it says of each word, up to the sentence's end."""
    text = re.sub(r"\s+", " ", docstring)
    heads = list(re.finditer(r"(?:^|[.;:]) ?((?:\w+, )*\w+): ", text))
    ends = [*(head.start() for head in heads[1:]), len(text)]
    said: dict[str, str] = {}
    for head, end in zip(heads, ends, strict=False):  # of no heads, none
        meaning = re.split(r"\. (?=[A-Z0-9])", text[head.end() : end])[0].strip(" .;,")
        said |= dict.fromkeys(head[1].split(", "), meaning)
    return said
