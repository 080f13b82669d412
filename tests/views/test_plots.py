"""Every figure against its frame: values, names, units; and no line joins runs that differ."""

import inspect

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from pandas.io.formats.style import Styler
from run_folders import write_past, write_run

import iskit
from iskit.samplers import samplers
from iskit.views import plots, runs

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
    "accuracy_by_budget", "accuracy_by_seconds", "entropy_by_budget", "curves", "costs", "sample_counts", "table",
}  # fmt: skip


def test_every_figure_has_its_test():
    """A public function that returns a figure or a table must be held against its frame here."""
    drawn = set()
    for module in (plots, runs):
        for name, function in inspect.getmembers(module, inspect.isfunction):
            own = function.__module__ == module.__name__ and not name.startswith("_") and name != "styled"
            if own and inspect.signature(function).return_annotation in (go.Figure, Styler):
                drawn.add(name)
    assert drawn == TESTED


BY = {
    plots.accuracy_by_budget: ("budget", "accuracy", "budget (examples trained)", "test accuracy (%)"),
    plots.accuracy_by_seconds: ("training_seconds", "accuracy", "training and scoring (s)", "test accuracy (%)"),
    plots.entropy_by_budget: (
        *("budget", "entropy", "budget (examples trained)", "effective number of images, exp(H)"),
    ),
}


def drawn_as(y, value):
    """How far up a value of the frame's column stands."""
    return np.exp(value) if y == "entropy" else 100 - value


@pytest.mark.parametrize("make", BY, ids=lambda make: make.__name__)
def test_lines_over_seeds(frame, make):
    x, y, x_title, y_title = BY[make]
    figure = make(frame)
    names = {spec: plots.label(spec) for spec in frame["sampler"]}
    drawn = lines(figure)
    assert list(drawn) == list(dict.fromkeys(names.values()))  # the order of the frame, and of the table
    assert names["sgd"] == "sgd · SGD, full run"
    assert names["p(smooth=False)"] == "p(smooth=False) · p-SGD"
    budgets_end = frame["budget"].max()
    for sampler, name in names.items():
        part = frame[frame["sampler"] == sampler].groupby("budget")
        line = drawn[name]
        exact = 1e-9 if x != "budget" or y == "entropy" else 0.03 * budgets_end  # side by side at one budget
        np.testing.assert_allclose(line.x, part[x].median() if x != "budget" else sorted(part.groups), atol=exact)
        np.testing.assert_allclose(line.y, drawn_as(y, part[y].mean()))
        if y == "accuracy":
            np.testing.assert_allclose(line.error_y.array, part[y].std())
        else:
            assert line.error_y.array is None
        told = [tuple(row) for row in line.customdata]
        assert [row[:3] for row in told] == [
            (f"{100 * budget:g}%", 2, runs["training_seconds"].median()) for budget, runs in part
        ]
        np.testing.assert_allclose([row[3] for row in told], part["accuracy"].mean())
        np.testing.assert_allclose([row[4] for row in told], 100 * part["entropy_share"].mean())
        assert line.hovertemplate.startswith("%{customdata[3]:.2f} %<br>" if y == "accuracy" else "%{y:.1f} images, H ")
    assert axis_titles(figure, "x") == {x_title}
    assert axis_titles(figure, "y") == {y_title}
    assert figure.layout.xaxis.tickformat == (".0%" if x == "budget" else None)
    full = [shape.y0 for shape in figure.layout.shapes]
    assert full == ([pytest.approx(drawn[names["sgd"]].y[0])] if y == "accuracy" else [])


def test_no_two_bars_stand_at_one_place(frame):
    figure = plots.accuracy_by_budget(frame)
    places = [x for trace in figure.data for x in trace.x]
    assert len(set(places)) == len(places)


def test_ticks_of_accuracy_stand_where_their_error_is_drawn(frame):
    axis = plots.accuracy_by_budget(frame).layout.yaxis
    assert axis.type == "log"
    np.testing.assert_allclose([100 - float(text) for text in axis.ticktext], axis.tickvals)
    low, high = (10**end for end in axis.range)
    ends = frame.groupby(["sampler", "budget"])["accuracy"].agg(["mean", "std"])
    assert low >= 100 - (ends["mean"] - ends["std"]).min()
    assert high <= 100 - ends["mean"].max()


def test_a_run_without_error_has_a_place_too(frame):
    figure = plots.accuracy_by_budget(frame.assign(accuracy=100.0))
    assert all(y > 0 for trace in figure.data for y in trace.y)


def test_ticks_of_variety_tell_entropy_too(frame):
    share = frame["entropy"] / np.log(100)
    axis = plots.entropy_by_budget(frame.assign(entropy_share=share)).layout.yaxis
    for value, text in zip(axis.tickvals, axis.ticktext, strict=True):
        assert text == f"{value:,.0f} ({100 * np.log(value) / np.log(100):.1f} %)"
    other = frame.assign(entropy_share=share / np.linspace(1, 2, len(frame)))  # of sets of other sizes
    assert plots.entropy_by_budget(other).layout.yaxis.ticktext is None


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
    x, y, *_ = BY[make]
    figure = make(frame)
    points = 0
    for line in figure.data:
        values = np.asarray(line.y)
        runs = frame[[any(np.isclose(drawn_as(y, value), values)) for value in frame[y]]]
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


def test_table_is_in_the_order_of_the_legend_its_best_in_bold_and_sgd_apart(frame):
    styler = plots.table(frame)
    legend = [trace.name for trace in plots.accuracy_by_budget(frame).data]
    assert [plots.label(spec) for _, spec in styler.data.index] == legend
    styler._compute()
    rows = list(styler.data.index.get_level_values("sampler"))
    bold = {
        (rows[row], styler.data.columns[column])
        for (row, column), css in styler.ctx.items()
        if ("font-weight", "bold") in css
    }
    means = frame[frame["sampler"] != "sgd"].groupby(["budget", "sampler"])["accuracy"].mean()
    assert bold == {(means[budget].idxmax(), f"{100 * budget:g}%") for budget in (0.3, 0.6)}
    apart = {rows[row] for (row, _), css in styler.ctx.items() if ("font-style", "italic") in css}
    assert apart == {"sgd"}


def test_table_is_mean_and_deviation(frame):
    data = plots.table(frame).data
    assert list(data.columns) == ["30%", "60%", "100%"]
    for (sampler, budget), part in frame.groupby(["sampler", "budget"]):
        expected = f"{part['accuracy'].mean():.2f} ± {part['accuracy'].std():.2f}"
        assert data.loc[("standard", sampler), f"{100 * budget:g}%"] == expected
    assert data.loc[("standard", "sgd"), "30%"] == ""


def test_curves_are_the_histories_test_solid_training_dotted(frame):
    few = frame[frame["sampler"].isin(["unif", "p"]) & (frame["budget"] == 0.3)].reset_index(drop=True)
    figure = runs.curves(few)
    left, right = ([trace for trace in figure.data if trace.xaxis == axis] for axis in ("x", "x2"))
    assert len(left) == len(right) == 2 * len(few) == 8
    for quantity, traces in (("accuracy", left), ("loss", right)):
        by_name = {trace.name: trace for trace in traces}
        assert len(by_name) == len(traces)
        for run in few.to_dict("records"):
            past = iskit.history_of(run["path"])
            name = f"{run['sampler']} 30% standard seed {run['seed']}"
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
    assert {trace.name for trace in runs.curves(frame.iloc[:1]).data} == {"test", "training"}


@pytest.mark.parametrize("make", [runs.curves, runs.costs, runs.sample_counts], ids=lambda make: make.__name__)
def test_runs_that_differ_in_anything_have_names_of_their_own(unlike, make):
    _, frame = unlike
    names = {trace.name.removesuffix(" test").removesuffix(" training") for trace in make(frame).data}
    assert len(names) == len(frame)


def test_costs_are_the_seconds_and_passes_of_each_run(frame):
    few = frame.iloc[[0, 3]].assign(seconds_new=[np.nan, 7.0])  # what the first was too old to know
    figure = runs.costs(few)
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
    figure = runs.sample_counts(one)
    np.testing.assert_array_equal(figure.data[0].y, np.arange(100)[::-1])
    np.testing.assert_allclose(figure.data[0].x, np.linspace(0, 1, 100))
    run = one.iloc[0]
    assert figure.layout.title.text == (
        f"Sample counts: entropy {run['entropy']:.3f} nats ({100 * run['entropy_share']:.1f} % of log N), "
        "coverage 75.0 %"
    )
    assert axis_titles(figure, "x") == {"examples, most trained first"}
    assert axis_titles(figure, "y") == {"times trained"}
    assert len(lines(runs.sample_counts(frame))) == len(frame)


def test_a_method_that_is_known_no_more_is_drawn_by_its_text(frame):
    frame = frame.assign(sampler=frame["sampler"].replace("unif", "gone(x=1)"))
    for make in BY:
        assert "gone(x=1)" in lines(make(frame))
    for make in (runs.curves, runs.costs, runs.sample_counts):
        assert any("gone(x=1)" in trace.name for trace in make(frame).data)
    assert ("standard", "gone(x=1)") in plots.table(frame).data.index
    assert plots.color("gone(x=1)") not in map(plots.color, samplers)


def test_many_panels_find_room(tmp_path):
    for number in range(16):
        trained(tmp_path, seed=1, sampler="p", budget=0.3, lr=0.01 * (1 + number))
    frame = pd.DataFrame(iskit.results(outputs=tmp_path))
    assert len(plots.accuracy_by_budget(frame).data) == 16


def test_no_two_methods_have_one_colour_and_no_two_specs_one_line():
    assert len({plots.color(name) for name in samplers}) == len(list(samplers))
    specs = ["p", "unif", "p(smooth=False)", "gone", "p(average=False)", "gone(x=1)"]
    lines = plots.dashes(specs)
    assert len({(plots.color(spec), lines[spec]) for spec in specs}) == len(specs)
