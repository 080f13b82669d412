"""What the kit knows of its methods: a table, and one method's card beside the source that is executed."""

import functools
import inspect
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from iskit import files
from iskit.docstrings import CARD_FIELDS, TAUGHT
from iskit.errors import InputError, suggest
from iskit.views import catalogue
from iskit.views.catalogue import METHODS, catalogued

if TYPE_CHECKING:
    import pandas as pd


def methods() -> "pd.DataFrame":
    """One row a sampler and augmentation: kind, name, title (as papers write it), options, and its card's fields."""
    import pandas as pd

    rows = [{**entry, "options": signature(entry)} for entry in catalogued(*METHODS)]
    return pd.DataFrame(rows)[["kind", "name", "title", "summary", "options", *CARD_FIELDS, *TAUGHT]]


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
    """For notebooks: a method's formula, whom it draws, when to use it, and its file as it is executed, on one page.
    InputError for an unknown name."""
    from IPython.display import Markdown

    code = source(name)
    [entry] = [one for one in catalogued(*METHODS) if name in (one["name"], *one["aliases"])]
    parts = [f"### {entry['name']}", entry["summary"]]
    if entry["formula"]:
        parts.append(f"$${entry['formula']}$$")
    if drawn := sparks(entry["name"]):
        parts.append("  \n".join(f"{word}: `{said}`" for word, said in drawn.items()))
    if entry["when"]:
        parts.append(f"When: {entry['when']}")
    return Markdown("\n\n".join([*parts, f"```python\n{code}\n```"]))


SKETCHES = Path(__file__).with_name("sketches.json")  # what `iskit.views.sketch` measured, by `make readme`
BLOCKS = "▁▂▃▄▅▆▇█"


@functools.cache
def sketches() -> dict[str, dict[str, list[float]]]:
    """Of each sampler that the kit came with, what it draws and what counts: see `iskit.views.sketch.sketch`."""
    return files.read_json(SKETCHES)


def sparks(name: str) -> dict[str, str]:
    """The sketch of a sampler for terminals, a line each; empty for what has none."""
    scale = f"highest loss first; uniform draws: {line([1.0])}"
    return {word: f"{line(values)}  {scale}" for word, values in sketches().get(name, {}).items()}


def svg(one: Mapping[str, Sequence[float]]) -> str:
    """Bars for what is drawn, a line for what counts, the hardest examples on the left; dotted: uniform draws."""
    width, height, left, top = 12, 70, 34, 18
    most = max(2.0, *one["drawn"], *one["counted"])
    right, base = left + len(one["drawn"]) * width, top + height

    def at(value: float) -> float:
        return round(base - height * value / most, 1)

    bars = "".join(
        f'<rect x="{left + width * i + 1}" y="{at(value)}" width="{width - 2}" height="{round(base - at(value), 1)}"/>'
        for i, value in enumerate(one["drawn"])
    )
    counts = " ".join(f"{left + width * i + width / 2:g},{at(value)}" for i, value in enumerate(one["counted"]))
    ticks = "".join(
        f'<text x="{left - 6}" y="{at(value) + 4}" text-anchor="end">{value:g}</text>' for value in (0, 1, int(most))
    )
    size = f'width="{right + 10}" height="{base + 22}" font-family="sans-serif" font-size="11" fill="#222"'
    said = '<tspan fill="#0072B2">bars: how often</tspan>, <tspan fill="#D55E00">line: how much it counts</tspan>'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size}><rect width="100%" height="100%" fill="#fff"/>',
        f'<text x="{left}" y="11">{said}</text>',
        f'<g fill="#0072B2" fill-opacity=".55">{bars}</g>',
        f'<line x1="{left}" x2="{right}" y1="{at(1)}" y2="{at(1)}" stroke="#222" stroke-dasharray="2 3"/>',
        f'<polyline points="{counts}" fill="none" stroke="#D55E00" stroke-width="2"/>{ticks}',
        f'<text x="{left}" y="{base + 15}">highest loss</text>',
        f'<text x="{right}" y="{base + 15}" text-anchor="end">lowest</text></svg>',
    ]
    return "\n".join(parts) + "\n"


def line(values: Sequence[float], most: float = 5.0) -> str:
    """As letters, `▇▅▃▁`, for terminals: each an eighth of `most`, which is more than nearly all samplers reach."""
    return "".join(BLOCKS[min(len(BLOCKS) - 1, int(value / most * len(BLOCKS)))] for value in values)


MARKS = ("<!-- methods: made from the cards by `make readme` -->", "<!-- end of methods -->")
HEADINGS = {"sampler": "Which examples", "augment": "How they look"}
DRAWN = (
    "The sketches under *Which examples* are measured, by running each sampler at its defaults with a network that "
    "never learns and a budget of .3: bars say how often examples were drawn, from those of the highest loss to those "
    "of the lowest, the line how much they counted in all gradients; 1 is what uniform draws give. An unbiased "
    "gradient gives a flat line. What goes by how losses change (ies) shows nothing here."
)
SECTION = {
    "When": "when",
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
        "",
        DRAWN,
    ]
    for kind, heading in HEADINGS.items():
        parts += ["", f"## {heading}", "", f"`{kind}=NAME` or `{kind}=NAME(option=value, ...)`"]
        for row in catalogued(kind):
            also = "" if row["title"] == row["name"] else f" ({row['title']})"
            parts += ["", f"### {row['name']}", "", f"{_escaped(row['summary'])}{also}", ""]
            if row["formula"]:
                parts += ["```math", row["formula"], "```", ""]
            if row["name"] in sketches():
                picture = f"![{row['name']}: how often drawn, and how much it counts, by loss]"
                parts += [f"{picture}(sketches/{row['name']}.svg)", ""]
            parts += [f"- **{word}:** {_escaped(row[key])}" for word, key in SECTION.items() if row[key]]
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
    """Writes what is known without loading the parts, and of it the tables in README.md, between their marks,
    docs/methods.md and its sketches."""
    from iskit.views import sketch

    files.write_json(catalogue.PATH, catalogue.made())
    files.write_json(SKETCHES, sketch.made())
    catalogue.entries.cache_clear()
    sketches.cache_clear()
    for name, one in sketches().items():
        files.write_text(root / "docs" / "sketches" / f"{name}.svg", svg(one))
    readme = root / "README.md"
    before, _, rest = readme.read_text(encoding="utf-8").partition(MARKS[0])
    files.write_text(readme, before + readme_tables() + rest.partition(MARKS[1])[2])
    files.write_text(root / "docs" / "methods.md", methods_page())
