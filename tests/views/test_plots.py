"""Every figure against its frame: values, names, units; and no line joins runs that differ."""

import inspect

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
import torch
from pandas.io.formats.style import Styler
from run_folders import write_past, write_run

import iskit
from iskit.data import Dataset
from iskit.samplers import samplers
from iskit.views import gallery, plots

SMALL = {"dataset": "digits(limit=100)"}


def trained(outputs, *, seed, sampler, budget, **settings):
    """A run whose numbers are functions of what is asked of it, so that each is told from any other."""
    place = 1000 * budget + 10 * list(samplers).index(samplers.parse(sampler)[0]) + seed
    found = {
        "accuracy": 50 + place / 50,
        "training_seconds": place,
        "seconds": {"train": 0.75 * place, "scoring": 0.25 * place, "eval": 1.0, "warmup": 0.5, "prepare": 40.0},
        "passes": {"forward_only": 100, "forward": 200, "backward": 1000 + place, "prepared": 300},
        "entropy": 2 + place / 1000,
        "entropy_share": 0.5 + place / 10_000,
        **settings.pop("found", {}),
    }
    path = write_run(outputs, found, seed=seed, sampler=sampler, budget=budget, **{**SMALL, **settings})
    past = {"accuracy": [60.0, found["accuracy"]], "train_accuracy": [70.0, 90 + seed], "loss": [2.0, 1.5]}
    write_past(path, np.roll(np.arange(100), seed), **past, train_loss=[3.0, 2.5])
    return path


@pytest.fixture
def frame(tmp_path):
    for seed in (1, 2):
        trained(tmp_path, seed=seed, sampler="sgd", budget=1)
        for sampler in ("unif", "p", "p(smooth=False)"):
            for budget in (0.6, 0.3):
                trained(tmp_path, seed=seed, sampler=sampler, budget=budget)
    return iskit.results(outputs=tmp_path)


def lines(figure):
    """The traces by name."""
    assert len({trace.name for trace in figure.data}) == len(figure.data)
    return {trace.name: trace for trace in figure.data}


def axis_titles(figure, which):
    return {axis.title.text for axis in getattr(figure, f"select_{which}axes")()}


TESTED = {
    "accuracy_by_budget", "accuracy_by_seconds", "entropy_by_budget", "curves", "costs", "sample_counts", "gallery",
    "most_and_least", "table",
    "before_and_after", "operations",  # in test_gallery.py
}  # fmt: skip


def test_every_figure_has_its_test():
    """A public function that returns a figure or a table must be held against its frame here."""
    drawn = set()
    for module in (plots, gallery):
        for name, function in inspect.getmembers(module, inspect.isfunction):
            own = (
                function.__module__ == module.__name__ and not name.startswith("_") and name not in ("styled", "sheet")
            )  # others are drawn with
            if own and inspect.signature(function).return_annotation in (go.Figure, Styler):
                drawn.add(name)
    assert drawn == TESTED


BY = {
    plots.accuracy_by_budget: ("budget", "accuracy", 1, "budget (examples trained)", "test accuracy (%)"),
    plots.accuracy_by_seconds: ("training_seconds", "accuracy", 1, "training and scoring (s)", "test accuracy (%)"),
    plots.entropy_by_budget: ("budget", "entropy_share", 100, "budget (examples trained)", "entropy (% of log N)"),
}


@pytest.mark.parametrize("make", BY, ids=lambda make: make.__name__)
def test_lines_over_seeds(frame, make):
    x, y, scale, x_title, y_title = BY[make]
    figure = make(frame)
    titles = {"sgd": "SGD, full run"} | {s: samplers.title(s) for s in frame["sampler"] if s != "sgd"}
    drawn = lines(figure)
    assert set(drawn) == set(titles.values())
    for sampler, title in titles.items():
        runs = frame[frame["sampler"] == sampler].groupby("budget")
        line = drawn[title]
        np.testing.assert_allclose(line.x, runs[x].median() if x == "training_seconds" else sorted(runs.groups))
        np.testing.assert_allclose(line.y, scale * runs[y].mean())
        if y == "accuracy":
            np.testing.assert_allclose(line.error_y.array, runs[y].std())
        else:
            assert line.error_y.array is None
        shown = [(f"{100 * budget:g}%", 2, part["training_seconds"].median()) for budget, part in runs]
        assert [tuple(row) for row in line.customdata] == shown
        assert line.hovertemplate.startswith("%{y:.2f} %<br>budget %{customdata[0]}, %{customdata[2]:.2f} s, ")
        assert line.hovertemplate.endswith(f"%{{customdata[1]}} seeds<extra>{samplers.title(sampler)}</extra>")
    assert axis_titles(figure, "x") == {x_title}
    assert axis_titles(figure, "y") == {y_title}
    assert figure.layout.xaxis.tickformat == (".0%" if x == "budget" else None)
    full = [shape.y0 for shape in figure.layout.shapes]
    assert full == ([pytest.approx(drawn["SGD, full run"].y[0])] if y == "accuracy" else [])


UNLIKE = {
    "data sets": ({}, {"dataset": "digits(limit=200)"}),
    "models": ({}, {"model": "mlp"}),
    "units": ({}, {"unit": "cost"}),
    "seconds": ({}, {"unit": "seconds"}),
    "lengths": ({}, {"epochs": 90}),
    "rates": ({}, {"lr": 0.05}),
    "studies": ({}, {"study": "other"}),
    "augmentations": ({}, {"augment": "mixup"}),
    "devices": ({}, {"found": {"device": "another"}}),
    "threads": ({}, {"found": {"threads": 1}}),
}


@pytest.fixture(params=UNLIKE)
def unlike(request, tmp_path):
    """Runs of two kinds, their budgets interleaved: what joined them would zigzag."""
    one, other = UNLIKE[request.param]
    for budget in (0.2, 0.6):
        trained(tmp_path, seed=1, sampler="p", budget=budget, **one)
        trained(tmp_path, seed=1, sampler="p", budget=budget + 0.2, **{"study": "playground", **other})
        trained(tmp_path, seed=2, sampler="p", budget=budget, **other)
    return request.param, iskit.results(outputs=tmp_path)


def kinds(frame, accuracy):
    """The rows of a frame that a line's points stand for."""
    columns = ["dataset", "model", "unit", "epochs", "lr", "study", "augment", "device_name", "threads"]
    return {tuple(row) for row in frame[frame["accuracy"].isin(accuracy)][columns].itertuples(index=False)}


@pytest.mark.parametrize("make", BY, ids=lambda make: make.__name__)
def test_no_line_joins_runs_that_differ(unlike, make):
    kind, frame = unlike
    x, y, scale, *_ = BY[make]
    figure = make(frame)
    points = 0
    for line in figure.data:
        values = np.asarray(line.y) / scale
        runs = frame[[any(np.isclose(value, values)) for value in frame[y]]]
        assert len(runs) == len(values)
        assert len(kinds(frame, runs["accuracy"])) == 1
        points += len(values)
        axis = figure.layout[line.xaxis.replace("x", "xaxis")]
        seconds = x == "budget" and set(runs["unit"]) == {"seconds"}
        assert axis.tickformat == (".0%" if x == "budget" and not seconds else None)
        if x == "budget":
            assert axis.title.text == plots.BUDGETS[runs["unit"].iloc[0]]
    assert points == len(frame) == 6
    panels = [note.text for note in figure.layout.annotations]
    assert len(panels) == len(set(panels)) >= 2
    differing = {"lengths": "epochs=90", "devices": "device_name=another", "units": "unit=cost"}
    assert any(differing.get(kind, "") in panel for panel in panels)


def test_table_holds_every_configuration(unlike):
    _, frame = unlike
    styler = plots.table(frame)
    cells = [cell for cell in styler.data.to_numpy().ravel() if cell]
    assert sorted(cells) == sorted(f"{accuracy:.2f}" for accuracy in frame["accuracy"])
    seconds = frame["unit"] == "seconds"
    shown = [f"{b:g} s" if s else f"{100 * b:g}%" for b, s in zip(frame["budget"], seconds, strict=True)]
    assert set(styler.data.columns) == set(shown)
    assert "test accuracy (%)" in styler.to_html()


def test_table_is_mean_and_deviation(frame):
    data = plots.table(frame).data
    assert list(data.columns) == ["30%", "60%", "100%"]
    for (sampler, budget), runs in frame.groupby(["sampler", "budget"]):
        expected = f"{runs['accuracy'].mean():.2f} ± {runs['accuracy'].std():.2f}"
        assert data.loc[("standard", sampler), f"{100 * budget:g}%"] == expected
    assert data.loc[("standard", "sgd"), "30%"] == ""


def test_curves_are_the_histories_test_solid_training_dotted(frame):
    few = frame[frame["sampler"].isin(["unif", "p"]) & (frame["budget"] == 0.3)].reset_index(drop=True)
    figure = plots.curves(few)
    left, right = ([trace for trace in figure.data if trace.xaxis == axis] for axis in ("x", "x2"))
    assert len(left) == len(right) == 2 * len(few) == 8
    for quantity, traces in (("accuracy", left), ("loss", right)):
        by_name = {trace.name: trace for trace in traces}
        assert len(by_name) == len(traces)
        for run in few.to_dict("records"):
            past = iskit.history_of(run["path"])
            name = f"{samplers.title(run['sampler'])} 30% standard seed {run['seed']}"
            for prefix, word, dash in (("", "test", "solid"), ("train_", "training", "dot")):
                trace = by_name[f"{name} {word}"]
                np.testing.assert_array_equal(trace.x, past["t"])
                np.testing.assert_array_equal(trace.y, past[prefix + quantity])
                assert trace.line.dash == dash
                unit = " %" if quantity == "accuracy" else ""
                assert trace.hovertemplate == f"%{{y:.4g}}{unit}<extra>{trace.name}</extra>"
    assert [note.text for note in figure.layout.annotations] == ["accuracy (%)", "loss"]
    assert axis_titles(figure, "x") == {"budget spent"}
    # One run by itself needs no name.
    assert {trace.name for trace in plots.curves(frame.iloc[:1]).data} == {"test", "training"}


@pytest.mark.parametrize("make", [plots.curves, plots.costs, plots.sample_counts], ids=lambda make: make.__name__)
def test_runs_that_differ_in_anything_have_names_of_their_own(unlike, make):
    _, frame = unlike
    names = {trace.name.removesuffix(" test").removesuffix(" training") for trace in make(frame).data}
    assert len(names) == len(frame)


def test_costs_are_the_seconds_and_passes_of_each_run(frame):
    few = frame.iloc[[0, 3]].assign(seconds_new=[np.nan, 7.0])  # what the first was too old to know
    figure = plots.costs(few)
    assert [note.text for note in figure.layout.annotations] == ["seconds", "passes of examples"]
    for number, run in enumerate(few.to_dict("records")):
        for axis, prefix in (("x", "seconds_"), ("x2", "passes_")):
            [bars] = [bar for bar in figure.data if bar.xaxis == axis and bar.legendgroup == str(number)]
            known = {key: v for key, v in run.items() if key.startswith(prefix) and v == v}
            assert list(bars.y) == [key.removeprefix(prefix).replace("_", " ") for key in known]
            assert list(bars.x) == list(known.values())
            assert list(bars.text) == [f"{v:,.2f}" if prefix == "seconds_" else f"{v:,.0f}" for v in known.values()]
            assert max(bars.x) < figure.layout[axis.replace("x", "xaxis")].range[1]
    assert "prepare" in figure.data[0].y


def test_sample_counts_are_ranked_and_told_in_nats_and_percent(frame):
    one = frame.iloc[:1]
    figure = plots.sample_counts(one)
    np.testing.assert_array_equal(figure.data[0].y, np.arange(100)[::-1])
    np.testing.assert_allclose(figure.data[0].x, np.linspace(0, 1, 100))
    run = one.iloc[0]
    assert figure.layout.title.text == (
        f"Sample counts: entropy {run['entropy']:.3f} nats ({100 * run['entropy_share']:.1f} % of log N), "
        "coverage 75.0 %"
    )
    assert axis_titles(figure, "x") == {"examples, most trained first"}
    assert axis_titles(figure, "y") == {"times trained"}
    assert len(lines(plots.sample_counts(frame))) == len(frame)


def test_a_gallery_is_of_all_runs_the_most_trained_above_the_least(tmp_path):
    first = np.zeros(100, dtype=np.int64)
    first[[5, 6]] = 9, 1
    second = np.ones(100, dtype=np.int64)
    second[[6, 7]] = 30, 0
    for seed, counts in enumerate((first, second)):
        write_past(trained(tmp_path, seed=seed, sampler="p", budget=0.3), counts)
    # Another data set of another size is not counted with it.
    write_past(trained(tmp_path, seed=1, sampler="p", budget=0.3, dataset="digits(limit=200)"), np.arange(200))
    figure = plots.gallery(iskit.results(outputs=tmp_path), "p", each=2)
    captions = [note.text.split(" · ")[1] for note in figure.layout.annotations]
    assert captions == ["31×", "10×", "1×", "0×"]  # 6, 5; one of the others, 7
    data = plots.load("digits(limit=100)", tmp_path, 0, torch.device("cpu"), 1)
    for place, index in ((0, 6), (1, 5), (3, 7)):
        np.testing.assert_array_equal(figure.data[place].z[..., 0], data.image[index, ..., 0])
        assert figure.layout.annotations[place].text.startswith(f"{data.classes[data.label[index]]} ")
    assert [axis.title.text for axis in figure.select_yaxes() if axis.title.text] == ["most", "least"]
    title = "p-SGD: the images trained most and least in 2 runs on digits(limit=100)"
    assert figure.layout.title.text == title


def test_a_gallery_of_examples_that_each_seed_draws_is_of_one_seed(tmp_path):
    for seed in (1, 2):
        write_past(trained(tmp_path, seed=seed, sampler="p", budget=0.3, dataset="digits(limit=100, noise=0.5)"))
    figure = plots.gallery(iskit.results(outputs=tmp_path), "p", each=2)
    assert "in 1 runs on" in figure.layout.title.text
    assert [note.text.split(" · ")[1] for note in figure.layout.annotations] == ["99×", "98×", "1×", "0×"]


def test_most_and_least_of_any_data():
    image = torch.arange(6, dtype=torch.uint8).view(6, 1, 1, 1).expand(6, 4, 4, 3).contiguous()
    data = Dataset(image, torch.tensor([0, 1, 0, 1, 0, 1]), image, torch.zeros(6).long(), (0.5,), (0.5,), ("a", "b"))
    figure = plots.most_and_least(data, np.array([3, 9, 4, 1, 5, 0]), each=2)
    assert [note.text for note in figure.layout.annotations] == ["b · 9×", "a · 5×", "b · 1×", "b · 0×"]
    assert [int(trace.z[0, 0, 0]) for trace in figure.data] == [1, 4, 3, 5]
    assert figure.layout.title.text == "Most and least trained images"


def test_a_method_that_is_known_no_more_is_drawn_by_its_text(frame):
    frame = frame.assign(sampler=frame["sampler"].replace("unif", "gone(x=1)"))
    for make in BY:
        assert "gone(x=1)" in lines(make(frame))
    for make in (plots.curves, plots.costs, plots.sample_counts):
        assert any("gone(x=1)" in trace.name for trace in make(frame).data)
    assert ("standard", "gone(x=1)") in plots.table(frame).data.index
    assert sorted(plots.choosers(frame)) == ["gone(x=1)", "p", "p(smooth=False)"]
    assert plots.color("gone(x=1)") not in map(plots.color, samplers)


def test_many_panels_find_room(tmp_path):
    for number in range(16):
        trained(tmp_path, seed=1, sampler="p", budget=0.3, lr=0.01 * (1 + number))
    frame = pd.DataFrame(iskit.results(outputs=tmp_path))
    assert len(plots.accuracy_by_budget(frame).data) == 16
