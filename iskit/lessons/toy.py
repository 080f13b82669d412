"""Where importance sampling can be proved: the figures and findings of `dataset=toy`, `model=logistic`."""

import functools
from dataclasses import dataclass
from math import log
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from IPython.display import Markdown

from iskit import files
from iskit.data import datasets
from iskit.errors import InputError
from iskit.judging import contrasts
from iskit.judging.contrasts import REFERENCE
from iskit.judging.findings import Checked
from iskit.judging.verdict import Judgement, judge
from iskit.lessons import stale
from iskit.lessons.moments import Moments, moments
from iskit.runs.experiment import Experiment
from iskit.samplers import samplers as known
from iskit.study.archive import history_of
from iskit.views.plots import DASHES, PALETTE, ROW_HEIGHT, color, label, styled

FRESH = "gnorm(score='full', presample=50, tau_min=0)"


def samplers(study: str) -> list[str]:
    """Uniform draws, those by fresh gradient norms, and by those of the first step: the last is a file beside the runs,
    which anybody may read and change."""
    folder = files.root() / "outputs" / study
    folder.mkdir(parents=True, exist_ok=True)
    source = Path(stale.__file__).read_text(encoding="utf-8")
    file = folder / "stale.py"
    if not file.exists():
        files.write_text(file, source)
    return ["unif", FRESH, f"./outputs/{study}/stale.py:Stale"]


@dataclass(frozen=True)
class Excess:
    """The training loss above the least that is possible, of each sampler against uniform draws.

    Of a hard point nothing can be learnt, so that it costs log 2 at best; of the others the loss can come as near to 0
    as one likes.
    """

    def of(self, runs: pd.DataFrame, loss: Any) -> Any:
        _, options = datasets.parse(runs["dataset"].iloc[0])
        hard = options.get("hard", datasets.options("toy")["hard"].default)
        return loss - hard * log(2)

    def judgement(self, frame: pd.DataFrame) -> Judgement:
        """Ratios to uniform draws, over seeds, of the mean over the second half of the run, for a single evaluation is
        mostly noise. InputError without uniform draws."""
        arms = [spec for spec in dict.fromkeys(frame["sampler"]) if spec != REFERENCE["sampler"]]
        [contrast] = contrasts.read({"loss above the least": {"arms": {"sampler": arms}, "ratio": "sample_loss"}})
        return judge(contrast, frame.assign(sample_loss=self.of(frame, frame["path"].map(late))))

    def sentence(self, frame: pd.DataFrame) -> str:
        return self.judgement(frame).sentence

    def came(self, frame: pd.DataFrame) -> dict[str, int]:
        """Of the stale scores, the last arm."""
        row = self.judgement(frame).table.iloc[-1]
        return {"worse" if row["low"] > 1 else "better" if row["high"] < 1 else "": 1}

    def figure(self, frame: pd.DataFrame) -> go.Figure:
        """Over the run: the median of the seeds, and their range."""
        figure = go.Figure()
        for number, (spec, runs) in enumerate(frame.groupby("sampler", sort=False)):
            past = pd.concat([history_of(path) for path in runs["path"]])
            past = past.assign(excess=self.of(runs, past["sample_loss"]), t=past["t"].round(2)).groupby("t")["excess"]
            tint = PALETTE[number % len(PALETTE)] if ".py" in str(spec) else color(str(spec))
            name = named(str(spec))
            low, middle, high = past.min(), past.median(), past.max()
            figure.add_scatter(
                x=[*low.index, *high.index[::-1]], y=[*low, *high[::-1]], fill="toself", fillcolor=tint, opacity=0.15,
                line_width=0, mode="lines", hoverinfo="skip", showlegend=False, legendgroup=name,
            )  # fmt: skip
            figure.add_scatter(x=middle.index, y=middle, name=name, legendgroup=name, line={"color": tint, "width": 3})
        figure.update_yaxes(type="log", title_text="training loss above the least", exponentformat="power")
        figure.update_xaxes(title_text="budget spent", tickformat=".0%")
        return styled(figure, "What the variance costs: median and range over seeds", ROW_HEIGHT)


def late(path: str) -> float:
    """The mean training loss of a run's second half."""
    past = history_of(path)
    return float(past.loc[past["t"] >= 0.5, "sample_loss"].mean())


def named(spec: str) -> str:
    """A sampler as the page calls it."""
    return {"unif": "uniform", known.canonical(FRESH): "fresh norms"}.get(
        spec, "stale norms" if "Stale" in spec else label(spec)
    )


def kept_of(frame: pd.DataFrame) -> Moments:
    """The moments of the first uniform run. InputError if there is none."""
    here = frame[frame["sampler"] == "unif"].to_dict("records")
    if not here:
        raise InputError("no run of unif is there: tick it and press Run")
    return _kept(str(here[0]["path"]), tuple((name, here[0][name]) for name in Experiment.help()))


@functools.lru_cache(maxsize=4)
def _kept(path: str, settings: tuple[tuple[str, Any], ...]) -> Moments:
    """For a slider that is moved over them."""
    return moments({**dict(settings), "path": path})


def variances(frame: pd.DataFrame, age: int = 0, uniform: float = 0.0) -> go.Figure:
    """Over a uniform run, by how much more or less the gradient varies than that of uniform draws."""
    told, mix, figure = kept_of(frame).variances(age, uniform), uniform, go.Figure()
    by = "fresh norms" if not age else f"norms that are {age} moment{'s' * (age > 1)} old"
    by += f", {mix:.0%} drawn uniformly" if mix else ""
    lines = {"bound": ("the least possible", "#222222", DASHES[2]), "drawn": (by, PALETTE[1], DASHES[0])}
    for column, (name, tint, dash) in lines.items():
        figure.add_scatter(
            x=told["t"], y=told[column], name=name, mode="lines+markers", line={"color": tint, "dash": dash, "width": 3}
        )
    figure.add_scatter(x=told["t"], y=np.ones(len(told)), name="uniform draws", mode="lines", line_color=color("unif"))
    figure.update_yaxes(type="log", title_text="variance, times that of uniform draws", range=[-1.5, 1.5])
    figure.update_xaxes(title_text="budget spent", tickformat=".0%", range=[-0.02, 1.02])
    return styled(figure, "How much the estimated gradient varies", 400).update_layout(
        legend={"orientation": "h", "x": 0, "y": -0.25}
    )


def plane(frame: pd.DataFrame, t: float = 1.0, age: int = 0) -> go.Figure:
    """The points of a uniform run, as large as they are likely to be drawn."""
    kept, dataset = kept_of(frame), frame["dataset"].iloc[0]
    moment = int(np.argmin(np.abs(kept.t - t)))
    data = datasets.create(dataset, files.root() / "data").load()
    place = data.normalise(data.image).flatten(1)
    times = (kept.probability(moment, age, 0.0) * len(data)).numpy()
    figure = go.Figure()
    for number, name in enumerate(data.classes):
        here = (data.label == number).numpy()
        figure.add_scatter(
            x=place[here, 0], y=place[here, 1], mode="markers", name=name, opacity=0.6,
            marker={"size": np.clip(5 * np.sqrt(times[here]), 2.5, 30), "color": PALETTE[number], "line_width": 0},
            customdata=times[here], hovertemplate="drawn %{customdata:.2f} times as often as at random<extra></extra>",
        )  # fmt: skip
    figure.update_yaxes(title_text="along the line between", range=[-2.3, 2.3])
    figure.update_xaxes(title_text="across it", range=[-3.6, 3.6])
    figure.update_layout(legend_itemsizing="constant")
    when = "now" if not age else f"{age} moments before"
    return styled(figure, f"Drawn by the norms of {when}, at {kept.t[moment]:.0%} of the budget", 420)


def gain(frame: pd.DataFrame) -> Markdown:
    """By how much fresh norms lower the variance at the end of the run: of the shares of hard points, and measured."""
    last = kept_of(frame).variances().iloc[-1]
    return Markdown(
        f"At the end of a uniform run on {frame['dataset'].iloc[0]} the best distribution has {last['drawn']:.2f} "
        f"times the variance of uniform draws: {1 / last['drawn']:.1f} times less."
    )


def check(frame: pd.DataFrame) -> Checked:
    """Holds the closed form against itself and the runs against their budgets. AssertionError names what is wrong."""
    kept = kept_of(frame)
    fresh = kept.variances()
    assert np.allclose(fresh["bound"], fresh["drawn"]), "draws by fresh norms do not reach the bound"
    for age in range(1, len(kept.t)):
        assert (kept.variances(age)["drawn"] >= fresh["bound"] * (1 - 1e-9)).all(), f"age {age} goes below the bound"
    over = frame["passes_backward"] - frame["budget"] * frame["epochs"] * frame["examples"]
    assert ((over > -1) & (over <= frame["batch_size"])).all(), "a run did not end within one batch of its budget"
    return Checked(
        [
            f"Draws by fresh norms reach the bound at all {len(fresh)} moments, and none by older ones goes below it.",
            f"Each of the {len(frame)} runs ended within one batch of its budget.",
        ]
    )
