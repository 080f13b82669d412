"""Plotly figures of single runs: how they went, what they cost, how often they trained their examples."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from iskit.study.archive import history_of, ranked_counts_of, told_apart_by
from iskit.views.plots import PALETTE, ROW_HEIGHT, amount, apart, styled


def curves(frame: pd.DataFrame) -> go.Figure:
    """Accuracy and loss of each run over its progress: test solid, training dotted."""
    figure = make_subplots(1, 2, subplot_titles=["accuracy (%)", "loss"], horizontal_spacing=0.08)
    for number, run in enumerate(frame.to_dict("records")):
        past = history_of(run["path"])
        for column, quantity in enumerate(("accuracy", "loss"), start=1):
            for prefix, dash in (("", "solid"), ("train_", "dot")):
                name = f"{_name(run, frame)} {'training' if prefix else 'test'}".strip()
                figure.add_scatter(
                    x=past["t"],
                    y=past[prefix + quantity],
                    name=name,
                    legendgroup=name,
                    showlegend=column == 1,
                    mode="lines+markers",
                    marker_size=4,
                    line={"color": PALETTE[number % len(PALETTE)], "dash": dash},
                    hovertemplate=f"%{{y:.4g}}{' %' if quantity == 'accuracy' else ''}<extra>{name}</extra>",
                    row=1,
                    col=column,
                )
    figure.update_xaxes(title_text="budget spent", tickformat=".0%", range=[0, 1.02])
    return styled(figure, "Over the run", ROW_HEIGHT)


def costs(frame: pd.DataFrame) -> go.Figure:
    """Where the seconds and the passes of each run went."""
    figure = make_subplots(1, 2, subplot_titles=["seconds", "passes of examples"], horizontal_spacing=0.16)
    for number, run in enumerate(frame.to_dict("records")):
        for column, prefix in enumerate(("seconds_", "passes_"), start=1):
            bars = {key.removeprefix(prefix): value for key, value in run.items() if key.startswith(prefix)}
            bars = {name: value for name, value in bars.items() if value == value}  # older runs know fewer
            figure.add_bar(
                y=[name.replace("_", " ") for name in bars],
                x=list(bars.values()),
                name=_name(run, frame),
                legendgroup=number,
                showlegend=column == 1 and len(frame) > 1,
                orientation="h",
                marker_color=PALETTE[number % len(PALETTE)],
                text=[f"{value:,.2f}" if column == 1 else f"{value:,.0f}" for value in bars.values()],
                textposition="outside",
                cliponaxis=False,
                row=1,
                col=column,
            )
            highest = frame.filter(regex=f"^{prefix}").max(axis=None)
            figure.update_xaxes(range=[0, 1.25 * float(highest) or 1], row=1, col=column)
    figure.update_yaxes(autorange="reversed")
    return styled(figure, "What it cost", 300)


def sample_counts(frame: pd.DataFrame) -> go.Figure:
    """How often each run trained its examples, the most trained first; a flat line is plain SGD."""
    figure = go.Figure()
    for number, run in enumerate(frame.to_dict("records")):
        ranked = ranked_counts_of(run["path"])
        if len(ranked) > 2000:  # enough for a screen
            ranked = ranked[np.linspace(0, len(ranked) - 1, 2000).astype(int)]
        figure.add_scatter(
            x=np.linspace(0, 1, len(ranked)),
            y=ranked,
            name=_name(run, frame),
            mode="lines",
            line={"color": PALETTE[number % len(PALETTE)], "shape": "hv"},
            fill="tozeroy" if len(frame) == 1 else None,
        )
    title = "Sample counts"
    if len(frame) == 1:
        one = frame.iloc[0]
        title += (
            f": entropy {one['entropy']:.3f} nats ({100 * one['entropy_share']:.1f} % of log N), "
            f"coverage {100 * one['coverage']:.1f} %"
        )
    figure.update_xaxes(title_text="examples, most trained first", tickformat=".0%")
    figure.update_yaxes(title_text="times trained", rangemode="tozero")
    return styled(figure, title, ROW_HEIGHT, legend=len(frame) > 1)


def _name(run: Mapping[str, Any], frame: pd.DataFrame) -> str:
    """What tells this run from the others of the frame."""
    if len(frame) == 1:
        return ""
    words = [run["sampler"], amount(run["budget"], run["unit"]), run["augment"], f"seed {run['seed']}"]
    return " ".join([*words, *apart(run, told_apart_by(frame))])
