"""An executed notebook as one HTML file: live plots, no outside request. And still images for the notebook itself."""

import base64
import json
import shutil
import subprocess
import sys
import tempfile
from html import escape
from pathlib import Path
from typing import Any

import nbformat
import nbformat.reader
import plotly.io as pio
from nbconvert import HTMLExporter

from iskit import files
from iskit.errors import InputError
from iskit.inputs import guard, regular
from iskit.views.notebook import whole
from iskit.views.saved import show_widgets

PLOTLY = "application/vnd.plotly.v1+json"
PATIENCE = 60.0  # seconds for a notebook's images; a few are usual

STYLE = """
body { max-width: 1080px; margin: 2rem auto; padding: 0 1rem; font: 16px/1.55 system-ui, sans-serif; color: #222; }
pre, code { font: 13px/1.45 ui-monospace, monospace; }
pre { white-space: pre-wrap; margin: .3rem 0; }
.jp-InputPrompt, .jp-OutputPrompt, .prompt, .anchor-link { display: none; }
.input_area, .jp-InputArea { background: #f6f7f9; border-radius: 6px; padding: .4rem .8rem; margin: .8rem 0 .3rem; }
.output_stderr { color: #777; }
table { border-collapse: collapse; font-size: 14px; margin: .8rem 0; }
th, td { padding: .25rem .7rem; text-align: right; border-bottom: 1px solid #e3e5e8; }
th { border-bottom: 2px solid #c8ccd0; }
"""


def report(notebook: Path, path: Path) -> None:
    """Writes the executed notebook to `path` as HTML that needs nothing but itself.

    InputError if it is no notebook, or `path` the notebook itself or no place for a file.
    """
    nb = _read(notebook)
    if path.is_dir() or not path.parent.is_dir():
        raise InputError(f"{path} cannot be written: give the path of a file in a folder that is there")
    if path.exists() and path.samefile(notebook):
        raise InputError(f"{path} is the notebook itself: give the report another name")
    with guard(f"{notebook} holds what cannot be shown", "remove that output, or execute it anew"):
        _draw_plots(nb)
        # The basic template is the only one that fetches nothing from elsewhere.
        body, _ = HTMLExporter(template_name="basic").from_notebook_node(nb)
        body.encode()  # JSON may hold what no file can
    files.remove_orphans(path)
    files.write_text(path, _page(_title(nb), body))


def _read(path: Path) -> Any:
    """The notebook, in today's format."""
    regular(path)
    with guard(f"{path} is not a readable notebook", "give one that papermill executed"):
        nb = nbformat.convert(nbformat.reader.reads(path.read_text(encoding="utf-8")), 4)
        whole(nb)
    show_widgets(nb)
    return nb


def _draw_plots(nb: Any) -> None:
    first = True
    for output in _plots(nb):
        figure = pio.from_json(json.dumps(output["data"].pop(PLOTLY)), skip_invalid=True)
        output["data"] = {"text/html": pio.to_html(figure, full_html=False, include_plotlyjs=first)}
        first = False


def _title(nb: Any) -> str:
    lines = (line for cell in nb.cells for line in cell.source.splitlines())
    return next((line.lstrip("# ") for line in lines if line.startswith("# ")), "")


def _page(title: str, body: str) -> str:
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head><body>{body}</body></html>'
    )


def add_images(nb: Any) -> None:
    """Adds a PNG beside every plotly output, for viewers that run no scripts. Skipped where no browser is found, or
    where it does not answer: an addition is never a reason to lose an executed notebook."""
    outputs = [output for output in _plots(nb) if "image/png" not in output["data"]]
    if not outputs or not any(map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))):
        return
    with tempfile.TemporaryDirectory() as folder:
        figures = {str(Path(folder) / f"{number}.png"): out["data"][PLOTLY] for number, out in enumerate(outputs)}
        # Trap: on a busy machine a browser may start and never answer; kaleido waits for it for ever.
        command = [sys.executable, "-c", "from iskit.views.report import draw; draw()"]
        try:
            subprocess.run(
                command, input=json.dumps(figures), text=True, capture_output=True, timeout=PATIENCE, check=True
            )
        except (OSError, subprocess.SubprocessError):
            return
        for output, path in zip(outputs, figures, strict=True):
            output["data"]["image/png"] = base64.b64encode(Path(path).read_bytes()).decode()


def draw() -> None:
    """Draws plotly figures; standard input is JSON, of the path of each image and its figure."""
    figures = {path: pio.from_json(json.dumps(one), skip_invalid=True) for path, one in json.load(sys.stdin).items()}
    sizes = {  # Trap: unless told, it takes a size of its own and squeezes the figure into it.
        side: [figure.layout[side] or usual for figure in figures.values()]
        for side, usual in {"width": 1000, "height": 450}.items()
    }
    pio.write_images(list(figures.values()), list(figures), **sizes)


def _plots(nb: Any) -> list[Any]:
    return [output for cell in nb.cells for output in cell.get("outputs", []) if PLOTLY in output.get("data", {})]
