"""A page's panel: views wait for the guess, shipped results stand in for own ones and say so, exercises."""

import shutil

import pandas as pd
import plotly.graph_objects as go
import pytest
from judged import runs, write

from iskit import files
from iskit.errors import InputError
from iskit.lessons import guess, lesson
from iskit.lessons.held import Held, Times, counted
from iskit.pages import panel as panels
from iskit.pages import pools, widgets
from iskit.runs.grid import grid
from iskit.runs.run import Run
from iskit.study.pack import pack
from iskit.study.packed import SHELF
from iskit.study.sweep import Sweep
from iskit.views import plots

SETTINGS = {
    **{"study": "own", "dataset": "digits(limit=60)", "model": "cnn(width=2)", "epochs": 2, "evals": 1, "seeds": 1},
    **{"sampler": ["unif", "p"], "budget": [0.5], "augment": ["standard"]},
}


@pytest.fixture(params=[True, False], ids=["hands", "batch"])
def hands(request, warm_workers, tmp_path, monkeypatch):
    """Whether somebody is there; an empty project."""
    monkeypatch.setenv("ISKIT_ROOT", str(tmp_path))
    for module in (panels, guess):
        monkeypatch.setattr(module, "hands", lambda: request.param)
        monkeypatch.setattr(module, "display", lambda _: None)
    monkeypatch.setattr(widgets, "_panels", {})
    monkeypatch.setattr(pools, "free", kept := [])
    monkeypatch.setattr(lesson, "display", lambda _: None)
    yield request.param
    for panel in widgets._panels.values():
        panel.close()
    for pool in kept:
        pool.close()


@pytest.fixture
def shipped(tmp_path_factory, tmp_path):
    """A packed study on the shelf of the project."""
    elsewhere = tmp_path_factory.mktemp("outputs")
    for experiment in grid({**SETTINGS, "study": "theirs", "seeds": 2}):
        Run(experiment, elsewhere).train()
    pack("theirs", tmp_path / "outputs" / SHELF / "theirs.zip", elsewhere)


def figure(frame: pd.DataFrame) -> go.Figure:
    return go.Figure(layout_title_text=f"{len(frame)} runs of {frame['study'].iloc[0]}")


def test_views_wait_for_the_guess_where_somebody_can_make_it(hands, shipped):
    page = lesson.begin(SETTINGS, {"study": "theirs"})
    page.ask("Better?")
    first = page.view(figure)
    if not hands:
        assert first.layout.title.text == "4 runs of theirs"
        return
    assert first == lesson.FIRST
    drawn = []
    page.views["one"] = (None, lambda: drawn.append(page.view(figure).layout.title.text))
    page.question.make(None)
    assert drawn == ["4 runs of theirs"]


def test_shipped_results_stand_in_until_there_are_own_ones_and_are_said_to_be_shipped(hands, shipped):
    page = lesson.begin(SETTINGS, {"study": ["absent", "theirs"], "sampler": ["unif-SGD"]})
    assert page.view(figure).layout.title.text == "2 runs of theirs"
    assert "shipped results, none of yours: theirs: 2 runs, 2 seeds" in page.view(figure).layout.title.subtitle.text
    above = page.view(Held("sampler", "unif").text)._repr_mimebundle_()["text/markdown"]
    assert above.startswith("*Shipped results, none of yours")
    list(Sweep(page.experiments))
    page._read()
    assert page.view(figure).layout.title.text == "2 runs of own"
    assert page.view(figure).layout.title.subtitle.text is None


def test_without_any_results_a_page_says_what_to_do(hands):
    page = lesson.begin(SETTINGS, {"study": "absent", "sampler": "unif"})
    assert page.view(figure) == lesson.FEW

    def refuse(frame):
        raise InputError("these runs have no budget")

    page.frame = runs({"unif": [1.0]})
    assert "These runs cannot be shown so: these runs have no budget." in page.view(refuse).data


def test_an_exercise_is_done_when_its_runs_are_there_and_its_solution_trains_them(hands, monkeypatch):
    said: list[str] = []
    monkeypatch.setattr(lesson, "display", lambda shown: said.append(shown.data))
    page = lesson.begin(SETTINGS)
    task = page.exercise(budget=[0.4], sampler=["unif"])
    assert "Not yet:** 0 of the 1 runs with `budget=[0.4]`, `sampler=['unif']`" in said[-1]
    if hands:
        task.solve(Held("sampler", "unif"))
        assert not task.frame.size  # a button trains, not the cell
        list(Sweep(task.experiments))
    else:
        task.solve(Held("sampler", "unif"))
        assert len(task.frame) == 1
    page.exercise(budget=[0.4], sampler=["unif"])
    assert "Done:** all 1 runs" in said[-1]
    shutil.rmtree(files.root() / "outputs" / "own")
    page.exercise(budget=[0.4], sampler=["unif"])
    assert "Not yet" in said[-1]  # by the runs, not by what was said


def schedules(linear: list[float], step: list[float]) -> pd.DataFrame:
    both = [runs({"unif": values}, schedule=name) for name, values in {"linear": linear, "step": step}.items()]
    return pd.concat(both, ignore_index=True).assign(path=[f"nowhere/{n}" for n in range(2 * len(step))])


def test_any_setting_may_be_held_against_one_of_its_values():
    base = [90.0, 91.0, 90.5, 90.2, 90.9, 91.1, 90.4, 90.6]
    held = Held("schedule", "step")
    better = schedules([one + 2 + number / 50 for number, one in enumerate(base)], base)
    assert held.came(better) == {"better": 1}
    assert "linear is better by 2.07 points" in held.sentence(better)
    assert held.came(schedules(base, base)) == {"no difference": 1}
    assert held.came(schedules(base[:2], [one - 1 for one in base[:2]])) == {"": 1}
    assert held.sentence(better[better["schedule"] == "step"]).startswith("No runs of step lie beside others")
    [bar] = [trace for trace in held.figure(better).data if trace.x]
    assert bar.x[0] == pytest.approx(2.07)
    assert counted([]) == {}


def test_a_guess_may_be_about_some_of_the_arms():
    frame = runs({"unif": [90.0] * 6, "p": [90.0] * 6, "p(control=True)": [80.0 + seed for seed in range(6)]})
    assert Held("sampler", "unif").came(frame) == {"no difference": 1, "worse": 1}
    assert Held("sampler", "unif", of=("p-SGD",)).came(frame) == {"no difference": 1}
    assert Held("sampler", "unif", of=("p(control=True)",)).came(frame) == {"worse": 1}


def test_what_runs_cost_is_a_multiple_of_what_uniform_draws_cost():
    seconds = [*[10.0, 11.0, 12.0, 10.0, 11.0, 12.0], *[16.0, 17.0, 18.5, 16.0, 17.0, 18.5]]
    frame = runs({"unif": [90.0] * 6, "p": [90.0] * 6}, training_seconds=seconds)
    assert Times("seconds", "p").came(frame) == {"up to twice": 1}
    assert "p-SGD 1.56 times" in Times("seconds", "p").sentence(frame)
    assert Times("seconds", "c").came(frame) == {}
    assert Times("seconds", "p").sentence(frame[frame["sampler"] == "p"]).startswith("No runs of unif")


def test_a_view_of_a_page_is_drawn_once_however_often_its_cell_is_run(hands, tmp_path):
    if not hands:
        return
    write(runs({"unif": [90.0]}), tmp_path / "outputs")
    page = lesson.begin(SETTINGS)
    for _ in range(2):
        page.show(Held("sampler", "unif").figure)
        page.show(Held("schedule", "step").figure)
        page.show(plots.table)
        page.answer(Held("sampler", "unif"))
    assert len(page.views) == 4
