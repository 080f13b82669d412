"""Figures behind dropdowns, and outputs of a notebook that are filled from anywhere."""

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import ipywidgets as ipw
import plotly.graph_objects as go
from IPython.core.formatters import DisplayFormatter
from IPython.display import display
from pandas.io.formats.style import Styler

from iskit.pages.notebook import hands

View: TypeAlias = go.Figure | Styler


class Steps(tuple[Any, ...]):
    """Values to choose from, of which there is at least one, that a slider goes through."""


def choose(make: Callable[..., View | str], **choices: Callable[[], list[Any]] | Steps) -> Callable[[], None]:
    """Shows `make(**choice)`: a dropdown for each choice; without hands what their first values make.

    choices: functions that give the values to choose from; or Steps, for a slider. Returns a function that asks
    them again and draws anew.
    """
    if not hands():
        display(make(**{name: _values(of)[0] for name, of in choices.items()}))
        return lambda: None
    box, renew = chooser(make, choices)
    display(box)
    return renew


def chooser(
    make: Callable[..., View | str], choices: Mapping[str, Callable[[], list[Any]] | Steps]
) -> tuple[ipw.Widget, Callable[[], None]]:
    """As `choose`, but shows nothing: the widget to show, and the function that draws anew."""
    output = ipw.Output()
    dropdowns = {name: _control(name, _values(of)) for name, of in choices.items()}

    def draw(_: Any = None) -> None:
        if any(widget.options and widget.value is None for widget in dropdowns.values()):
            return  # a dropdown that is given new options has no value for a moment
        try:
            fill(output, make(**{name: widget.value for name, widget in dropdowns.items()}))
        except Exception as error:  # a callback's traceback would be seen by nobody
            fill(output, error)

    def renew() -> None:
        for name, of in choices.items():
            options = tuple(_values(of))
            if options != dropdowns[name].options:
                kept = dropdowns[name].value
                dropdowns[name].options = options
                dropdowns[name].value = kept if kept in options else next(iter(options), None)
        draw()

    renew()
    for widget in dropdowns.values():
        widget.observe(draw, "value")
    return ipw.VBox([*dropdowns.values(), output]), renew


def _values(of: Callable[[], list[Any]] | Steps) -> list[Any] | Steps:
    return of if isinstance(of, Steps) else of()


def _control(name: str, values: list[Any] | Steps) -> ipw.Dropdown | ipw.SelectionSlider:
    if isinstance(values, Steps):
        return ipw.SelectionSlider(
            options=values, description=name, style={"description_width": "initial"}, layout=WIDE
        )
    return ipw.Dropdown(description=name)


WIDE = ipw.Layout(width="460px")


def fill(output: ipw.Output, content: View | str | Exception | Any) -> None:
    """Replaces what an output shows. Set as data: capturing prints does not work from a thread."""
    if isinstance(content, Exception):
        line = f"{type(content).__name__}: {content}"
        error = {"ename": type(content).__name__, "evalue": str(content), "traceback": [line]}
        output.outputs = ({"output_type": "error", **error},)
        return
    if isinstance(content, str):
        data: dict[str, Any] = {"text/plain": content}
    elif isinstance(content, go.Figure):
        data = {"application/vnd.plotly.v1+json": json.loads(content.to_json()), "text/plain": "figure"}
    else:
        data, _ = DisplayFormatter().format(content)
    output.outputs = ({"output_type": "display_data", "data": data, "metadata": {}},)
