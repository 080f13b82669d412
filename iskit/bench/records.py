"""What `iskit bench` measured, as the tables of RECORDS.md: `python -m iskit.bench.records outputs/bench/*.json`"""

import sys
from pathlib import Path

import pandas as pd

from iskit.bench.report import read, shown

NARROW = ["around us", "copy %", "warm s"]  # columns left out: a page is no wider


def markdown(path: Path) -> str:
    """Where it was measured, and every table of the file under its name."""
    found = read(path)
    about = found["about"]
    versions = ", ".join(f"{name} {number}" for name, number in about["versions"].items())
    load = f"load {about['load_before']} before, {about['load_after']} after"
    lines = [f"{about['device']}, {about['threads']} threads; {versions}; {about['data']}; {load}; {about['commit']}"]
    for name, table in found["tables"].items():
        lines += ["", f"**{name.removeprefix('train, ')}**", "", *_rows(shown(name, table))]
    return "\n".join(lines)


def _rows(table: pd.DataFrame) -> list[str]:
    table = table.drop(columns=NARROW, errors="ignore").replace("\N{NO-BREAK SPACE}", " ", regex=True)
    cells = [list(table.columns), ["---"] * len(table.columns), *table.to_numpy().tolist()]
    lines = ["| " + " | ".join(cell.replace("|", r"\|") for cell in row) + " |" for row in cells]
    return [line.replace(" --- ", "---") for line in lines]


if __name__ == "__main__":
    for word in sys.argv[1:]:
        print(markdown(Path(word)), end="\n\n")
