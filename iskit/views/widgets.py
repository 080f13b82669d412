"""Controls for notebooks: choose, run in the background, watch, stop. Without hands (in batch) it just runs."""

import json
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from html import escape
from typing import Any, TypeAlias

import ipywidgets as ipw
import pandas as pd
import plotly.graph_objects as go
from IPython.display import display
from pandas.io.formats.style import Styler

from iskit.augment import augments
from iskit.samplers import samplers
from iskit.study.archive import results
from iskit.study.experiment import Experiment
from iskit.study.grid import grid
from iskit.study.run import Run
from iskit.study.sweep import Sweep
from iskit.views import plots
from iskit.views.notebook import hands

REDRAW_SECONDS = 0.7
Expand: TypeAlias = Callable[[Mapping[str, Any]], list[Experiment]]
View: TypeAlias = go.Figure | Styler
WIDE = ipw.Layout(width="330px")


class Panel:
    """Settings that people can change, a Run and a Stop button, and views that follow the results.

        panel = Panel(settings, sampler=several("samplers", ...), ...)
        panel.start()                            # shows the controls; in batch: trains what the settings say
        panel.show(plots.accuracy_by_budget)     # a figure of the finished runs, drawn anew after every training

    settings: as for `iskit.grid`; expand: from settings to experiments, InputError for what cannot work; controls: a
    widget for each setting that may be changed, holding its value.
    """

    def __init__(self, settings: Mapping[str, Any], expand: Expand = grid, **controls: ipw.ValueWidget):
        self.settings, self.expand, self.controls = dict(settings), expand, controls
        self.hands = hands()
        self.experiments = expand(self.chosen())
        self.frame = pd.DataFrame()
        self.views: list[Callable[[], None]] = []
        self.sweep: Sweep | None = None
        self.thread: threading.Thread | None = None
        self.run_button = ipw.Button(description="Run", button_style="primary", icon="play")
        self.stop_button = ipw.Button(description="Stop", icon="stop", disabled=True)
        self.bar = ipw.FloatProgress(min=0, max=1, layout=ipw.Layout(width="320px"))
        self.message = ipw.HTML()
        self.live = ipw.Output()
        self.run_button.on_click(lambda _: self.run())
        self.stop_button.on_click(lambda _: self.stop())

    def chosen(self) -> dict[str, Any]:
        """The settings with what the controls say now."""
        values = {name: widget.value for name, widget in self.controls.items()}
        return {**self.settings, **{k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}}

    def start(self) -> None:
        if not self.hands:
            self._train_in_batch()
            return
        self._read()
        if len(self.frame):
            self._say(f"{len(self.frame)} of {len(self.experiments)} runs were trained before and are shown below.")
        buttons = ipw.HBox([self.run_button, self.stop_button, self.bar, self.message])
        controls = ipw.HBox(list(self.controls.values()), layout=ipw.Layout(flex_flow="row wrap"))
        display(ipw.VBox([controls, buttons, self.live]))

    def run(self) -> None:
        """Trains the chosen runs in the background; what cannot work is said beside the buttons."""
        try:
            self.experiments = self.expand(self.chosen())
        except ValueError as error:
            self._say(str(error), wrong=True)
            return
        self.sweep = Sweep(self.experiments)
        self.run_button.disabled, self.stop_button.disabled = True, False
        self.bar.value, self.bar.bar_style = 0.0, ""
        self._say("starting")
        self.thread = threading.Thread(target=self._follow, args=(self.sweep,), daemon=True)
        self.thread.start()

    def stop(self) -> None:
        if self.sweep:
            self.sweep.stop()
            self._say("stopping after the current steps")

    def show(self, make: Callable[..., View], **choices: Callable[[pd.DataFrame], list[Any]]) -> None:
        """Shows `make(results, **choice)`, drawn anew after every training.

        choices: as in `choose`, but functions of the results: one may choose among what was trained.
        """

        def made(**chosen: Any) -> View | str:
            return make(self.frame, **chosen) if len(self.frame) else "Nothing trained yet: press Run above."

        of_results = {name: partial(self._choices, values) for name, values in choices.items()}
        self.views.append(choose(made, **of_results))

    def _choices(self, values: Callable[[pd.DataFrame], list[Any]]) -> list[Any]:
        return values(self.frame) if len(self.frame) else []

    def _follow(self, sweep: Sweep) -> None:
        started, drawn = time.monotonic(), 0.0
        curves: dict[Experiment, list[tuple[float, float]]] = {}
        progress = [0.0] * len(sweep.experiments)
        finished = 0
        try:
            for news in sweep:
                progress[news.number] = news.t
                finished += news.finished
                if news.accuracy is not None and not news.finished:
                    curves.setdefault(sweep.experiments[news.number], []).append((news.t, news.accuracy))
                self.bar.value = sum(progress) / len(progress)
                if not sweep.stopped:
                    self._say(f"{finished} of {len(progress)} runs, {time.monotonic() - started:.0f} s")
                if curves and time.monotonic() - drawn > REDRAW_SECONDS:
                    _fill(self.live, plots.live(curves))
                    drawn = time.monotonic()
            if curves:
                _fill(self.live, plots.live(curves))
            self._read()
            left = len(progress) - finished - len(sweep.failed)
            word = "stopped: Run goes on from here" if left else "finished"
            if sweep.failed:
                word = f"{len(sweep.failed)} failed: {next(iter(sweep.failed.values()))}; {word}"
            took = f"{time.monotonic() - started:.0f} s"
            self._say(f"{word} ({finished} of {len(progress)} runs, {took})", wrong=bool(sweep.failed))
            self.bar.bar_style = "success" if finished == len(progress) else "warning"
        except Exception as error:  # a thread's traceback would be seen by nobody
            self.bar.bar_style = "danger"
            self._say(f"{type(error).__name__}: {error}", wrong=True)
        finally:
            self.run_button.disabled, self.stop_button.disabled = False, True

    def _train_in_batch(self) -> None:
        started, finished, said = time.monotonic(), 0, 0.0
        if len(self.experiments) == 1:  # no need for a process of its own
            Run(self.experiments[0]).train()
            finished = 1
        else:
            sweep = Sweep(self.experiments)
            for news in sweep:
                finished += news.finished
                if time.monotonic() - said > 5:
                    print(f"{finished} of {len(self.experiments)} runs, {time.monotonic() - started:.0f} s", flush=True)
                    said = time.monotonic()
            if sweep.failed:  # nobody is there to see it, so the notebook must not go on as if all were well
                reasons = "; ".join(sorted(set(sweep.failed.values())))
                raise RuntimeError(f"{len(sweep.failed)} of {len(self.experiments)} runs failed: {reasons}")
        print(f"{finished} of {len(self.experiments)} runs trained or found in {time.monotonic() - started:.0f} s")
        self._read()

    def _read(self) -> None:
        """The results of the chosen runs, and the views of them."""
        paths = [str(Run(experiment).path) for experiment in self.experiments]
        found = results(self.experiments[0].study)
        if len(found):  # in the order chosen, which the legends follow
            found = found.set_index("path").loc[[path for path in paths if path in set(found["path"])]].reset_index()
        self.frame = found
        for draw in self.views:
            draw()

    def _say(self, text: str, wrong: bool = False) -> None:
        self.message.value = f'<span style="color:{"#b00020" if wrong else "inherit"}">{escape(text)}</span>'


def choose(make: Callable[..., View | str], **choices: Callable[[], list[Any]]) -> Callable[[], None]:
    """Shows `make(**choice)`: a dropdown for each choice; without hands what their first values make.

    choices: functions that give the values to choose from. Returns a function that asks them again and draws anew.
    """
    if not hands():
        display(make(**{name: values()[0] for name, values in choices.items()}))
        return lambda: None
    output = ipw.Output()
    dropdowns = {name: ipw.Dropdown(description=name) for name in choices}

    def draw(_: Any = None) -> None:
        if any(widget.options and widget.value is None for widget in dropdowns.values()):
            return  # a dropdown that is given new options has no value for a moment
        _fill(output, make(**{name: widget.value for name, widget in dropdowns.items()}))

    def renew() -> None:
        for name, values in choices.items():
            options = tuple(values())
            if options != dropdowns[name].options:
                kept = dropdowns[name].value
                dropdowns[name].options = options
                dropdowns[name].value = kept if kept in options else next(iter(options), None)
        draw()

    renew()
    for widget in dropdowns.values():
        widget.observe(draw, "value")
    display(ipw.VBox([*dropdowns.values(), output]))
    return renew


def grid_panel(settings: Mapping[str, Any]) -> Panel:
    """A panel for many runs: several samplers, budgets and augmentations at once."""
    return Panel(
        settings,
        sampler=_several("samplers", list(samplers), settings["sampler"]),
        budget=_several("budgets", [0.05, 0.1, 0.2, 0.3, 0.5, 0.7], settings["budget"]),
        augment=_several("augment", _looks(), settings["augment"]),
        epochs=ipw.IntSlider(settings["epochs"], 5, 200, 5, description="epochs", layout=WIDE),
        seeds=ipw.IntSlider(settings["seeds"], 1, 5, description="seeds", layout=WIDE),
    )


def single(settings: Mapping[str, Any]) -> list[Experiment]:
    """The one experiment of these settings, as a list. Unlike a grid it takes sgd's budget as given, and refuses it."""
    experiment = Experiment.parse(settings)
    Run(experiment)
    return [experiment]


def run_panel(settings: Mapping[str, Any]) -> Panel:
    """A panel for one run."""
    return Panel(
        settings,
        single,
        sampler=_one("sampler", list(samplers), settings["sampler"]),
        augment=_one("augment", _looks(), settings["augment"]),
        budget=ipw.BoundedFloatText(
            settings["budget"], min=0, max=1e6, step=0.05, description="budget", layout=ipw.Layout(width="180px")
        ),
    )


def _looks() -> list[str]:
    """None, the standard one, and every other beside it, in the order that the other's source has them."""
    others = [name for name in augments if name not in ("none", "standard")]
    both = (f"{name}|standard" if augments.create(name).before_crop else f"standard|{name}" for name in others)
    return ["none", "standard", *both]


def _several(title: str, options: list[Any], chosen: Any) -> ipw.SelectMultiple:
    chosen = list(chosen) if isinstance(chosen, list | tuple) else [chosen]
    options = list(dict.fromkeys([*options, *chosen]))
    return ipw.SelectMultiple(options=options, value=chosen, rows=min(6, len(options)), description=title, layout=WIDE)


def _one(title: str, options: list[Any], chosen: Any) -> ipw.Dropdown:
    return ipw.Dropdown(options=list(dict.fromkeys([*options, chosen])), value=chosen, description=title, layout=WIDE)


def _fill(output: ipw.Output, content: View | str) -> None:
    """Replaces what an output shows. Set as data: capturing prints does not work from a thread."""
    if isinstance(content, str):
        data: dict[str, Any] = {"text/plain": content}
    elif isinstance(content, Styler):
        data = {"text/html": content.to_html(), "text/plain": "table"}
    else:
        data = {"application/vnd.plotly.v1+json": json.loads(content.to_json()), "text/plain": "figure"}
    output.outputs = ({"output_type": "display_data", "data": data, "metadata": {}},)
