"""What a panel draws while it trains: means of the finished, and where those under way stand on their way there."""

import pandas as pd
import pytest

import iskit
from iskit.pages.live import filling
from iskit.runs.experiment import Experiment
from iskit.runs.grid import grid
from iskit.views.plots import label

TINY = {"dataset": "digits(limit=100)", "model": "cnn(width=4)", "epochs": 4, "evals": 2, "study": "w"}


def drawn(figure):
    """Name, budgets and accuracies of each line; the axis is one of errors."""
    lines = [trace for trace in figure.data if trace.x[0] is not None]
    return [(line.name, list(line.x), pytest.approx([100 - y for y in line.y])) for line in lines]


def legend(figure):
    return [trace.name for trace in figure.data if trace.showlegend is not False]


def test_lines_under_way_end_where_their_own_point_will_be():
    news = {
        Experiment(sampler="p", budget=0.3): [(0.5, 60.0), (1.0, 70.0)],
        Experiment(sampler="unif", augment="mixup", budget=0.8, seed=2): [(0.25, 10.0)],
    }
    figure = filling(pd.DataFrame(), news)
    assert drawn(figure) == [
        ("p, standard, seed 1", [0.15, 0.3], [60.0, 70.0]),
        ("unif, mixup, seed 2", [0.2], [10.0]),
    ]
    assert legend(figure) == ["p · p-SGD", "unif · unif-SGD", "standard", "mixup"]
    assert figure.layout.xaxis.title.text == "budget spent"


def test_the_legend_keeps_the_order_chosen_from_the_first_run_on():
    chosen = grid({"sampler": ["sgd", "scan", "p"], "augment": ["standard", "mixup"], "budget": [0.5]})
    late = [e for e in chosen if (e.sampler, e.augment) in (("p", "mixup"), ("scan", "standard"))][::-1]
    figure = filling(pd.DataFrame(), {e: [(0.5, 60.0)] for e in late}, chosen)
    assert legend(figure) == ["scan · scan-SGD", "p · p-SGD", "standard", "mixup"]


def test_a_budget_in_seconds_is_drawn_in_seconds():
    figure = filling(pd.DataFrame(), {Experiment(budget=8, unit="seconds"): [(0.5, 50.0)]})
    assert drawn(figure) == [("unif, standard, seed 1", [4.0], [50.0])]
    assert figure.layout.xaxis.title.text == "seconds spent"


def test_finished_runs_are_their_means_and_a_hundred_runs_stay_readable(tmp_path):
    for experiment in grid({**TINY, "sampler": ["scan", "p"], "budget": [0.7, 0.5], "seeds": 2}):
        iskit.Run(experiment, tmp_path).train()
    frame = iskit.results(outputs=tmp_path)
    figure = filling(frame, {})
    means = frame.groupby(["sampler", "budget"])["accuracy"].mean()
    for name in ("scan", "p"):
        assert (f"{name}, standard", [0.5, 0.7], [means[name, 0.5], means[name, 0.7]]) in drawn(figure)
    many = pd.concat(
        [frame.assign(seed=frame["seed"] + 2 * n, augment=a) for n in range(8) for a in ("standard", "mixup")]
    )
    figure = filling(many, {Experiment(seed=s): [(0.1, 1.0)] for s in (98, 99)})
    assert len(drawn(figure)) == 2 * 2 + 2
    assert legend(figure) == [*map(label, [*dict.fromkeys(frame["sampler"]), "unif"]), "standard", "mixup"]
    assert figure.layout.height >= 20 * len(legend(figure)) + 100
