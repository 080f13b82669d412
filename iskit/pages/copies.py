"""Copies of the notebooks to work in: what people and Jupyter write into them stays out of version control."""

import sys
from pathlib import Path
from typing import Any

import nbformat

from iskit import files


def working_copies(source: Path, target: Path) -> list[str]:
    """Copies each notebook of `source` to `target` if it is not there; says what it did, a line each.

    A copy is a person's own and kept as it is. If its source has changed since it was made, the copy takes another name
    beside the new one.
    """
    target.mkdir(parents=True, exist_ok=True)
    said = []
    for path in sorted(source.glob("*.ipynb")):
        nb = _stripped(path)
        copy = target / path.name
        origin = nb.metadata.setdefault("iskit", {})["origin"] = files.digest(nb.cells)
        if copy.exists():
            if _origin(copy) == origin:
                continue
            numbers = iter(range(1, sys.maxsize))
            kept = next(name for n in numbers if not (name := copy.with_stem(f"{copy.stem}-{n}")).exists())
            copy.rename(kept)
            said.append(f"{path} has changed since {copy} was made of it: yours is kept as {kept}")
        files.write_text(copy, nbformat.writes(nb))
    return [*said, f"you work in copies: {target}/ (yours, and not under version control)"]


def served_copies(source: Path, target: Path) -> None:
    """Copies that hold nothing but the source: what is served must not bring a state of widgets along."""
    target.mkdir(parents=True, exist_ok=True)
    for path in source.glob("*.ipynb"):
        files.write_text(target / path.name, nbformat.writes(_stripped(path)))


def _stripped(path: Path) -> Any:
    nb = nbformat.read(path, 4)
    nb.metadata.pop("widgets", None)
    for cell in nb.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return nb


def _origin(copy: Path) -> str | None:
    try:
        return nbformat.read(copy, 4).metadata.get("iskit", {}).get("origin")
    except Exception:  # whatever a damaged file makes nbformat raise: then it is kept under another name
        return None


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["lab", source, target]:
            print(*working_copies(Path(source), Path(target)), sep="\n")
        case ["app", source, target]:
            served_copies(Path(source), Path(target))
        case _:
            sys.exit("usage: python -m iskit.pages.copies lab|app SOURCE TARGET")
