"""What a panel shows of a training: before it, what it would take; then accuracy against budget, filling up."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from iskit import files
from iskit.pages import pools
from iskit.runs.experiment import Experiment
from iskit.runs.run import Run
from iskit.study.archive import over_seeds
from iskit.study.forecast import forecast
from iskit.study.rehearsal import Rehearsal
from iskit.study.sweep import at_once
from iskit.views import plots
from iskit.views.tables import duration


def would_train(experiments: Sequence[Experiment], frame: pd.DataFrame) -> tuple[str, list[Experiment]]:
    """What Run would do, in words, and the runs that are left to do. frame: the finished runs of their study."""
    known = {Path(path).name for path in frame["path"]} if len(frame) else set()
    left = [e for e in experiments if Run(e).path.name not in known]
    there = len(experiments) - len(left)
    text = f"{len(experiments)} run{'s' * (len(experiments) > 1)}"
    are = "none is" if not there else f"{there} is" if there == 1 else f"{there} are"
    return text + (f", {are} there" if left else ": all there, nothing is left to train"), left


def time_of(left: Sequence[Experiment], frame: pd.DataFrame, rehearsal: Rehearsal) -> tuple[str, str]:
    """How long runs will take here, in words, and how that is known. frame: as for `would_train`."""
    todo = [(e, 1 - (Run(e).status.get("saved") or 0.0)) for e in left]
    workers = at_once(left, None, files.root() / "outputs")
    soon = forecast(todo, frame, workers, rehearsal, warm=any(map(pools.ready, pools.free)))
    return soon.why if soon.seconds is None else f"about {duration(soon.seconds)} on this machine", soon.why


def filling(
    frame: pd.DataFrame,
    under_way: Mapping[Experiment, Sequence[tuple[float, float]]],
    chosen: Sequence[Experiment] = (),
) -> go.Figure:
    """Mean accuracy of the finished runs by budget, and thin lines of those under way from t = 0 to where they stand.

    under_way: (t, accuracy) points of each run; a line's end comes to lie where the run's own point will be. chosen:
    all runs, whose order the legend keeps from the first news on. A colour a sampler, a dash an augmentation, so that
    the legend has a line for each of these and not for each pair.
    """
    figure = go.Figure()
    means = over_seeds(frame) if len(frame) else frame
    known = means.to_dict("records") if len(means) else []
    augments, samplers = (_met(name, known, under_way, chosen) for name in ("augment", "sampler"))
    dash = {augment: plots.DASHES[place % len(plots.DASHES)] for place, augment in enumerate(augments)}
    for sampler in samplers:
        for augment in augments:
            rows = sorted(
                (row for row in known if (row["sampler"], row["augment"]) == (sampler, augment)),
                key=lambda row: row["budget"],
            )
            if rows:
                value = plots.error(pd.Series([row["accuracy"] for row in rows]))
                figure.add_scatter(
                    x=[row["budget"] for row in rows],
                    y=value,
                    error_y=plots.bars(value, pd.Series([row["deviation"] for row in rows])),
                    customdata=[(row["seeds"], row["accuracy"]) for row in rows],
                    name=f"{sampler}, {augment}",
                    legendgroup=sampler,
                    showlegend=False,
                    mode="lines+markers",
                    line={"color": plots.color(sampler), "dash": dash[augment]},
                    marker_size=7,
                    hovertemplate="%{customdata[1]:.2f} %, %{customdata[0]} seeds"
                    f"<extra>{sampler}, {augment}</extra>",
                )
    for e, points in under_way.items():
        figure.add_scatter(
            x=[t * e.budget for t, _ in points],
            y=[plots.error(accuracy) for _, accuracy in points],
            customdata=[accuracy for _, accuracy in points],
            name=f"{e.sampler}, {e.augment}, seed {e.seed}",
            legendgroup=e.sampler,
            showlegend=False,
            mode="lines+markers",
            opacity=0.45,
            marker_size=4,
            line={"color": plots.color(e.sampler), "width": 1, "dash": dash[e.augment]},
            hovertemplate=f"%{{customdata:.2f}} %<extra>{e.sampler}, {e.augment}, seed {e.seed}: under way</extra>",
        )
    for sampler in samplers:
        figure.add_scatter(
            x=[None],
            y=[None],
            name=plots.label(sampler),
            legendgroup=sampler,
            mode="lines",
            line_color=plots.color(sampler),
        )
    for augment in augments if len(augments) > 1 else []:
        figure.add_scatter(
            x=[None], y=[None], name=augment, mode="lines", line={"color": "#777", "dash": dash[augment]}
        )
    seconds = any(e.unit == "seconds" for e in under_way) or (len(frame) > 0 and (frame["unit"] == "seconds").any())
    figure.update_xaxes(title_text="seconds spent", rangemode="tozero")
    if not seconds:
        figure.update_xaxes(title_text="budget spent", tickformat=".0%", range=[0, 1.03])
    stand = [{"accuracy": accuracy, "deviation": 0.0} for points in under_way.values() for _, accuracy in points]
    figure.update_yaxes(**plots.accuracy_axis(pd.DataFrame([*known, *stand])), title_text=plots.ACCURACY)
    entries = len(samplers) + (len(augments) if len(augments) > 1 else 0)
    # Below, where it has the whole width: beside the plot it would leave a phone nothing of that.
    below = {"orientation": "h", "x": 0, "y": -0.2, "yanchor": "top"}
    height = max(plots.ROW_HEIGHT, 300 + 12 * entries)
    return plots.styled(figure, "While training", height).update_layout(showlegend=True, legend=below, margin_t=50)


def _met(
    name: str, known: Sequence[Mapping[str, Any]], under_way: Collection[Experiment], chosen: Sequence[Experiment]
) -> list[str]:
    """The values of a setting that are to be seen, in the order chosen."""
    seen = dict.fromkeys([*(row[name] for row in known), *(getattr(e, name) for e in under_way)])
    order = dict.fromkeys(getattr(e, name) for e in chosen)
    return [*(value for value in order if value in seen), *(value for value in seen if value not in order)]
