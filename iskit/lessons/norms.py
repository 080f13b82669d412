"""Gradient norms of a run that kept its weights: exact, bounded, by the loss."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import torch
import torch.nn.functional as F

from iskit.errors import InputError
from iskit.judging.findings import Checked
from iskit.lessons.moments import models
from iskit.own import diagnosis
from iskit.samplers.gnorm import bound, cross_entropy
from iskit.study.archive import history_of
from iskit.training.scorer import eval_mode, gradient_norm
from iskit.views.plots import PALETTE, ROW_HEIGHT, color, label, styled

SCORES = {"bound": bound, "loss": cross_entropy}
NAMES = {"loss": "the loss", "gnorm": "the bound", "full": "the exact norm"}


def scores(_: pd.DataFrame) -> list[str]:
    return list(SCORES)


def run(frame: pd.DataFrame) -> dict:
    """The first uniform one. InputError if there is none."""
    here = frame[frame["sampler"] == "unif"].to_dict("records")
    if not here:
        raise InputError("no run of unif is there: tick it and press Run")
    return here[0]


def scatter(frame: pd.DataFrame, t: float = 0.0, score: str = "bound") -> go.Figure:
    """Each training example's score against the exact length of its gradient, at one moment of a uniform run."""
    kept = models(run(frame))
    when, model, data = min(kept, key=lambda one: abs(one[0] - t))
    image = data.normalise(data.images(torch.arange(len(data))))
    target = F.one_hot(data.label, len(data.classes)).float()
    exact = gradient_norm(model, image, target)
    with eval_mode(model), torch.no_grad():
        found = SCORES[score](model(image).float(), target)
    ranks = np.corrcoef(*(pd.Series(one.numpy()).rank() for one in (found, exact)))[0, 1]
    figure = go.Figure(
        go.Scatter(
            x=exact,
            y=found,
            mode="markers",
            opacity=0.6,
            marker={"size": 6, "color": PALETTE[list(SCORES).index(score)]},
        )
    )
    figure.update_xaxes(title_text="exact length of the gradient", rangemode="tozero")
    figure.update_yaxes(title_text=f"the {score}", rangemode="tozero")
    return styled(figure, f"At {when:.0%} of the budget: rank correlation {ranks:.2f}", 400, legend=False)


def told(frame: pd.DataFrame) -> pd.DataFrame:
    """t, score, and what `iskit.diagnose` says of it, over the moments of a uniform run."""
    one = run(frame)
    parts = []
    for t, model, data in models(one):
        image = data.normalise(data.images(torch.arange(len(data))))
        target = F.one_hot(data.label, len(data.classes)).float()
        parts.append(diagnosis.compare(model, image, target, int(one["batch_size"])).reset_index().assign(t=t))
    return pd.concat(parts, ignore_index=True)


def variances(frame: pd.DataFrame) -> go.Figure:
    """Of a batch drawn by each score, as a share of a uniform batch's, over a uniform run."""
    figure, found = go.Figure(), told(frame)
    for number, (score, name) in enumerate(NAMES.items()):
        here = found[found["score"] == score]
        figure.add_scatter(
            x=here["t"],
            y=here["relative"],
            name=name,
            mode="lines+markers",
            line={"color": PALETTE[number + 1], "width": 3},
        )
    moments = found["t"].unique()
    figure.add_scatter(x=moments, y=np.ones(len(moments)), name="uniform draws", mode="lines", line_color=color("unif"))
    figure.update_xaxes(title_text="budget spent", tickformat=".0%")
    figure.update_yaxes(title_text="variance, times that of uniform draws", rangemode="tozero")
    return styled(figure, "How much the estimated gradient varies", ROW_HEIGHT)


def taus(frame: pd.DataFrame) -> go.Figure:
    """What the methods' switches read over the run, the mean of the seeds."""
    figure = go.Figure()
    for sampler, runs in frame.groupby("sampler", sort=False):
        past = pd.concat([history_of(path) for path in runs["path"]])
        if "sampler_tau" not in past:
            continue
        mean = past.assign(t=past["t"].round(2)).groupby("t")["sampler_tau"].mean()
        figure.add_scatter(
            x=mean.index, y=mean, name=label(str(sampler)), mode="lines+markers", line_color=color(str(sampler))
        )
    figure.add_hline(y=1, line={"color": "#999999", "dash": "dot"}, annotation_text="all scores alike")
    figure.update_xaxes(title_text="budget spent", tickformat=".0%")
    figure.update_yaxes(title_text="tau")
    return styled(figure, "When choosing begins to pay", ROW_HEIGHT)


def check(frame: pd.DataFrame) -> Checked:
    """Of all scores the exact norm leaves the least variance, at every moment. AssertionError if not."""
    found = told(frame).pivot(index="t", columns="score", values="variance")
    assert (found["full"] <= found.min(axis=1) * (1 + 1e-6)).all(), "a score varies less than the exact norm"
    return Checked([f"The exact norm leaves the least variance of all scores at each of {len(found)} moments."])
