"""The controls of notebooks, as far as they can be used without a browser."""

import re
import time

import pandas as pd
import pytest

import iskit
from iskit.pages import panel as panels
from iskit.pages import pools, widgets
from iskit.runs.grid import grid
from iskit.views import gallery, plots, runs

TINY = {"dataset": "digits(limit=100)", "model": "cnn(width=4)", "epochs": 4, "evals": 2, "study": "w", "seeds": 1}


@pytest.fixture
def shown(warm_workers, tmp_path, monkeypatch):
    """Somebody is there, in an empty project; gives what is displayed."""
    monkeypatch.setenv("ISKIT_ROOT", str(tmp_path))
    monkeypatch.setattr(panels, "hands", lambda: True)
    monkeypatch.setattr(widgets, "_panels", {})
    monkeypatch.setattr(pools, "free", kept := [])
    displayed: list = []
    monkeypatch.setattr(panels, "display", displayed.append)
    yield displayed
    for panel in widgets._panels.values():
        if panel.thread:
            panel.stop()
            panel.thread.join()
        panel.close()
    for pool in kept:
        pool.close()


def panel(**settings):
    chosen = {"sampler": ["sgd", "unif"], "budget": [0.5], "augment": ["standard"], **settings}
    return widgets.grid_panel({**TINY, **chosen})


def text(box) -> str:
    return str(box.children[-1].outputs)


def test_run_trains_in_the_background_and_the_views_follow(shown):
    one = panel(sampler=["sgd", "scan"])
    one.start()
    one.show(gallery.trained, sampler=gallery.choosers)
    one.show(plots.table)
    images, table = shown[2:]  # after the panel, and what to do when its controls are dead
    assert "Nothing trained yet" in text(images)
    one.run()
    assert one.run_button.disabled
    one.thread.join(120)
    assert "finished (2 of 2 runs" in one.message.value
    assert images.children[0].options == ("sgd", "scan")  # nothing else was trained
    assert "<img" in text(images)
    assert "<table" in text(table)
    # A sampler that chooses is trained too: the dropdown follows, and its first value is shown.
    one.controls["sampler"].value = ("sgd", "scan", "unif")
    one.run()
    one.thread.join(120)
    assert "finished (3 of 3 runs" in one.message.value
    assert images.children[0].options == ("unif",)
    assert "unif · unif-SGD: the images trained most and least in 1 run on" in text(images)


def until(so, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not so() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert so()


def test_what_cannot_work_is_said_at_its_control_and_nothing_is_trained(shown, tmp_path):
    one = panel()
    one.start()
    one.controls["budget"].value = ()
    until(lambda: "budget=[] names nothing to run" in one.messages["budget"].value)  # before Run is pressed
    one.controls["budget"].value = (0.5,)
    one.controls["sampler"].value = ("rho",)
    one.run()
    until(lambda: not one.training)
    until(lambda: "presample=10" in one.messages["sampler"].value)
    assert "b00020" in one.messages["sampler"].value  # in red
    assert not one.run_button.disabled
    assert not list(tmp_path.glob("outputs/*/*/params.yaml"))
    one.controls["sampler"].value = ("scan",)
    until(lambda: one.messages["sampler"].value == "")
    one.controls["model"].value = "mlp(widht=3)"
    until(lambda: "has the unknown option" in one.messages["model"].value)
    one.controls["model"].value = "mlp(width=3)"
    until(lambda: one.messages["model"].value == "")


def test_before_run_it_says_what_run_would_do(shown):
    one = panel(sampler=["sgd", "scan"], seeds=2)
    one.start()
    until(lambda: re.search(r"4 runs, none is there, about \d+ \w+ on this machine", one.plan.value))
    one.run()
    one.thread.join(120)
    until(lambda: "4 runs: all there" in one.plan.value)
    one.controls["seeds"].value = 3
    until(lambda: re.search(r"6 runs, 4 are there, about .* on this machine", one.plan.value))


def test_a_cell_that_is_run_again_shows_the_same_panel_and_its_training(shown):
    one = panel(epochs=300, sampler=["unif", "scan"])
    one.start()
    one.show(plots.table)
    one.controls["seeds"].value = 2
    one.run()
    again = panel(epochs=300, sampler=["unif", "scan"])
    assert again is one
    again.start()
    again.show(plots.table)
    again.run()  # no second training
    assert shown[0] is shown[3]
    assert shown[2] is shown[5]  # the same view, drawn once
    assert len(one.views) == 1
    other = panel(epochs=200, sampler=["unif", "scan"])
    assert other is one
    assert "press Stop, then run this cell again" in one.message.value
    one.stop()
    until(lambda: not one.training)
    other = panel(epochs=200, sampler=["unif", "scan"])
    assert other is not one
    assert other.controls["epochs"].value == 200
    assert one.closed


def test_workers_start_with_the_panel_and_stay(shown):
    one = panel(sampler=["scan"])
    one.start()
    until(lambda: pools.free and pools.free[0].workers)
    [pool] = pools.free
    processes = [worker.process.pid for worker in pool.workers]
    for seeds in (1, 2):
        one.controls["seeds"].value = seeds
        one.run()
        one.thread.join(120)
        assert f"finished ({seeds} of {seeds} runs" in one.message.value
    assert pools.free == [pool]
    assert processes[0] in [worker.process.pid for worker in pool.workers]


def test_two_panels_of_one_kernel_train_at_once(shown):
    both = [panel(study=study, epochs=100) for study in ("w", "v")]
    for one in both:
        one.run()
    for one in both:
        one.thread.join(120)
        assert "finished (2 of 2 runs" in one.message.value
    assert len(pools.free) == 2


def test_a_stop_while_workers_start_is_one_sentence_and_the_next_run_works(shown):
    one = panel(sampler=["scan"])
    one.run()
    one.stop()
    until(lambda: not one.training)
    assert "stopped: Run goes on from here (0 of 1 runs" in one.message.value
    one.run()
    one.thread.join(120)
    assert "finished (1 of 1 runs" in one.message.value


def test_a_view_that_cannot_be_drawn_says_so_in_its_place_and_the_others_go_on(shown):
    def broken(frame):
        raise OSError("No space left on device")

    one = panel(sampler=["scan"])
    one.start()
    one.show(broken)
    one.show(plots.table)
    one.run()
    one.thread.join(120)
    failed, table = shown[2:]
    assert failed.children[-1].outputs[0]["evalue"] == "No space left on device"
    assert "<table" in text(table)
    assert "finished (1 of 1 runs" in one.message.value


def test_results_that_cannot_be_read_end_no_training(shown, monkeypatch):
    one = panel(sampler=["scan"])
    one.start()

    def full(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(panels, "results", full)
    one.run()
    one.thread.join(120)
    assert "finished (1 of 1 runs" in one.message.value
    assert not one.run_button.disabled


def test_a_data_set_that_vanished_is_named_and_the_panel_goes_on(shown, tmp_path):
    one = panel(sampler=["scan"])
    one.start()
    one.controls["dataset"].value = "imagefolder(path='gone')"
    one.run()
    until(lambda: not one.training)
    assert "gone" in one.message.value
    assert "b00020" in one.message.value
    until(lambda: "gone" in one.messages["dataset"].value)
    one.controls["dataset"].value = TINY["dataset"]
    one.run()
    one.thread.join(120)
    assert "finished (1 of 1 runs" in one.message.value


def test_one_run_takes_sgds_budget_as_given_and_refuses_it(shown):
    settings = {**TINY, "sampler": "unif", "budget": 0.5, "augment": "standard"}
    del settings["seeds"]
    one = widgets.run_panel(settings)
    one.controls["sampler"].value = "sgd"
    one.run()
    assert one.thread is None
    assert "use scan" in one.message.value


def test_stop_is_prompt_and_what_was_done_is_kept(shown, tmp_path):
    one = panel(epochs=200, sampler=["unif", "scan"])
    one.start()
    one.run()
    until(lambda: one.bar.value > 0)
    one.stop()
    until(lambda: not one.training)
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
            assert {trace.name for trace in figure.data} >= {"sgd · SGD, full run"} or len(part) == 1
        for make in (runs.curves, runs.costs, runs.sample_counts):
            assert make(part).data
        assert "<img" in gallery.trained(part, gallery.choosers(part)[0]).data
        assert "<table" in plots.table(part).to_html()
    styles = plots.dashes(["p", "p(smooth=False)", "unif"])
    assert styles["p"] != styles["p(smooth=False)"]
    assert plots.color("p") == plots.color("p(smooth=False)") != plots.color("unif")
