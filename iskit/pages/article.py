"""The page that a report is: its frame and look, figures that fit a telephone and a wide screen, the foot."""

import copy
import json
import textwrap
from collections.abc import Sequence
from contextlib import suppress
from html import escape
from typing import Any

import plotly.graph_objects as go

from iskit.errors import InputError
from iskit.pages.notebook import assignments

PANEL = 250  # height of a panel where panels stand below each other
ENTRY = 22  # height of a row of the legend there
WIDEST = 40  # letters of a title there

STYLE = """
:root { color-scheme: light dark; --text: #222; --back: #fff; --soft: #f4f5f7; --line: #d9dce0; --link: #0b57a4; }
@media (prefers-color-scheme: dark) {
  :root { --text: #dfe1e4; --back: #16181b; --soft: #22252a; --line: #3a3f46; --link: #8ab8f0; }
  .plot svg { filter: invert(.9) hue-rotate(180deg); }  /* light on dark, each colour still itself */
  .plot.picture svg { filter: none; }
  .plot.picture { background: #fff; }
}
* { box-sizing: border-box; }
body { max-width: 60rem; margin: 0 auto; padding: 1rem; font: 16px/1.55 system-ui, sans-serif; color: var(--text);
  background: var(--back); overflow-wrap: break-word; }
h1 { line-height: 1.2; margin: .3rem 0 .6rem; font-size: clamp(1.4rem, 4vw, 2rem); }
h2 { margin: 2.2rem 0 .4rem; }
p, ul, ol { margin: .5rem 0; }
a { color: var(--link); }
pre, code { font: 13px/1.45 ui-monospace, monospace; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; margin: .3rem 0; }
.prompt, .anchor-link { display: none; }
.input_area { background: var(--soft); border-radius: 6px; padding: .4rem .8rem; margin: .8rem 0 .3rem; }
body:not(:has(#code:checked)) .input { display: none; }
.output_stderr { opacity: .65; }
img { max-width: 100%; height: auto; }
.lead { border-left: 4px solid var(--line); padding-left: .8rem; }
.lead ul { padding-left: 1.1rem; }
.plot { margin: .6rem 0; }
nav { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; justify-content: space-between; align-items: baseline;
  background: var(--soft); border-radius: 6px; padding: .5rem .8rem; margin: 1rem 0; font-size: 14px; }
nav ol { margin: 0; padding: 0; display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; list-style: none; }
.output_html { overflow-x: auto; }
table { border-collapse: collapse; font-size: 14px; margin: .8rem 0; }
tbody th { font-weight: normal; }
caption { text-align: left; opacity: .75; padding-bottom: .3rem; }
th, td { padding: .25rem .7rem; text-align: right; border-bottom: 1px solid var(--line); vertical-align: top; }
footer { border-top: 1px solid var(--line); margin-top: 3rem; font-size: 13px; }
footer dl { display: grid; grid-template-columns: minmax(5rem, max-content) 1fr; gap: 0 .8rem; }
footer dd { margin: 0; overflow-wrap: anywhere; }
@media (max-width: 700px) {
  body { padding: .7rem; font-size: 15px; }
  table { font-size: 12px; }
  th, td { padding: .2rem .3rem; }
  .lead { padding-left: .5rem; }
}
"""

# A figure has two layouts, and takes the one that fits.
SCRIPT = """
const small = matchMedia("(max-width: 700px)");
for (const place of document.querySelectorAll(".plot > div")) {
  const told = JSON.parse(place.nextElementSibling.textContent);
  const draw = () => Plotly.react(place, told.data, small.matches ? told.narrow : told.wide,
    {responsive: true, displayModeBar: false});
  small.addEventListener("change", draw);
  draw();
}
"""

PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width"><style>{style}</style></head><body><main>
<header>{top}</header><section class="lead" aria-label="findings">{lead}</section>
<nav aria-label="contents"><ol>{contents}</ol><label><input type="checkbox" id="code"> show the code</label></nav>
{body}</main><footer>{foot}{made}</footer>
<script>{plotly}</script><script>{script}</script></body></html>
"""


def plot(figure: go.Figure, name: str) -> str:
    """A figure as HTML, to be drawn by SCRIPT; name: of the element."""
    told = json.loads(figure.to_json())
    data, layout = told["data"], told["layout"]
    layout |= {"paper_bgcolor": "rgba(0,0,0,0)", "plot_bgcolor": "rgba(0,0,0,0)", "autosize": True}
    layout.pop("width", None)
    text = json.dumps({"data": data, "wide": layout, "narrow": narrow(data, layout)}).replace("</", "<\\/")
    kind = "plot picture" if any(trace.get("type") == "image" for trace in data) else "plot"
    title = escape(layout.get("title", {}).get("text") or "figure")
    room = f"min-height: {layout.get('height', 450)}px"
    return (
        f'<figure class="{kind}" aria-label="{title}"><div id="{name}" style="{room}">'
        f'</div><script type="application/json">{text}</script></figure>'
    )


def narrow(data: list[dict[str, Any]], layout: dict[str, Any]) -> dict[str, Any]:
    """The layout of a figure for little width: panels below each other, each under its title, the legend at the end."""
    layout = copy.deepcopy(layout)
    margin = layout.setdefault("margin", {})
    margin |= {"r": 12, "t": 60}
    layout.setdefault("title", {}).update({"font": {"size": 15}, "x": 0.01, "xref": "container"})
    if len(text := layout["title"].get("text") or "") > WIDEST:
        layout["title"]["text"] = "<br>".join(textwrap.wrap(text, WIDEST))
    panels = _panels(layout)
    height = layout.get("height", 450)
    if len({tuple(x["domain"]) for x, _ in panels}) > 1:
        height = PANEL * len(panels) + margin["t"]
        _stack(layout, panels)
    legend = layout.get("legend", {})
    if layout.get("showlegend") is not False and legend.get("x", 1.02) > 1:
        names = {trace.get("name") for trace in data if trace.get("showlegend") is not False}
        below = ENTRY * -(-len(names) // 2)
        layout["legend"] = {"orientation": "h", "x": 0, "y": 0, "yref": "container", "yanchor": "bottom"}
        margin["b"] = 45 + below
        height += below
    return layout | {"height": height}


def _panels(layout: dict[str, Any]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """The pairs of axes that share the figure, row by row."""
    axes = []
    for name, x in layout.items():
        if name.startswith("xaxis"):
            y = layout.get(x.get("anchor", "y").replace("y", "yaxis", 1), {})
            if "domain" in x and "domain" in y:
                axes.append((x, y))
    return sorted(axes, key=lambda pair: (-pair[1]["domain"][1], pair[0]["domain"][0]))


def _stack(layout: dict[str, Any], panels: list[tuple[dict[str, Any], dict[str, Any]]]) -> None:
    """Panels below each other, in their order; the title of each, which stood above its middle, at its left."""
    step, notes = 1 / len(panels), layout.get("annotations", [])
    tops = [1 - place * step for place in range(len(panels))]
    titles = [
        note
        for x, y in panels
        for note in notes
        if note.get("xref") == "paper"
        and abs(note["x"] - sum(x["domain"]) / 2) + abs(note["y"] - y["domain"][1]) < 1e-6
    ]
    for note, top in zip(titles, tops, strict=False):  # not all figures give their panels one
        note |= {"x": 0, "xanchor": "left", "y": top, "font": {"size": 13}}
    for (x, y), top in zip(panels, tops, strict=True):
        x["domain"], y["domain"] = [0, 1], [top - 0.68 * step, top]
        y["showticklabels"] = True
        y.pop("title", None)


def foot(nb: Any, saved: str, tags: Sequence[str]) -> str:
    """The notebook's parameters, as cells with these tags set them, and when it was executed."""
    values: dict[str, Any] = {}
    for cell in nb.cells:
        if set(cell.metadata.get("tags", [])) & set(tags):
            with suppress(InputError):  # another's cell may hold more than values
                values |= assignments(cell.source)
    ended = nb.metadata.get("papermill", {}).get("end_time") or ""
    values["executed" if ended else "saved"] = ended[:16].replace("T", " ") + " UTC" if ended else saved
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(str(value))}</dd>" for name, value in values.items())
    return f"<h2>How this page was made</h2><dl>{rows}</dl>"
