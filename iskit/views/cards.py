"""What the kit knows of its methods: a table, and one method's card beside the source that is executed."""

import inspect
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


def readme_tables() -> str:
    """The README's method tables, in Markdown."""
    frame, parts = methods(), [MARKS[0]]
    for kind, heading in (("sampler", "Which examples"), ("augment", "How they look")):
        parts += ["", f"**{heading}** (`{kind}=`)", "", "| name | what it does | source | changes | extra passes |"]
        parts[-1] += " neutral at | differs from the source |"
        parts.append("|---|---|---|---|---|---|---|")
        for row in frame[frame["kind"] == kind].to_dict("records"):
            cells = [row[key] for key in ("summary", "cite", "changes", "passes", "neutral", "differs")]
            parts.append("| " + " | ".join([f"`{row['name']}`", *(c.replace("|", "\\|") for c in cells)]) + " |")
    return "\n".join([*parts, "", MARKS[1]])


def write_readme(path: Path) -> None:
    """Puts the tables between their marks."""
    before, _, rest = path.read_text(encoding="utf-8").partition(MARKS[0])
    files.write_text(path, before + readme_tables() + rest.partition(MARKS[1])[2])
