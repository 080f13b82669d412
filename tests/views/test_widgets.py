"""The controls of notebooks, as far as they can be used without a browser."""

import pandas as pd
import pytest

import iskit
from iskit.augment import augments
from iskit.study.grid import grid
from iskit.views import plots, widgets

TINY = {"dataset": "digits(limit=100)", "model": "cnn(width=4)", "epochs": 4, "evals": 2, "study": "w", "seeds": 1}


@pytest.fixture
def shown(warm_workers, tmp_path, monkeypatch):
    """Somebody is there, in an empty project; gives what is displayed."""
    monkeypatch.setenv("ISKIT_ROOT", str(tmp_path))
    monkeypatch.setattr(widgets, "hands", lambda: True)
    displayed: list = []
    monkeypatch.setattr(widgets, "display", displayed.append)
    return displayed


def panel(**settings):
    chosen = {"sampler": ["sgd", "unif"], "budget": [0.5], "augment": ["standard"], **settings}
    return widgets.grid_panel({**TINY, **chosen})


def text(box) -> str:
    return str(box.children[-1].outputs)


def test_run_trains_in_the_background_and_the_views_follow(shown):
    one = panel(sampler=["sgd", "scan"])
    one.start()
    one.show(plots.gallery, sampler=plots.choosers)
    one.show(plots.table)
    gallery, table = shown[1:]
    assert "Nothing trained yet" in text(gallery)
    one.run()
    assert one.run_button.disabled
    one.thread.join(120)
    assert "finished (2 of 2 runs" in one.message.value
    assert gallery.children[0].options == ("sgd", "scan")  # nothing else was trained
    assert "plotly" in text(gallery)
    assert "<table" in text(table)
    # A sampler that chooses is trained too: the dropdown follows, and its first value is shown.
    one.controls["sampler"].value = ("sgd", "scan", "unif")
    one.run()
    one.thread.join(120)
    assert "finished (3 of 3 runs" in one.message.value
    assert gallery.children[0].options == ("unif",)
    assert "unif-SGD: the images trained most and least in 1 runs" in text(gallery)


def test_what_cannot_work_is_said_and_nothing_is_trained(shown, tmp_path):
    one = panel()
    one.controls["sampler"].value = ("rho",)
    one.run()
    one.thread.join(60)
    assert "rho" in one.message.value or "presample" in one.message.value
    assert "b00020" in one.message.value  # in red
    assert not one.run_button.disabled
    assert not (tmp_path / "outputs").exists()


def test_one_run_takes_sgds_budget_as_given_and_refuses_it(shown):
    settings = {**TINY, "sampler": "unif", "budget": 0.5, "augment": "standard"}
    del settings["seeds"]
    one = widgets.run_panel(settings)
    one.controls["sampler"].value = "sgd"
    one.run()
    assert one.thread is None
    assert "use scan" in one.message.value


def test_augmentations_are_offered_in_the_order_of_their_sources(shown):
    settings = {**TINY, "sampler": "unif", "budget": 0.5, "augment": "standard"}
    del settings["seeds"]
    for one in (panel(), widgets.run_panel(settings)):
        offered = one.controls["augment"].options
        assert offered[:2] == ("none", "standard")
        assert {name for spec in offered for name in spec.split("|")} == set(augments)
        assert len(offered) == len(list(augments))
        assert {"randaugment|standard", "standard|trivialaugment", "standard|mixup"} <= set(offered)
        assert all(spec.startswith("standard|") for spec in offered[2:] if spec != "randaugment|standard")


def test_stop_is_prompt_and_what_was_done_is_kept(shown, tmp_path):
    one = panel(epochs=200, sampler=["unif", "scan"])
    one.start()
    one.run()
    while one.bar.value == 0 and one.thread.is_alive():
        one.thread.join(0.05)
    one.stop()
    one.thread.join(60)
    assert "Run goes on from here" in one.message.value or "finished" in one.message.value
    assert not one.run_button.disabled


def test_every_plot_draws_every_kind_of_frame(tmp_path):
    experiments = grid({**TINY, "sampler": ["sgd", "scan", "p", "p(smooth=False)"], "budget": [0.5, 0.7]})
    for experiment in experiments:
        iskit.Run(experiment, tmp_path).train()
    frame = iskit.results(outputs=tmp_path)
    for part in (frame, frame[frame["sampler"] == "sgd"], frame.iloc[:1]):
        part = pd.DataFrame(part).reset_index(drop=True)
        for make in (plots.accuracy_by_budget, plots.accuracy_by_seconds, plots.entropy_by_budget):
            figure = make(part)
            assert {trace.name for trace in figure.data} >= {"SGD, full run"} or len(part) == 1
        for make in (plots.curves, plots.costs, plots.sample_counts):
            assert make(part).data
        assert plots.gallery(part, plots.choosers(part)[0]).data
        assert "<table" in plots.table(part).to_html()
    styles = plots.dashes(["p", "p(smooth=False)", "unif"])
    assert styles["p"] != styles["p(smooth=False)"]
    assert plots.color("p") == plots.color("p(smooth=False)") != plots.color("unif")
