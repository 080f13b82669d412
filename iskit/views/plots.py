"""Plotly figures of results over seeds: functions of a frame from `iskit.results()`, and the look of all figures."""

from collections.abc import Mapping, Sequence
from math import log
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from pandas.io.formats.style import Styler
from plotly.subplots import make_subplots

from iskit.errors import InputError
from iskit.samplers import samplers
from iskit.study.archive import over_seeds, told_apart_by

# Told apart by people who see colours differently (Okabe & Ito 2008, then Tol 2021); the last four are less so.
PALETTE = (
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C564B"),
    *("#7F7F7F", "#882255", "#44AA99", "#999933", "#332288", "#AA4499", "#117733"),
    *("#A6761D", "#661100", "#6699CC", "#E7298A"),
)
DASHES = ("solid", "dash", "dot", "dashdot")
FIRST = ("sgd", "unif", "p", "c", "scan", "ordered", "selective_backprop", "gnorm")  # most often side by side
ROW_HEIGHT = 360
# What a budget counts, see iskit/budget.py.
BUDGETS = {
    "backward": "budget (examples trained)",
    "cost": "budget (forward and backward passes)",
    "seconds": "budget (s of training and scoring)",
}
ACCURACY = "test accuracy (%)"
# Where an axis of accuracies may have ticks: it is drawn by the error, whose logarithm gives the range near 100 room.
TICKS = (0, 20, 40, 50, 60, 70, 80, 85, 90, 92, 94, 95, 96, 97, 98, 98.5, 99, 99.5, 99.8, 99.9, 99.95, 99.99)
LEAST_ERROR = 0.01  # percent: none at all has no logarithm


def accuracy_by_budget(frame: pd.DataFrame) -> go.Figure:
    """Test accuracy against budget, a line a sampler, a panel an augmentation; bars: deviation over seeds."""
    return _panels(frame, "budget", "accuracy", "Accuracy against budget", ACCURACY)


def accuracy_by_seconds(frame: pd.DataFrame) -> go.Figure:
    """Test accuracy against the seconds of training and scoring, a line a sampler through its budgets.

    What was prepared before the run (proxy runs and the like) is not counted.
    """
    return _panels(frame, "seconds", "accuracy", "Accuracy against wall clock", ACCURACY)


def entropy_by_budget(frame: pd.DataFrame) -> go.Figure:
    """How evenly examples were trained: exp(H) of the entropy H of the sample counts, as many images trained alike
    would have; H beside it in percent of log N (100: all alike)."""
    return _panels(frame, "budget", "effective", "How varied the images were", "effective number of images, exp(H)")


def apart(run: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    """What tells a run from others, `key=value` each."""
    return [f"{name}={run[name]}" for name in names]


def amount(budget: float, unit: str) -> str:
    """A budget as people read it."""
    return f"{budget:g} s" if unit == "seconds" else f"{100 * budget:g}%"


def table(frame: pd.DataFrame) -> Styler:
    """Accuracy, mean ± deviation over seeds: a row a sampler and augmentation, a column a budget, in the frame's order.

    Where runs differ in more (data set, model, unit, epochs, ...), that has a column of the rows' names. The highest of
    a column is bold, among the same augmentation and the like; the full run stands apart from the others.
    """
    means = over_seeds(frame)
    means["text"] = means["accuracy"].map("{:.2f}".format) + means["deviation"].map(
        lambda d: "" if d != d else f" ± {d:.2f}"
    )
    means["amount"] = [amount(*both) for both in zip(means["budget"], means["unit"], strict=True)]
    means["full"] = means["sampler"].map(_method) == "sgd"
    group = ["augment", *told_apart_by(frame)]
    rivals = means[~means["full"]].groupby([*group, "amount"], dropna=False, sort=False)["accuracy"]
    best = (rivals.transform("max") == means["accuracy"][~means["full"]]) & (rivals.transform("size") > 1)
    means["best"] = best.reindex(means.index, fill_value=False)
    place = {spec: number for number, spec in enumerate(dict.fromkeys(means["augment"]))}
    rows = ["augment", "sampler", *group[1:]]
    order = means.assign(place=means["augment"].map(place)).sort_values("place", kind="stable")[rows].drop_duplicates()
    budgets = means.assign(seconds=means["unit"] == "seconds").sort_values(["seconds", "budget"])["amount"]
    index = pd.MultiIndex.from_frame(order)

    def wide(column: str, empty: Any) -> pd.DataFrame:
        found = means.pivot(index=rows, columns="amount", values=column).reindex(index)
        return found[list(dict.fromkeys(budgets))].rename_axis(columns="budget").astype(object).fillna(empty)

    best, full = wide("best", False), np.array([_method(spec) == "sgd" for spec in order["sampler"]])
    bold = best.map(lambda won: "font-weight: bold" if won else "")
    bold[full] = FULL_ROW
    text = wide("text", "").style.apply(lambda _: bold, axis=None)
    text = text.apply_index(lambda names: np.where(full, FULL_ROW, ""), axis=0, level="sampler")
    return text.set_caption(f"{ACCURACY} by budget: mean ± deviation over seeds; highest of a column in bold")


FULL_ROW = "font-style: italic; border-bottom: 1px solid"


def color(sampler: str) -> str:
    """A sampler's colour, whatever its options, the same in every figure; black for the full run, grey for a method
    that is known no more."""
    name = _method(sampler)
    if name not in samplers:
        return "#999999"
    known = [*FIRST, *(other for other in samplers if other not in FIRST)]
    return "#222222" if name == "sgd" else PALETTE[(known.index(name) - 1) % len(PALETTE)]


def _method(sampler: str) -> str:
    """A sampler's name without its options; the whole spec of a method that is known no more."""
    try:
        return samplers.parse(sampler)[0]
    except InputError:
        return sampler


def label(sampler: str) -> str:
    """What one types, with the name that papers use beside it: `p · p-SGD`; as it stands, if it is known no more."""
    try:
        name = samplers.parse(sampler)[0]
    except InputError:
        return sampler
    written = samplers.title(name) + (", full run" if name == "sgd" else "")
    return sampler if written == name else f"{sampler} · {written}"


def dashes(specs: Sequence[str]) -> dict[str, str]:
    """A line style for each spec: solid for the first of a colour, others for the same method with other options."""
    colors = list(map(color, specs))
    return {
        spec: DASHES[colors[:place].count(one) % len(DASHES)]
        for place, (spec, one) in enumerate(zip(specs, colors, strict=True))
    }


def _panels(frame: pd.DataFrame, x: str, y: str, title: str, y_title: str) -> go.Figure:
    """A line a sampler through its budgets; a panel for each augmentation and whatever else tells the runs apart."""
    means = over_seeds(frame)
    means["effective"] = np.exp(means["entropy"])
    others = told_apart_by(frame)
    panels = list(means.groupby(["augment", *others], sort=False, dropna=False))
    styles = dashes(list(dict.fromkeys(means["sampler"])))
    columns = min(2, len(panels)) or 1
    rows = -(-len(panels) // columns) or 1
    figure = make_subplots(
        rows,
        columns,
        shared_yaxes="all",
        subplot_titles=[", ".join([key[0], *apart(here.iloc[0], others)]) for key, here in panels],
        horizontal_spacing=0.04,
        vertical_spacing=0.32 / rows,
    )
    shown: set[str] = set()
    accuracy = y == "accuracy"
    for panel, (_, here) in enumerate(panels):
        place = {"row": panel // columns + 1, "col": panel % columns + 1}
        for sampler in dict.fromkeys(here["sampler"]):
            line = here[here["sampler"] == sampler].sort_values("budget")
            full = _method(sampler) == "sgd"
            budgets = [amount(*both) for both in zip(line["budget"], line["unit"], strict=True)]
            value = error(line[y]) if accuracy else line[y]
            aside = _aside(sampler, means["sampler"]) if accuracy and x == "budget" and not full else 0.0
            told = "%{customdata[3]:.2f} %" if accuracy else "%{y:.1f} images, H %{customdata[4]:.1f} % of log N"
            figure.add_scatter(
                x=line[x] + aside * means[x].max(),
                y=value,
                error_y=bars(value, line["deviation"]) if accuracy else None,
                name=label(sampler),
                legendgroup=sampler,
                showlegend=sampler not in shown,
                mode="markers" if full else "lines+markers",
                marker={"size": 9 if full else 7, "symbol": "diamond" if full else "circle"},
                line={"color": color(sampler), "dash": styles[sampler]},
                customdata=list(
                    zip(
                        *(budgets, line["seeds"], line["seconds"], line["accuracy"], 100 * line["entropy_share"]),
                        strict=True,
                    )
                ),
                hovertemplate=f"{told}<br>budget %{{customdata[0]}}, %{{customdata[2]:.2f}} s, "
                f"%{{customdata[1]}} seeds<extra>{label(sampler)}</extra>",
                **place,
            )
            if full and accuracy:
                figure.add_hline(y=float(value.iloc[0]), line={"color": "#999999", "dash": "dot", "width": 1}, **place)
            shown.add(sampler)
        unit = here["unit"].iloc[0]
        share = x == "budget" and unit != "seconds"
        below = BUDGETS[unit] if x == "budget" else "training and scoring (s)"
        axis: dict[str, Any] = {"tickformat": ".0%" if share else None, "rangemode": "tozero", "title_text": below}
        if x == "budget" and here["budget"].nunique() <= 6:
            axis["tickvals"] = sorted(here["budget"].unique())
        figure.update_xaxes(**axis, **place)
    figure.update_yaxes(**(accuracy_axis(means) if accuracy else _effective_axis(means)))
    figure.update_yaxes(title_text=y_title, col=1)
    return styled(figure, title, max(ROW_HEIGHT * rows + 40, 140 + 20 * len(shown)))  # room for the whole legend


def _aside(sampler: str, samplers: pd.Series) -> float:
    """How far a sampler's points stand beside the others at the same budget, as a share of the axis."""
    order = [spec for spec in dict.fromkeys(samplers) if _method(spec) != "sgd"]
    return (order.index(sampler) - (len(order) - 1) / 2) * min(0.012, 0.06 / len(order))


def error(accuracy: Any) -> Any:
    """Where an accuracy in percent stands on an axis of `accuracy_axis`."""
    return np.maximum(100 - accuracy, LEAST_ERROR)


def bars(error: pd.Series, deviation: pd.Series) -> dict[str, Any]:
    """Of errors on a logarithmic axis, which ends above 0."""
    return {"array": deviation, "arrayminus": np.minimum(deviation, 0.9 * error), "thickness": 1, "width": 3}


def accuracy_axis(means: pd.DataFrame) -> dict[str, Any]:
    """Accuracy in percent, equal distances being equal ratios of the error."""
    spread = means["deviation"].fillna(0)
    low = error((means["accuracy"] - spread).min()) * 1.1
    high = (
        error((means["accuracy"] + spread).clip(upper=means["accuracy"] + 0.9 * error(means["accuracy"])).max()) / 1.1
    )
    chosen: list[float] = []
    for tick in TICKS:
        apart = abs(log(error(tick) / error(chosen[-1]))) if chosen else np.inf
        if high <= error(tick) <= low and apart > log(low / high) / 12:
            chosen.append(tick)
    return {
        "type": "log",
        "range": [np.log10(low), np.log10(high)],
        "tickvals": [float(error(tick)) for tick in chosen],
        "ticktext": [f"{tick:g}" for tick in chosen],
    }


def _effective_axis(means: pd.DataFrame) -> dict[str, Any]:
    """Numbers of images, with the entropy in percent of log N beside them where all runs have one N."""
    whole = {
        round(float(np.exp(h / share)))
        for h, share in zip(means["entropy"], means["entropy_share"], strict=True)
        if share > 0
    }
    low, high = means["effective"].min(), means["effective"].max()
    room = max(0.08 * (high - low), 0.01 * high)
    axis: dict[str, Any] = {"range": [low - room, high + room]}
    if len(whole) == 1 and (count := whole.pop()) > 1:
        ticks = np.linspace(low, high, 5)
        axis |= {
            "tickvals": ticks,
            "ticktext": [f"{one:,.0f} ({100 * log(max(one, 1)) / log(count):.1f} %)" for one in ticks],
        }
    return axis


def styled(figure: go.Figure, title: str, height: int, legend: bool = True) -> go.Figure:
    """The look that all figures share."""
    return figure.update_layout(
        template="plotly_white",
        title={"text": title, "x": 0, "xref": "paper", "font_size": 17},
        height=height,
        margin={"l": 60, "r": 20, "t": 80, "b": 50},
        legend={"orientation": "v", "x": 1.02, "y": 1},
        showlegend=legend and None,
        hoverlabel={"namelength": -1},
    )
