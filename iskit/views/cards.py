"""What the kit knows of its methods: a table, and one method's card beside the source that is executed."""

import inspect
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from iskit import files
from iskit.docstrings import CARD_FIELDS
from iskit.errors import InputError, suggest
from iskit.views import catalogue
from iskit.views.catalogue import METHODS, catalogued

if TYPE_CHECKING:
    import pandas as pd


def methods() -> "pd.DataFrame":
    """One row a sampler and augmentation: kind, name, title (as papers write it), options, and its card's fields."""
    import pandas as pd

    rows = [{**entry, "options": signature(entry)} for entry in catalogued(*METHODS)]
    return pd.DataFrame(rows)[["kind", "name", "title", "summary", "options", *CARD_FIELDS]]


def signature(entry: dict[str, Any]) -> str:
    """The options with their defaults, `alpha=0.3, official=False`; `path=...` of one that must be given."""
    return ", ".join(f"{option['name']}={option['default'] or '...'}" for option in entry["options"])


def source(name: str) -> str:
    """The source file of a method, its card at the head. InputError for an unknown name."""
    from iskit.augment import augments
    from iskit.samplers import samplers

    for registry in (samplers, augments):
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
    parts = [MARKS[0]]
    for kind, heading in HEADINGS.items():
        parts += ["", f"**{heading}** (`{kind}=`)", "", "| name | what it does, and its source |", "|---|---|"]
        for row in catalogued(kind):
            name = row["name"]
            source = f" *{_escaped(authors(row))}*" if authors(row) else ""
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
    for kind, heading in HEADINGS.items():
        parts += ["", f"## {heading}", "", f"`{kind}=NAME` or `{kind}=NAME(option=value, ...)`"]
        for row in catalogued(kind):
            also = "" if row["title"] == row["name"] else f" ({row['title']})"
            parts += ["", f"### {row['name']}", "", f"{_escaped(row['summary'])}{also}", ""]
            parts += [f"- **{word}:** {_escaped(row[key])}" for word, key in SECTION.items()]
            options = [f"  - `{one['name']}={one['default']}`: {_escaped(one['meaning'])}" for one in row["options"]]
            parts += ["- **Options:**", *options] if options else ["- **Options:** none"]
    return "\n".join(parts) + "\n"


def authors(entry: dict[str, Any]) -> str:
    """Of a method's source; empty if it has none."""
    cite = entry.get("cite", "none")
    return "" if cite.startswith("none") else cite.partition(', "')[0]


def _escaped(text: str) -> str:
    """Text of a card as Markdown shows it unchanged; what stands in backticks stays code."""
    quoted = text.split("`")
    quoted[::2] = [re.sub(r"[\\*<|]|(?<!\w)_|_(?!\w)", r"\\\g<0>", piece) for piece in quoted[::2]]
    return "`".join(quoted)


def write_pages(root: Path) -> None:
    """Writes what is known without loading the parts, and of it the tables in README.md, between their marks, and
    docs/methods.md."""
    files.write_json(catalogue.PATH, catalogue.made())
    catalogue.entries.cache_clear()
    readme = root / "README.md"
    before, _, rest = readme.read_text(encoding="utf-8").partition(MARKS[0])
    files.write_text(readme, before + readme_tables() + rest.partition(MARKS[1])[2])
    files.write_text(root / "docs" / "methods.md", methods_page())
