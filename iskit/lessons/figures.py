"""The figures of the study's pages: functions of a frame from `iskit.results`, one experiment's question each."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from iskit.errors import InputError
from iskit.training.schedules import schedules as known
from iskit.views.plots import ACCURACY, PALETTE, ROW_HEIGHT, color, dashes, label, styled

# What a run may be said to have cost: column of `ledger` -> how the axis is named.
COSTS = {
    "examples trained": "examples trained, as a share of the full run's",
    "passes": "forward and backward passes, as a share of the full run's",
    "seconds": "seconds of training and scoring, on this machine",
}
# Of the passes: what they are for, and how many forward passes one is worth.
PASSES = {"passes_forward_only": ("scoring", 1), "passes_forward": ("training, forward", 1),
          "passes_backward": ("training, backward", 2), "passes_prepared": ("preparing", 1)}  # fmt: skip


def costs(frame: pd.DataFrame) -> pd.DataFrame:
    """The runs with a column for each of COSTS, and `full`: the passes of a full run, a backward pass counting two."""
    full = frame["epochs"] * frame["examples"]
    return frame.assign(
        **{
            "examples trained": frame["passes_backward"] / full,
            "passes": frame["equivalent_budget"],
            "seconds": frame["training_seconds"],
            "full": 3 * full,
        }
    )


def accuracy_against(frame: pd.DataFrame, cost: str = "examples trained") -> go.Figure:
    """Test accuracy against what it cost, by one of COSTS; a line a sampler through its budgets, mean over seeds."""
    told = costs(frame).groupby(["sampler", "augment", "budget"], sort=False, as_index=False)
    means = told.agg(x=(cost, "median"), y=("accuracy", "mean"), deviation=("accuracy", "std"))
    styles, figure = dashes(list(dict.fromkeys(means["sampler"]))), go.Figure()
    for (sampler, augment), line in means.groupby(["sampler", "augment"], sort=False):
        line = line.sort_values("x")
        name = label(sampler) + (f", {augment}" if means["augment"].nunique() > 1 else "")
        figure.add_scatter(
            x=line["x"], y=line["y"], error_y={"array": line["deviation"], "thickness": 1, "width": 3}, name=name,
            mode="lines+markers", marker_size=8, line={"color": color(sampler), "dash": styles[sampler]},
            hovertemplate=f"%{{y:.2f}} % for %{{x:.3g}}<extra>{name}</extra>",
        )  # fmt: skip
    share = cost != "seconds"
    figure.update_xaxes(title_text=COSTS[cost], rangemode="tozero", tickformat=".0%" if share else None)
    figure.update_yaxes(title_text=ACCURACY)
    return styled(figure, f"Accuracy against {cost}", 420)


def budgets(frame: pd.DataFrame) -> list[float]:
    """To choose from: those of runs that are not the full one."""
    return sorted(set(frame.loc[frame["sampler"] != "sgd", "budget"]))


def kinds(_: pd.DataFrame) -> list[str]:
    """What an axis may count."""
    return list(COSTS)


def ledger(frame: pd.DataFrame, budget: float | None = None) -> go.Figure:
    """What each sampler spent at a budget, in passes, a backward one counting two; the full run is 100 %."""
    runs = costs(frame)
    if budget is not None:
        runs = runs[(runs["budget"] == budget) | (runs["sampler"] == "sgd")]
    samplers = list(dict.fromkeys(runs["sampler"]))
    figure = go.Figure()
    for number, (column, (name, worth)) in enumerate(PASSES.items()):
        share = (worth * runs[column] / runs["full"]).groupby(runs["sampler"]).mean().reindex(samplers)
        if not share.any():
            continue
        figure.add_bar(
            y=[label(one) for one in samplers], x=share, name=name, orientation="h",
            marker_color=("#E69F00", "#56B4E9", "#0072B2", "#CC79A7")[number],
            hovertemplate=f"%{{x:.1%}} {name}<extra>%{{y}}</extra>",
        )  # fmt: skip
    figure.update_layout(barmode="stack")
    figure.update_xaxes(title_text="passes, as a share of the full run's", tickformat=".0%", rangemode="tozero")
    figure.update_yaxes(autorange="reversed")
    at = "" if budget is None else f" at a budget of {budget:g}"
    return styled(figure, f"The ledger of passes{at}", 150 + 34 * len(samplers)).update_layout(
        legend={"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom", "traceorder": "normal"}, margin_l=10
    )


def variety(frame: pd.DataFrame) -> go.Figure:
    """Test accuracy of each run against the effective number of images that it trained, exp of the counts' entropy."""
    figure, names = go.Figure(), _names(frame)
    for number, (name, runs) in enumerate(frame.assign(name=names).groupby("name", sort=False)):
        sampler = str(runs["sampler"].iloc[0])
        tint = color(sampler) if frame["sampler"].nunique() == names.nunique() else PALETTE[number % len(PALETTE)]
        figure.add_scatter(
            x=np.exp(runs["entropy"]), y=runs["accuracy"], name=name, mode="markers", opacity=0.8,
            marker={"size": 10, "color": tint},
            hovertemplate=f"%{{y:.2f}} %, %{{x:.0f}} images<extra>{name}</extra>",
        )  # fmt: skip
    figure.update_xaxes(title_text="effective number of images, exp(H)")
    figure.update_yaxes(title_text=ACCURACY)
    return styled(figure, "Variety and accuracy: a point a run", max(420, 140 + 22 * names.nunique()))


def _names(frame: pd.DataFrame) -> pd.Series:
    """What tells a run from those of other kinds: sampler, and what else differs."""
    also = [name for name in ("augment", "budget", "schedule") if frame[name].nunique() > 1]
    return frame.apply(lambda run: ", ".join([run["sampler"], *(f"{run[name]}" for name in also)]), axis=1)


def schedules(budget: float = 0.2) -> go.Figure:
    """The learning rate of schedules that know the budget, over the steps of the full run; dotted: the full run's,
    which a run that merely stops early would follow."""
    spent, figure = np.linspace(0, 1, 400, endpoint=False), go.Figure()
    for number, name in enumerate(("step", "linear")):
        rate = [known.partial(name)(float(t)) for t in spent]
        for stretch, dash, whose in ((budget, "solid", ""), (1.0, "dot", ", of the full run")):
            figure.add_scatter(
                x=stretch * spent, y=rate, name=name + whose, mode="lines", opacity=1 if dash == "solid" else 0.5,
                line={"color": PALETTE[number], "dash": dash, "width": 3},
            )  # fmt: skip
    figure.add_vline(x=budget, line={"color": "#222222", "width": 1})
    figure.update_xaxes(title_text="examples trained, as a share of the full run's", tickformat=".0%", range=[0, 1])
    figure.update_yaxes(title_text="learning rate, as a share of the highest")
    return styled(figure, f"A budget of {budget:g}", 340)


def preference(preference: float = 0.0, count: int = 200, draws: int = 3600) -> go.Figure:
    """How often each of `count` images is drawn, on average, by a rule whose scores are the ranks to a power."""
    score = (1 - (np.arange(count) + 0.5) / count) ** preference
    share = score / score.sum()
    entropy = -(share * np.log(share)).sum()
    figure = go.Figure(go.Scatter(y=draws * share, mode="lines", fill="tozeroy", line_color=PALETTE[0]))
    figure.add_hline(y=draws / count, line={"color": "#222222", "dash": "dot"}, annotation_text="all alike")
    figure.update_xaxes(title_text="images, the most preferred first")
    figure.update_yaxes(title_text="times trained", range=[0, 110])
    told = (
        f"H = {entropy:.2f}, {100 * entropy / np.log(count):.0f} % of log N: as varied as {np.exp(entropy):.0f} images"
    )
    return styled(figure, told, 320, legend=False)


def datasets(frame: pd.DataFrame) -> list[str]:
    """To choose from: those of the runs."""
    return list(dict.fromkeys(frame["dataset"]))


CONDITIONS = {"share_mislabelled": "mislabelled", "share_rare": "rare", "share_copy": "a copy"}


def shares(frame: pd.DataFrame, data: str | None = None) -> go.Figure:
    """What share of what each sampler trained was mislabelled, of a rare class, a copy; uniform draws tell how many
    there are. A bar the mean over seeds, a line their range."""
    frame = frame if data is None else frame[frame["dataset"] == data]
    kinds = [name for name in CONDITIONS if name in frame and frame[name].notna().any()]
    if not kinds:
        raise InputError("none of these data sets has wrong labels, rare classes or copies: give noise=0.2 or the like")
    figure = go.Figure()
    for sampler, runs in frame.groupby("sampler", sort=False):
        told = runs[kinds].agg(["mean", "min", "max"])
        figure.add_bar(
            x=[CONDITIONS[name] for name in kinds], y=told.loc["mean"], name=label(str(sampler)),
            error_y={"array": told.loc["max"] - told.loc["mean"], "arrayminus": told.loc["mean"] - told.loc["min"],
                     "thickness": 1, "width": 3},
            marker_color=color(str(sampler)), marker_pattern_shape="/" if "control" in str(sampler) else "",
            hovertemplate=f"%{{y:.1%}}<extra>{label(str(sampler))}</extra>",
        )  # fmt: skip
    figure.update_yaxes(title_text="share of what was trained", tickformat=".0%", rangemode="tozero")
    return styled(figure, "What they chose", ROW_HEIGHT + 40)


def gain_by_budget(frame: pd.DataFrame) -> go.Figure:
    """Of each look above the standard one at the same budget, sampler and seed: the mean, and a point a seed."""
    runs = frame.set_index(["sampler", "budget", "seed"])
    base = runs.loc[runs["augment"] == "standard", "accuracy"]
    looks = [look for look in dict.fromkeys(frame["augment"]) if look != "standard"]
    if base.empty or not looks:
        raise InputError("augment: give the standard look and another one to hold against it")
    figure = go.Figure()
    for number, look in enumerate(looks):
        gain = (runs.loc[runs["augment"] == look, "accuracy"] - base).dropna().reset_index()
        mean = gain.groupby("budget")["accuracy"].mean()
        tint = PALETTE[number % len(PALETTE)]
        figure.add_scatter(
            x=gain["budget"], y=gain["accuracy"], mode="markers", opacity=0.4, marker_color=tint, showlegend=False,
            name=look, legendgroup=look,
        )  # fmt: skip
        figure.add_scatter(x=mean.index, y=mean, name=look, legendgroup=look, line={"color": tint, "width": 3})
    figure.add_hline(y=0, line={"color": "#222222", "width": 1})
    budgets = sorted(set(frame["budget"]))
    figure.update_xaxes(type="log", title_text="budget", tickvals=budgets, ticktext=[f"{100 * b:g}%" for b in budgets])
    figure.update_yaxes(title_text="accuracy above the standard look (points)")
    return styled(figure, "What varying the looks gains", 420)
