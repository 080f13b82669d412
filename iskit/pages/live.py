"""What a panel draws while it trains: accuracy against budget, filling up, and the runs that are on their way there."""

from collections.abc import Mapping, Sequence

import pandas as pd
import plotly.graph_objects as go

from iskit.runs.experiment import Experiment
from iskit.study.archive import over_seeds
from iskit.views import plots


def filling(frame: pd.DataFrame, under_way: Mapping[Experiment, Sequence[tuple[float, float]]]) -> go.Figure:
    """Mean accuracy of the finished runs by budget, and thin lines of those under way from t = 0 to where they stand.

    under_way: (t, accuracy) points of each run; a line's end comes to lie where the run's own point will be. A colour a
    sampler, a dash an augmentation, so that the legend has a line for each of these and not for each pair.
    """
    figure = go.Figure()
    means = over_seeds(frame) if len(frame) else frame
    known = means.to_dict("records") if len(means) else []
    augments = list(dict.fromkeys([*(row["augment"] for row in known), *(e.augment for e in under_way)]))
    samplers = list(dict.fromkeys([*(row["sampler"] for row in known), *(e.sampler for e in under_way)]))
    dash = {augment: plots.DASHES[place % len(plots.DASHES)] for place, augment in enumerate(augments)}
    for sampler in samplers:
        for augment in augments:
            rows = sorted(
                (row for row in known if (row["sampler"], row["augment"]) == (sampler, augment)),
                key=lambda row: row["budget"],
            )
            if rows:
                figure.add_scatter(
                    x=[row["budget"] for row in rows],
                    y=[row["accuracy"] for row in rows],
                    error_y={"array": [row["deviation"] for row in rows], "thickness": 1, "width": 3},
                    customdata=[row["seeds"] for row in rows],
                    name=f"{sampler}, {augment}",
                    legendgroup=sampler,
                    showlegend=False,
                    mode="lines+markers",
                    line={"color": plots.color(sampler), "dash": dash[augment]},
                    marker_size=7,
                    hovertemplate=f"%{{y:.2f}} %, %{{customdata}} seeds<extra>{sampler}, {augment}</extra>",
                )
    for e, points in under_way.items():
        figure.add_scatter(
            x=[t * e.budget for t, _ in points],
            y=[accuracy for _, accuracy in points],
            name=f"{e.sampler}, {e.augment}, seed {e.seed}",
            legendgroup=e.sampler,
            showlegend=False,
            mode="lines+markers",
            opacity=0.45,
            marker_size=4,
            line={"color": plots.color(e.sampler), "width": 1, "dash": dash[e.augment]},
            hovertemplate=f"%{{y:.2f}} %<extra>{e.sampler}, {e.augment}, seed {e.seed}: under way</extra>",
        )
    for sampler in samplers:
        figure.add_scatter(
            x=[None], y=[None], name=sampler, legendgroup=sampler, mode="lines", line_color=plots.color(sampler)
        )
    for augment in augments if len(augments) > 1 else []:
        figure.add_scatter(
            x=[None], y=[None], name=augment, mode="lines", line={"color": "#777", "dash": dash[augment]}
        )
    seconds = any(e.unit == "seconds" for e in under_way) or (len(frame) > 0 and (frame["unit"] == "seconds").any())
    figure.update_xaxes(title_text="seconds spent", rangemode="tozero")
    if not seconds:
        figure.update_xaxes(title_text="budget spent", tickformat=".0%", range=[0, 1.03])
    figure.update_yaxes(title_text=plots.ACCURACY)
    entries = len(samplers) + (len(augments) if len(augments) > 1 else 0)
    # Below, where it has the whole width: beside the plot it would leave a phone nothing of that.
    below = {"orientation": "h", "x": 0, "y": -0.2, "yanchor": "top"}
    height = max(plots.ROW_HEIGHT, 300 + 12 * entries)
    return plots.styled(figure, "While training", height).update_layout(showlegend=True, legend=below, margin_t=50)
