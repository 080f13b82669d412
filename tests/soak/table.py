"""The campaign's figures as the table of RECORDS.md: `python tests/soak/table.py outputs/soak/*.json`"""

import json
import sys
from pathlib import Path
from typing import Any

NUMBERS = ("processes", "kills", "signals", "refusals", "examples", "compared")
BAD = ("differing", "lost", "hung", "lies", "tracebacks", "left")


def group(what: str) -> str:
    return what.split("[")[0].replace("_", " ")


def markdown(found: dict[str, Any]) -> str:
    about = found["about"]
    versions = ", ".join(f"{name} {number}" for name, number in about["versions"].items())
    columns = (*NUMBERS, *BAD, "seconds")
    lines = [
        f"Commit {about['commit']}, seed {about['seed']}{', short' if about['short'] else ''}; {about['cores']} cores, "
        f"load {about['load_after']} after; {versions}; {about['seconds']:.0f} s in all",
        "",
        f"| what | {' | '.join(columns)} |",
        "|" + "---|" * (len(columns) + 1),
    ]
    for name in dict.fromkeys(group(row["what"]) for row in found["rows"]):
        lines.append(line(name, [row for row in found["rows"] if group(row["what"]) == name], columns))
    return "\n".join([*lines, line("all", found["rows"], columns)])


def line(name: str, rows: list[dict[str, Any]], columns: tuple[str, ...]) -> str:
    sums = (f"{sum(row.get(column, 0) for row in rows):,.0f}" for column in columns)
    return f"| {name} | {' | '.join(sums)} |"


if __name__ == "__main__":
    for word in sys.argv[1:]:
        print(markdown(json.loads(Path(word).read_text(encoding="utf-8"))), end="\n\n")
