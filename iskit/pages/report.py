"""An executed notebook as one HTML file, an article: live plots, no outside request. And still images for notebooks."""

import base64
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from html import escape
from pathlib import Path
from typing import Any

import nbformat
import nbformat.reader
import plotly.io as pio
from nbconvert import HTMLExporter
from plotly.offline import get_plotlyjs

from iskit import files
from iskit.errors import InputError
from iskit.inputs import guard, regular
from iskit.pages.article import PAGE, SCRIPT, STYLE, foot, plot
from iskit.pages.notebook import whole
from iskit.pages.saved import show_widgets

PLOTLY = "application/vnd.plotly.v1+json"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
PATIENCE = 60.0  # seconds for a notebook's images; a few are usual
# Tags of cells. LEAD: heads the page, below its title; HANDS: speaks of controls, which a page has not; FOOT: ends it.
LEAD, HANDS, FOOT, PARAMETERS = "lead", "hands", "foot", ("parameters", "injected-parameters")


def report(notebook: Path, path: Path) -> None:
    """Writes the executed notebook to `path` as HTML that needs nothing but itself.

    Below the title come the cells tagged `lead`, then contents and all others in their order, code folded behind one
    switch; the parameters and the cells tagged `foot` end the page; those tagged `hands` are left out. InputError if
    it is no notebook or shows nothing, or `path` is the notebook itself or no place for a file.
    """
    nb = _read(notebook)
    if path.is_dir() or not path.parent.is_dir():
        raise InputError(f"{path} cannot be written: give the path of a file in a folder that is there")
    if path.exists() and path.samefile(notebook):
        raise InputError(f"{path} is the notebook itself: give the report another name")
    with guard(f"{notebook} holds what cannot be shown", "remove that output, or execute it anew"):
        page = _page(nb, time.strftime("%Y-%m-%d %H:%M", time.localtime(notebook.stat().st_mtime)))
        page.encode()  # JSON may hold what no file can
    files.remove_orphans(path)
    files.write_text(path, page)


def _read(path: Path) -> Any:
    """The notebook, in today's format."""
    regular(path)
    with guard(f"{path} is not a readable notebook", "give one that papermill executed"):
        nb = nbformat.convert(nbformat.reader.reads(path.read_text(encoding="utf-8")), 4)
        whole(nb)
    show_widgets(nb)
    return nb


def _page(nb: Any, saved: str) -> str:
    plots = _plots(nb)
    for number, output in enumerate(plots):
        figure = pio.from_json(json.dumps(output["data"].pop(PLOTLY)), skip_invalid=True)
        output["data"] = {"text/html": plot(figure, f"figure-{number}")}
    title = _title(nb)
    parts: dict[str, list[Any]] = {"top": [], LEAD: [], "body": [], FOOT: []}
    for cell in nb.cells:
        tags = set(cell.metadata.get("tags", []))
        if tags & {HANDS, *PARAMETERS}:
            continue
        first = not parts["top"] and cell.cell_type == "markdown"
        parts["top" if first else LEAD if LEAD in tags else FOOT if FOOT in tags else "body"].append(cell)
    shown = {name: _html(nb, cells) for name, cells in parts.items()}
    headings = re.findall(r'<h2 id="([^"]*)">(.*?)<a class="anchor-link"', shown["body"], flags=re.DOTALL)
    contents = "".join(f'<li><a href="#{name}">{text}</a></li>' for name, text in headings)
    return PAGE.format(
        title=escape(title), style=STYLE, script=SCRIPT, plotly=get_plotlyjs() if plots else "",
        top=shown["top"], lead=shown[LEAD], contents=contents, body=shown["body"],
        foot=foot(nb, saved, PARAMETERS), made=shown[FOOT],
    )  # fmt: skip


def _html(nb: Any, cells: list[Any]) -> str:
    part = nbformat.v4.new_notebook(cells=cells, metadata=nb.metadata)
    # The basic template is the only one that fetches nothing from elsewhere.
    return HTMLExporter(template_name="basic").from_notebook_node(part)[0]


def _title(nb: Any) -> str:
    lines = (line for cell in nb.cells for line in cell.source.splitlines())
    return next((line.lstrip("# ") for line in lines if line.startswith("# ")), "")


def add_images(nb: Any) -> None:
    """Adds a PNG beside every plotly output, for viewers that run no scripts. Skipped where no browser is found, or
    where it does not answer: an addition is never a reason to lose an executed notebook."""
    outputs = [output for output in _plots(nb) if "image/png" not in output["data"]]
    if not outputs or not browser():
        return
    with tempfile.TemporaryDirectory() as folder:
        figures = {str(Path(folder) / f"{number}.png"): out["data"][PLOTLY] for number, out in enumerate(outputs)}
        # Trap: on a busy machine a browser may start and never answer; kaleido waits for it for ever.
        command = [sys.executable, "-m", "iskit.views.stills"]
        try:
            subprocess.run(
                command, input=json.dumps(figures), text=True, capture_output=True, timeout=PATIENCE, check=True
            )
        except (OSError, subprocess.SubprocessError):
            return
        for output, path in zip(outputs, figures, strict=True):
            output["data"]["image/png"] = base64.b64encode(Path(path).read_bytes()).decode()


def browser() -> str | None:
    """Where a browser lies that draws stills; None if there is none."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def _plots(nb: Any) -> list[Any]:
    return [output for cell in nb.cells for output in cell.get("outputs", []) if PLOTLY in output.get("data", {})]
