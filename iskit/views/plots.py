"""Plotly figures of results: functions of a frame from `iskit.results()` that return a figure of fixed height."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import torch
from pandas.io.formats.style import Styler
from plotly.subplots import make_subplots

from iskit import files
from iskit.data import Dataset
from iskit.errors import InputError
from iskit.samplers import samplers
from iskit.study.archive import counts_of, history_of, over_seeds, ranked_counts_of, told_apart_by
from iskit.study.parts import load

# Told apart by people who see colours differently (Okabe & Ito 2008, then Tol 2021).
PALETTE = (
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C564B"),
    *("#7F7F7F", "#882255", "#44AA99", "#999933", "#332288", "#AA4499", "#117733"),
)
DASHES = ("solid", "dash", "dot", "dashdot")
QUICKSTART = ("sgd", "unif", "p", "c", "scan")  # the colours that people meet first
ROW_HEIGHT = 360
# What a budget counts, see iskit/budget.py.
BUDGETS = {
    "backward": "budget (examples trained)",
    "cost": "budget (forward and backward passes)",
    "seconds": "budget (s of training and scoring)",
}
ACCURACY = "test accuracy (%)"


def accuracy_by_budget(frame: pd.DataFrame) -> go.Figure:
    """Test accuracy against budget, a line a sampler, a panel an augmentation; bars: deviation over seeds."""
    return _panels(frame, "budget", "accuracy", "Accuracy against budget", ACCURACY)


def accuracy_by_seconds(frame: pd.DataFrame) -> go.Figure:
    """Test accuracy against the seconds of training and scoring, a line a sampler through its budgets.

    What was prepared before the run (proxy runs and the like) is not counted.
    """
    return _panels(frame, "seconds", "accuracy", "Accuracy against wall clock", ACCURACY)


def entropy_by_budget(frame: pd.DataFrame) -> go.Figure:
    """How evenly examples were trained: entropy of the sample counts in percent of log N (100: all alike)."""
    return _panels(frame, "budget", "entropy_percent", "Entropy of sample counts", "entropy (% of log N)")


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


def choosers(frame: pd.DataFrame) -> list[str]:
    """The samplers of the frame that do not simply take all examples in turn, p first; all if there are no others."""
    trained = list(dict.fromkeys(frame["sampler"]))
    choosing = [spec for spec in trained if _method(spec) not in ("sgd", "scan")]
    return sorted(choosing or trained, key=lambda spec: spec != "p")


def gallery(frame: pd.DataFrame, sampler: str, each: int = 10) -> go.Figure:
    """The images that a sampler trained most and least, over all runs of it in the frame.

    Of a frame with several data sets the first, and of conditions that each seed draws (noise, ...) the first seed:
    choose another by frame[frame["dataset"] == ...].
    """
    runs = frame[frame["sampler"] == sampler]
    one = runs.iloc[0]
    same = ["dataset", "data_dir", "validation"]
    data = load(
        one["dataset"], files.root() / one["data_dir"], int(one["validation"]), torch.device("cpu"), int(one["seed"])
    )
    if data.row is not None:  # each seed drew examples of its own
        same.append("seed")
    runs = runs[(runs[same] == one[same]).all(axis=1)]
    counts = [found for path in runs["path"] if (found := _counts(path)) is not None]
    if not counts:
        raise InputError(f"the runs of {sampler} keep only how many images were trained how often: train one again")
    total = np.sum(counts, axis=0)
    title = f"{_title(sampler)}: the images trained most and least in {len(counts)} runs on {one['dataset']}"
    return most_and_least(data, total, each, title)


def _counts(path: str) -> np.ndarray | None:
    """None of a packed run that keeps no more than their histogram."""
    try:
        return counts_of(path)
    except InputError:
        return None


def most_and_least(data: Dataset, trained: np.ndarray, each: int = 10, title: str = "") -> go.Figure:
    """The most and the least trained images, with their class and how often each was trained."""
    order = np.argsort(-trained, kind="stable")
    chosen = np.concatenate([order[:each], order[-each:]])
    captions = [f"{data.classes[int(data.label[i])]} · {trained[i]}×" for i in chosen]
    figure = make_subplots(2, each, subplot_titles=captions, horizontal_spacing=0.01, vertical_spacing=0.16)
    for place, index in enumerate(chosen):
        pixels = data.images(torch.tensor([index]))[0].cpu().numpy()
        figure.add_image(
            z=np.repeat(pixels, 3, axis=-1) if pixels.shape[-1] == 1 else pixels,
            hoverinfo="skip",
            row=place // each + 1,
            col=place % each + 1,
        )
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False)
    figure.update_annotations(font_size=11)
    for row, text in enumerate(("most", "least"), start=1):
        figure.update_yaxes(
            visible=True, showticklabels=False, showgrid=False, title_text=text, row=row, col=1, ticks=""
        )
    return styled(figure, title or "Most and least trained images", 280)


def _name(run: Mapping[str, Any], frame: pd.DataFrame) -> str:
    """What tells this run from the others of the frame."""
    if len(frame) == 1:
        return ""
    words = [_title(run["sampler"]), _budget(run["budget"], run["unit"]), run["augment"], f"seed {run['seed']}"]
    return " ".join([*words, *_told_apart(run, told_apart_by(frame))])


def _told_apart(run: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    return [f"{name}={run[name]}" for name in names]


def _budget(amount: float, unit: str) -> str:
    return f"{amount:g} s" if unit == "seconds" else f"{100 * amount:g}%"


def table(frame: pd.DataFrame) -> Styler:
    """Accuracy, mean ± deviation over seeds: a row a sampler and augmentation, a column a budget.

    Where runs differ in more (data set, model, unit, epochs, ...), that has a column of the rows' names.
    """
    means = over_seeds(frame)
    text = means["accuracy"].map("{:.2f}".format) + means["deviation"].map(lambda d: "" if d != d else f" ± {d:.2f}")
    rows = ["augment", "sampler", *told_apart_by(frame)]
    budgets = [_budget(*both) for both in zip(means["budget"], means["unit"], strict=True)]
    wide = means.assign(accuracy=text, amount=budgets).pivot(index=rows, columns="amount", values="accuracy")
    ordered = means.assign(amount=budgets, seconds=means["unit"] == "seconds").sort_values(["seconds", "budget"])
    wide = wide[list(dict.fromkeys(ordered["amount"]))].rename_axis(columns="budget")
    return wide.fillna("").style.set_caption(f"{ACCURACY} by budget")


def color(sampler: str) -> str:
    """A sampler's colour, whatever its options, the same in every figure; black for the full run, grey for a method
    that is known no more."""
    name = _method(sampler)
    if name not in samplers:
        return "#999999"
    known = [*QUICKSTART, *(other for other in samplers if other not in QUICKSTART)]
    return "#222222" if name == "sgd" else PALETTE[(known.index(name) - 1) % len(PALETTE)]


def _method(sampler: str) -> str:
    """A sampler's name without its options; the whole spec of a method that is known no more."""
    try:
        return samplers.parse(sampler)[0]
    except InputError:
        return sampler


def _title(sampler: str) -> str:
    """As papers write it; as it stands, if the method is known no more."""
    try:
        return samplers.title(sampler)
    except InputError:
        return sampler


def dashes(specs: Sequence[str]) -> dict[str, str]:
    """A line style for each spec: solid for a sampler's first, others for the same one with other options."""
    names = [_method(spec) for spec in specs]
    return {
        spec: DASHES[names[:place].count(name) % len(DASHES)]
        for place, (spec, name) in enumerate(zip(specs, names, strict=True))
    }


def _panels(frame: pd.DataFrame, x: str, y: str, title: str, y_title: str) -> go.Figure:
    """A line a sampler through its budgets; a panel for each augmentation and whatever else tells the runs apart."""
    means = over_seeds(frame)
    means["entropy_percent"] = 100 * means["entropy_share"]
    apart = told_apart_by(frame)
    panels = list(means.groupby(["augment", *apart], sort=False, dropna=False))
    styles = dashes(list(dict.fromkeys(means["sampler"])))
    columns = min(2, len(panels)) or 1
    rows = -(-len(panels) // columns) or 1
    figure = make_subplots(
        rows,
        columns,
        shared_yaxes="all",
        subplot_titles=[", ".join([key[0], *_told_apart(here.iloc[0], apart)]) for key, here in panels],
        horizontal_spacing=0.04,
        vertical_spacing=0.32 / rows,
    )
    shown: set[str] = set()
    for panel, (_, here) in enumerate(panels):
        place = {"row": panel // columns + 1, "col": panel % columns + 1}
        for sampler in dict.fromkeys(here["sampler"]):
            line = here[here["sampler"] == sampler].sort_values("budget")
            full = _method(sampler) == "sgd"
            budgets = [_budget(*both) for both in zip(line["budget"], line["unit"], strict=True)]
            figure.add_scatter(
                x=line[x],
                y=line[y],
                error_y={"array": line["deviation"], "thickness": 1, "width": 3} if y == "accuracy" else None,
                name=_title(sampler) + (", full run" if full else ""),
                legendgroup=sampler,
                showlegend=sampler not in shown,
                mode="markers" if full else "lines+markers",
                marker={"size": 9 if full else 7, "symbol": "diamond" if full else "circle"},
                line={"color": color(sampler), "dash": styles[sampler]},
                customdata=list(zip(budgets, line["seeds"], line["seconds"], strict=True)),
                hovertemplate=f"%{{y:.2f}} %<br>budget %{{customdata[0]}}, %{{customdata[2]:.2f}} s, "
                f"%{{customdata[1]}} seeds<extra>{_title(sampler)}</extra>",
                **place,
            )
            if full and y == "accuracy":
                figure.add_hline(
                    y=float(line[y].iloc[0]), line={"color": "#999999", "dash": "dot", "width": 1}, **place
                )
            shown.add(sampler)
        unit = here["unit"].iloc[0]
        share = x == "budget" and unit != "seconds"
        below = BUDGETS[unit] if x == "budget" else "training and scoring (s)"
        figure.update_xaxes(tickformat=".0%" if share else None, rangemode="tozero", title_text=below, **place)
    figure.update_yaxes(title_text=y_title, col=1)
    return styled(figure, title, max(ROW_HEIGHT * rows + 40, 140 + 20 * len(shown)))  # room for the whole legend


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
