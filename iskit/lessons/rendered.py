"""The pages as they look when they were run: Markdown with small pictures, to be read without running anything."""

import ast
import io
import re
from base64 import b64decode
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import nbformat
from PIL import Image

from iskit import files
from iskit.errors import InputError
from iskit.pages.notebook import whole
from iskit.pages.report import BROWSERS, PLOTLY, browser

INDEX = "README.md"  # of the folder, which GitHub shows
PICTURES = "pictures"
COLOURS = 255  # of a picture: figures have few, and it takes half of the bytes
WIDTH = 900  # pixels of what is no plotly figure
ASKED = re.compile(r"^page\.ask\(", flags=re.MULTILINE)
# Cells whose code is folded, by their tag.
FOLDED = {"parameters": "Parameters", "foot": "Set-up", "solution": "Solution"}
SECRET = "What came out (guess first)"
HEAD = """<!-- made by `make pages` of notebooks/{name}.ipynb, cells {cells} -->

*[All pages](README.md){neighbours} · the page itself: [{name}.ipynb](../../notebooks/{name}.ipynb), by `make lab`.
This copy shows what it showed when it was run last.*
"""
FRONT = """<!-- made by `make pages` -->

# The pages of the study

Each page asks a question, and for your guess, before it shows what came out. Here they are as they looked when they
were run last, with their own settings: what came out is folded away until you have guessed. To play with one:
`make lab`. To teach with them: [a lesson](../lesson.md).

| page | its question |
|---|---|
"""


def write_pages(root: Path, say: Callable[[str], None] = print) -> None:
    """Writes docs/notebooks: a copy of each numbered page, and an index. Pages that have changed since are run anew.

    Takes a minute or two a page that has changed, and needs Chromium. InputError where a page's run fails.
    """
    folder = root / "docs" / "notebooks"
    names = pages(root)
    for name in names:
        source = root / "notebooks" / f"{name}.ipynb"
        if made_of(folder / f"{name}.md") == cells_of(nbformat.read(source, 4)):
            continue
        say(f"{name}: running it")
        write_page(executed(source, root / "outputs" / "pages"), folder, names)
    for left in folder.glob("*.md"):
        if left.name != INDEX and left.stem not in names:
            left.unlink()
    files.write_text(folder / INDEX, index(root, names))


def pages(root: Path) -> list[str]:
    """The numbered ones, but for the quickstart, which is 00 and has a report."""
    return sorted(path.stem for path in (root / "notebooks").glob("[0-9][0-9]_*.ipynb") if path.stem[:2] != "00")


def cells_of(nb: Any) -> str:
    """A hash of what a notebook's cells say, whatever came out of them, and whatever parameters were injected."""
    mine = [cell for cell in nb.cells if "injected-parameters" not in cell.metadata.get("tags", [])]
    return files.digest([[cell.cell_type, cell.source] for cell in mine])


def made_of(copy: Path) -> str:
    """The hash of the cells that a copy was made of; empty if there is none."""
    found = re.search(r"^<!-- made .*, cells (\w+) -->", copy.read_text(encoding="utf-8")) if copy.is_file() else None
    return found[1] if found else ""


def executed(source: Path, folder: Path) -> Path:
    """The notebook, run in batch with its own parameters; one that was run since it changed is found again."""
    import papermill

    path, asked = folder / source.name, nbformat.read(source, 4)
    if path.is_file():
        kept = nbformat.read(path, 4)
        if cells_of(kept) == cells_of(asked) and kept.metadata.get("iskit", {}).get("status") == "ok":
            return path
    folder.mkdir(parents=True, exist_ok=True)
    try:
        papermill.execute_notebook(source, path, engine_name="iskit", progress_bar=False)
    except papermill.PapermillExecutionError as error:
        raise InputError(f"{source} cannot be shown as it looks: {error.ename}: {error.evalue}") from error
    return path


def write_page(path: Path, folder: Path, names: Sequence[str]) -> None:
    """A copy of an executed page in a folder, with its pictures, whose older ones go. names: of all pages, in order."""
    nb, name = nbformat.read(path, 4), path.stem
    whole(nb)
    pictures = folder / PICTURES
    pictures.mkdir(parents=True, exist_ok=True)
    for old in pictures.glob(f"{name}-*.png"):
        old.unlink()
    at = list(names).index(name)
    beside = [(word, names[to]) for word, to in (("before", at - 1), ("after", at + 1)) if 0 <= to < len(names)]
    parts = [
        HEAD.format(
            name=name,
            cells=cells_of(nb),
            neighbours="".join(f" · [the page {word}]({other}.md)" for word, other in beside),
        )
    ]
    asked = False
    with painter() as paint:
        numbers = iter(range(1, 1000))

        def keep(png: bytes, words: str) -> str:
            file = f"{name}-{next(numbers)}.png"
            files.write(pictures / file, partial(Path.write_bytes, data=png))
            return f"![{words}]({PICTURES}/{file})"

        for cell in nb.cells:
            shown = [text for output in cell.get("outputs", []) if (text := _shown(output, keep, paint))]
            parts += _cell(cell, shown, asked)
            asked = asked or bool(ASKED.search(cell.source))
    files.write_text(folder / f"{name}.md", "\n\n".join(part.strip("\n") for part in parts) + "\n")


def index(root: Path, names: Sequence[str]) -> str:
    """A line a page: its title and its question."""
    lines = []
    for name in names:
        nb = nbformat.read(root / "notebooks" / f"{name}.ipynb", 4)
        title = nb.cells[0].source.splitlines()[0].lstrip("# ")
        lines.append(f"| [{name[:2]}: {title}]({name}.md) | {question(nb)} |")
    return FRONT + "\n".join(lines) + "\n"


def question(nb: Any) -> str:
    """What a page asks its reader; of one that asks nothing, the first sentence below its title that is a question."""
    for cell in nb.cells:
        if ASKED.search(cell.source):
            calls = [one for one in ast.walk(ast.parse(cell.source)) if isinstance(one, ast.Call)]
            return str(next(ast.literal_eval(one.args[0]) for one in calls if ast.unparse(one.func) == "page.ask"))
    text = " ".join(nb.cells[0].source.split("\n\n")[1].split())
    asked = re.search(r"[^.:?]*\?", text)
    return asked[0].strip().capitalize() if asked else re.split(r"(?<=[.:]) ", text)[0]


def _tags(cell: Any) -> Sequence[str]:
    return cell.metadata.get("tags", [])


def _cell(cell: Any, shown: Sequence[str], asked: bool) -> list[str]:
    """asked: whether the reader was asked for a guess further up, so that what came out is folded."""
    if cell.cell_type == "markdown":
        return [re.sub(r"\]\((\d\d_\w+)\.ipynb\)", r"](\1.md)", cell.source)]
    code = f"```python\n{cell.source}\n```"
    heading = next((FOLDED[tag] for tag in _tags(cell) if tag in FOLDED), "")
    if heading == FOLDED["solution"]:
        return _folded(heading, [code, *shown])
    folded = asked and not heading and not all(text.startswith("```text") for text in shown)
    return [*(_folded(heading, [code]) if heading else [code]), *(_folded(SECRET, shown) if folded else shown)]


def _folded(heading: str, parts: Sequence[str]) -> list[str]:
    return [f"<details><summary>{heading}</summary>", *parts, "</details>"]


def _shown(output: Any, keep: Callable[[bytes, str], str], paint: Callable[[str], bytes]) -> str:
    """One output in Markdown: a picture, or text; the last line of what was printed."""
    if output.output_type == "stream":
        lines = output.text.strip().splitlines()
        return f"```text\n{lines[-1]}\n```" if lines and output.name == "stdout" else ""
    data = output.get("data", {})
    if "image/png" in data:
        return keep(small(b64decode(data["image/png"])), _titled(data))
    if PLOTLY in data:
        raise InputError("a figure has no still image: `make pages` needs Chromium or Chrome")
    if "text/markdown" in data:
        return data["text/markdown"]
    html = data.get("text/html", "")
    if re.search(r"<(img|iframe|script|canvas|table)\b", html):
        label = re.search(r'(?:aria-label|title)="([^"]*)"', html)
        return keep(small(paint(html)), label[1] if label else "what the page shows")
    return html or f"```text\n{data.get('text/plain', '')}\n```"


def _titled(data: Any) -> str:
    title = data.get(PLOTLY, {}).get("layout", {}).get("title", {}).get("text", "")
    return re.sub(r"<[^>]*>|[\[\]]", "", title) or "figure"


def small(png: bytes) -> bytes:
    """The picture with few colours."""
    file = io.BytesIO()
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    picture.quantize(COLOURS, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(file, "png", optimize=True)
    return file.getvalue()


@contextmanager
def painter() -> Iterator[Callable[[str], bytes]]:
    """A function that shows HTML in a browser and takes its picture, PNG; the browser is started when first asked."""
    with ExitStack() as stack:
        opened: list[Any] = []

        def paint(html: str) -> bytes:
            if not opened:
                opened.append(_browser(stack))
            page = opened[0].new_page(viewport={"width": WIDTH, "height": 800})
            page.set_content(f'<body style="margin:8px;font:14px sans-serif;background:#fff">{html}</body>')
            page.wait_for_timeout(500)  # for what its scripts draw
            png = page.locator("body").screenshot()
            page.close()
            return png

        yield paint


def _browser(stack: ExitStack) -> Any:
    """Started, and ended with the stack."""
    from playwright.sync_api import sync_playwright  # for development alone

    where = browser()
    if where is None:
        raise InputError(f"no browser was found: install one of {', '.join(BROWSERS)}")
    chromium = stack.enter_context(sync_playwright()).chromium
    started = chromium.launch(executable_path=where, args=["--no-sandbox", "--disable-gpu"])
    stack.callback(started.close)
    return started
