"""What the kit knows of its methods: a table, and one method's card beside the source that is executed."""

import inspect
import re
import sys
from pathlib import Path
from typing import Any

import pandas as pd

from iskit import files
from iskit.augment import augments
from iskit.errors import InputError, suggest
from iskit.registry import CARD_FIELDS, Registry
from iskit.samplers import samplers

REGISTRIES: tuple[Registry[Any], ...] = (samplers, augments)


def methods() -> pd.DataFrame:
    """One row a sampler and augmentation: kind, name, title (as papers write it), options, and its card's fields."""
    rows = []
    for registry in REGISTRIES:
        for name in registry:
            options = ", ".join(f"{key}={p.default!r}" for key, p in registry.options(name).items())
            card = registry.card(name)
            rows.append({"kind": registry.kind, "title": registry.title(name), "options": options, **vars(card)})
    return pd.DataFrame(rows)[["kind", "name", "title", "summary", "options", *CARD_FIELDS]]


def source(name: str) -> str:
    """The source file of a method, its card at the head. InputError for an unknown name."""
    for registry in REGISTRIES:
        if name in registry:
            return inspect.getsource(sys.modules[registry[name].__module__])
    raise InputError(f"method {name!r} is unknown: {suggest(name, [*samplers, *augments])}")


def show(name: str) -> Any:
    """For notebooks: the method's file, formula and code on one page, as it is executed."""
    from IPython.display import Code

    return Code(source(name), language="python")


MARKS = ("<!-- methods: made from the cards by `make readme` -->", "<!-- end of methods -->")
HEADINGS = {"sampler": "Which examples", "augment": "How they look"}
SECTION = {
    "Source": "cite",
    "Rule": "rule",
    "Changes": "changes",
    "Extra passes": "passes",
    "Neutral at": "neutral",
    "Differs from the source": "differs",
}


def readme_tables() -> str:
    """The README's method tables, in Markdown: name, what it does, source. Two columns, as a phone has room for."""
    frame, parts = methods(), [MARKS[0]]
    for kind, heading in HEADINGS.items():
        parts += ["", f"**{heading}** (`{kind}=`)", "", "| name | what it does, and its source |", "|---|---|"]
        for row in frame[frame["kind"] == kind].to_dict("records"):
            name, (authors, _, _) = row["name"], row["cite"].partition(', "')
            source = "" if authors == "none" else f" *{_escaped(authors)}*"
            parts.append(f"| [`{name}`](docs/methods.md#{name}) | {_escaped(row['summary'])}{source} |")
    return "\n".join([*parts, "", MARKS[1]])


def methods_page() -> str:
    """docs/methods.md: the whole card of every method, a section each."""
    parts = [
        "# Methods",
        "",
        "Made from the cards at the head of each method's file, by `make readme`: change them there. Notation: N "
        "training examples, b rows a batch, T epochs, B the budget as a share of the full run, t in [0, 1) the share "
        "of the budget that is spent, p_i the predicted probability of the true class of example i. *Neutral at*: "
        "the setting at which a sampler is plain SGD, batch for batch, and an augmentation leaves images alone.",
    ]
    frame = methods()
    for registry in REGISTRIES:
        kind, heading = registry.kind, HEADINGS[registry.kind]
        parts += ["", f"## {heading}", "", f"`{kind}=NAME` or `{kind}=NAME(option=value, ...)`"]
        for row in frame[frame["kind"] == kind].to_dict("records"):
            also = "" if row["title"] == row["name"] else f" ({row['title']})"
            parts += ["", f"### {row['name']}", "", f"{_escaped(row['summary'])}{also}", ""]
            parts += [f"- **{word}:** {_escaped(row[key])}" for word, key in SECTION.items()]
            parts.append(f"- **Options:** {_options(registry, row)}")
    return "\n".join(parts) + "\n"


def _options(registry: Registry[Any], row: dict[str, Any]) -> str:
    """What may be set, with its defaults and what it means."""
    if not row["options"]:
        return "none"
    paragraph = (inspect.getdoc(registry[row["name"]]) or "").partition("\n\n")[0].replace("\n", " ")
    return f"`{row['options']}`. {_escaped(paragraph)}".rstrip()


def _escaped(text: str) -> str:
    """Text of a card as Markdown shows it unchanged; what stands in backticks stays code."""
    quoted = text.split("`")
    quoted[::2] = [re.sub(r"[\\*<|]|(?<!\w)_|_(?!\w)", r"\\\g<0>", piece) for piece in quoted[::2]]
    return "`".join(quoted)


def write_pages(root: Path) -> None:
    """Puts the tables between their marks in README.md, and writes docs/methods.md."""
    readme = root / "README.md"
    before, _, rest = readme.read_text(encoding="utf-8").partition(MARKS[0])
    files.write_text(readme, before + readme_tables() + rest.partition(MARKS[1])[2])
    files.write_text(root / "docs" / "methods.md", methods_page())
