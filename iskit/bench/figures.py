"""Plotly figures of what `iskit bench` measured, in the look of `iskit.views.plots`."""

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from iskit.views.plots import PALETTE, styled

Tables = dict[str, pd.DataFrame]


def speeds(tables: Tables) -> go.Figure:
    """Images trained a second by every way, a panel a network; bars: deviation over laps."""
    return _bars(_of(tables, "train"), "images_per_second", "Training speed", "images a second", "deviation")


def shares(tables: Tables) -> go.Figure:
    """What each way uses of the fastest matrix product measured on the device, in percent."""
    frames = {name: table.assign(share=100 * table["flop_share"]) for name, table in _of(tables, "train").items()}
    return _bars(frames, "share", "Share of the limit", "% of the fastest matrix product")


def overheads(tables: Tables) -> go.Figure:
    """Seconds of each sampler's run against unif's, beside what its passes alone would take."""
    frames = {name: table for name, table in _of(tables, "select").items() if "times_unif" in table}
    figure = make_subplots(1, max(1, len(frames)), shared_yaxes=True, subplot_titles=[_short(name) for name in frames])
    for column, table in enumerate(frames.values(), start=1):
        for number, (quantity, text) in enumerate({"times_unif": "measured", "times_cost": "its passes"}.items()):
            figure.add_bar(
                y=table["sampler"], x=table[quantity], name=text, orientation="h", marker_color=PALETTE[number],
                legendgroup=text, showlegend=column == 1, row=1, col=column,
            )  # fmt: skip
    figure.update_yaxes(autorange="reversed")
    figure.update_xaxes(title_text="times unif", rangemode="tozero")
    return styled(figure, "What samplers cost", 360)


def _bars(frames: Tables, column: str, title: str, axis: str, spread: str = "") -> go.Figure:
    rows = max(1, len(frames))
    figure = make_subplots(rows, 1, subplot_titles=[_short(name) for name in frames], vertical_spacing=0.16 / rows)
    for row, table in enumerate(frames.values(), start=1):
        figure.add_bar(
            y=table["way"] + ", " + table["augment"],
            x=table[column],
            error_x={"array": table[column] * table[spread], "thickness": 1} if spread else None,
            orientation="h",
            marker_color=[PALETTE[int(not way.startswith("iskit"))] for way in table["way"]],
            row=row,
            col=1,
        )
    figure.update_yaxes(autorange="reversed", automargin=True)
    figure.update_xaxes(rangemode="tozero")
    figure.update_xaxes(title_text=axis, row=rows, col=1)
    return styled(figure, title, 300 * rows + 60, legend=False)


def _of(tables: Tables, part: str) -> Tables:
    return {name: table for name, table in tables.items() if name.startswith(part)}


def _short(name: str) -> str:
    return name.partition(", ")[2]
