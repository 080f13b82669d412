"""A panel for notebooks: choose, run in the background, watch, stop. Without hands (in batch) it just runs."""

import threading
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from functools import partial
from html import escape
from pathlib import Path
from typing import Any, TypeAlias

import ipywidgets as ipw
import pandas as pd
from IPython.display import HTML, display

from iskit import files
from iskit.pages import live, page, pools
from iskit.pages.chooser import Steps, View, choose, chooser, fill
from iskit.pages.controls import ROW, Chips, fold, wrong
from iskit.pages.notebook import hands, served
from iskit.pages.saved import APART
from iskit.runs.experiment import Experiment
from iskit.runs.grid import grid
from iskit.runs.run import Run
from iskit.study.archive import results
from iskit.study.rehearsal import Rehearsal
from iskit.study.sweep import Sweep

REDRAW_SECONDS = 1.0
LOOK_SECONDS = 2.0  # whether the notebook was saved
PAUSE = 2  # times as long as drawing took: the same cores train
Expand: TypeAlias = Callable[[Mapping[str, Any]], list[Experiment]]
LATER = (
    "Do the controls do nothing, or is there a broken link in their place (the kernel was restarted, or the notebook "
    "opened anew)? Choose <b>Run &#9656; Run All Cells</b>: what was trained is kept."
)


class Panel:
    """Settings that people can change, Run, Stop and Save page, and views that follow the results.

        panel = Panel(settings, {"sampler": sampler_chips(...), ...})
        panel.start()                            # shows the controls; in batch: trains what the settings say
        panel.show(plots.accuracy_by_budget)     # a figure of the finished runs, drawn anew as runs finish

    settings: as for `iskit.grid`; expand: from settings to experiments, InputError for what cannot work; controls: a
    widget for each setting that may be changed, holding its value; more: those that are folded away.
    """

    def __init__(
        self,
        settings: Mapping[str, Any],
        controls: Mapping[str, ipw.ValueWidget],
        more: Mapping[str, ipw.ValueWidget] | None = None,
        expand: Expand = grid,
    ):
        self.settings, self.expand = dict(settings), expand
        self.controls = {**controls, **(more or {})}
        self.hands = hands()
        self.experiments = expand(self.chosen())
        self.frame = pd.DataFrame()
        self.views: dict[Any, tuple[ipw.Widget, Callable[[], None]]] = {}
        self.sweep: Sweep | None = None
        self.thread: threading.Thread | None = None
        self.training = False
        self.under_way: dict[Experiment, list[tuple[float, float]]] = {}
        self.drawn = 0  # finished runs that the views show
        self.closed = False
        self.begun = False
        self.asked = threading.Event()  # the controls have changed
        self.rehearsal = Rehearsal()
        self.run_button = ipw.Button(description="Run", button_style="primary", icon="play", tooltip="train these runs")
        self.stop_button = ipw.Button(
            description="Stop", icon="stop", disabled=True, tooltip="end early; what is done is kept"
        )
        self.save_button = ipw.Button(
            description="Save page", icon="save", tooltip="write this notebook with its figures as one HTML file"
        )
        self.bar = ipw.FloatProgress(min=0, max=1, layout=ipw.Layout(width="220px"))
        self.plan, self.message, self.unsaved = ipw.HTML(), ipw.HTML(), ipw.HTML()
        self.live = ipw.Output()
        self.messages = {
            name: widget.message if isinstance(widget, Chips) else ipw.HTML() for name, widget in self.controls.items()
        }
        shown, folded = ([self._with_message(*item) for item in some.items()] for some in (controls, more or {}))
        buttons = ipw.HBox([self.run_button, self.stop_button, self.save_button, self.bar], layout=ROW)
        told = [self.message, self.unsaved, self.live]
        self.box = ipw.VBox([*shown, *fold(folded, more or {}), self.plan, buttons, *told])
        self.box.add_class(APART)
        self.run_button.on_click(lambda _: self.run())
        self.stop_button.on_click(lambda _: self.stop())
        self.save_button.on_click(lambda _: self.save())
        for widget in self.controls.values():
            widget.observe(lambda _: self.asked.set(), "value")

    def _with_message(self, name: str, widget: ipw.Widget) -> ipw.Widget:
        return widget if isinstance(widget, Chips) else ipw.VBox([widget, self.messages[name]])

    def chosen(self) -> dict[str, Any]:
        """The settings with what the controls say now."""
        values = {name: widget.value for name, widget in self.controls.items()}
        return {**self.settings, **{k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}}

    def start(self) -> None:
        if not self.hands:
            pools.in_batch(self.experiments)
            self._read()
            return
        display(self.box)
        if served():
            self.save_button.layout.display = "none"
        else:  # no widget, for it is to stay when the kernel of the widgets is gone
            display(HTML(f'<small class="{APART}" style="opacity:.7">{LATER}</small>'))
        if self.begun:  # shown once more
            return
        self.begun = True
        self._read()
        self.asked.set()
        for work in (self._count, self._warm, self._remind):
            threading.Thread(target=work, daemon=True).start()

    def run(self) -> None:
        """Trains the chosen runs in the background; what cannot work is said at the control."""
        if self.training:
            return
        try:
            self.experiments = self.expand(self.chosen())
        except ValueError as error:
            self._refuse(error)
            self._say(str(error), wrong=True)
            return
        self.sweep = Sweep(self.experiments)
        self.run_button.disabled, self.stop_button.disabled = True, False
        self.bar.value, self.bar.bar_style = 0.0, ""
        self._say("starting")
        self.training = True
        self.thread = threading.Thread(target=self._follow, args=(self.sweep,), daemon=True)
        self.thread.start()

    def stop(self) -> None:
        if self.sweep and self.training:
            self.sweep.stop()
            waits = f"{len(self.under_way)} runs end their step and are saved" if self.under_way else "nothing is lost"
            self._say(f"stopping: {waits}")

    def save(self) -> None:
        """Writes the page as it is now, beside the runs."""
        try:
            path, text = page.save(files.root() / "outputs" / self.experiments[0].study, self.box.model_id)
        except (ValueError, OSError) as error:
            self._say(str(error), wrong=True)
        else:
            shown = path.relative_to(files.root()) if path.is_relative_to(files.root()) else path
            self._say(f"wrote {shown}: the figures of now, the text as saved at {text}")

    def show(self, make: Callable[..., View], **choices: Callable[[pd.DataFrame], list[Any]] | Steps) -> None:
        """Shows `make(results, **choice)`, drawn anew as runs finish.

        choices: as in `choose`, but functions of the results: one may choose among what was trained.
        """
        made = partial(self.view, make)
        of_results = {
            name: values if isinstance(values, Steps) else partial(self._choices, values)
            for name, values in choices.items()
        }
        if not self.hands:
            choose(made, **of_results)
            return
        # A cell that is run again makes its functions anew, of the same code.
        of = (getattr(make, "__self__", None), getattr(make, "__code__", make))
        key = (*of, *((name, getattr(v, "__code__", v)) for name, v in choices.items()))
        if key not in self.views:
            self.views[key] = chooser(made, of_results)
        display(self.views[key][0])

    @property
    def runs(self) -> pd.DataFrame:
        """The finished runs that the views are of."""
        return self.frame

    def view(self, make: Callable[..., View], **chosen: Any) -> View | str:
        """What `show` shows now."""
        return make(self.runs, **chosen) if len(self.runs) else "Nothing trained yet: press Run above."

    def close(self) -> None:
        """Another takes its place."""
        self.closed = True
        self.asked.set()

    def _choices(self, values: Callable[[pd.DataFrame], list[Any]]) -> list[Any]:
        return values(self.runs) if len(self.runs) else []

    def _follow(self, sweep: Sweep) -> None:
        started = time.monotonic()
        progress = [0.0] * len(sweep.experiments)
        done: set[int] = set()
        over, refused, self.drawn = threading.Event(), False, -1
        artist = threading.Thread(target=self._draw_along, args=(done, over), daemon=True)
        artist.start()
        try:
            with pools.borrowed() as sweep.pool:
                if not pools.ready(sweep.pool):
                    self._say("starting workers")
                for news in sweep:
                    e = sweep.experiments[news.number]
                    progress[news.number] = news.t
                    if news.finished or news.error:
                        done.add(news.number)
                        self.under_way.pop(e, None)
                    else:
                        points = self.under_way.setdefault(e, [])
                        if news.accuracy is not None:
                            points.append((news.t, news.accuracy))
                    self.bar.value = sum(progress) / len(progress)
                    if not sweep.stopped:
                        finished = len(done) - len(sweep.failed)
                        self._say(f"{finished} of {len(progress)} runs, {time.monotonic() - started:.0f} s")
            finished = len(done) - len(sweep.failed)
            word = "stopped: Run goes on from here" if len(done) < len(progress) else "finished"
            if sweep.failed:
                word = f"{len(sweep.failed)} failed: {next(iter(sweep.failed.values()))}; {word}"
            word += f" ({finished} of {len(progress)} runs, {time.monotonic() - started:.0f} s)"
            bad, self.bar.bar_style = bool(sweep.failed), "success" if finished == len(progress) else "warning"
        except ValueError as error:
            self.bar.bar_style = "danger"
            self._refuse(error)
            word, bad, refused = str(error), True, True
        except Exception as error:  # a thread's traceback would be seen by nobody
            self.bar.bar_style = "danger"
            word, bad = f"{type(error).__name__}: {error}", True
        over.set()
        artist.join()
        self.under_way.clear()
        self._draw(read=len(done) > self.drawn)
        self.run_button.disabled, self.stop_button.disabled = False, True
        self._say(word, bad)
        self.training = False
        if not refused:
            self.asked.set()

    def _draw_along(self, done: Collection[int], over: threading.Event) -> None:
        pause = 0.0
        while not over.wait(max(REDRAW_SECONDS, pause)):
            began, new = time.monotonic(), len(done) > self.drawn
            if new or any(list(self.under_way.values())):
                self.drawn = len(done)
                self._draw(read=new)
            pause = PAUSE * (time.monotonic() - began)

    def _draw(self, read: bool) -> None:
        """What is under way, and with `read` the results as they are now, in all views; what fails ends no training."""
        try:
            if read:
                self._read()
            under_way = {e: list(points) for e, points in list(self.under_way.items()) if points}
            if under_way or len(self.frame):
                fill(self.live, live.filling(self.frame, under_way, self.experiments))
        except Exception as error:
            self._say(f"the figures cannot be drawn: {error}", wrong=True)

    def _count(self) -> None:
        """Says what Run would do, whenever the controls have changed."""
        while not self.closed:
            self.asked.wait()
            self.asked.clear()
            try:
                for message in self.messages.values():
                    message.value = ""
                self._tell(self.expand(self.chosen()))
            except ValueError as error:
                self._refuse(error)
            except Exception as error:  # a thread's traceback would be seen by nobody
                self.plan.value = wrong(f"{type(error).__name__}: {error}")

    def _tell(self, experiments: list[Experiment]) -> None:
        frame = self.frame if experiments == self.experiments else results(experiments[0].study)
        text, left = live.would_train(experiments, frame)
        self.plan.value = text
        if not left or self.training or self.asked.is_set():
            return
        long, why = live.time_of(left, results(experiments[0].study), self.rehearsal)
        if not self.asked.is_set():
            self.plan.value = f'<span title="{escape(why)}">{text}, {long}</span>'

    def _refuse(self, error: ValueError) -> None:
        """At the control that the message names first."""
        name = str(error).replace("=", " ").split()[0]
        if name in self.messages:
            self.messages[name].value = wrong(error)
            self.plan.value = "this cannot be trained"
        else:
            self.plan.value = wrong(error)

    def _warm(self) -> None:
        with suppress(Exception), pools.borrowed() as pool:  # whatever it is, Run meets it again and says it
            pool.fill(len(self.experiments))

    def _remind(self) -> None:
        path = page.notebook_path()
        while path and not self.closed and not page.holds(path, self.box.model_id):
            self.unsaved.value = (
                "<small>Not saved yet: press Ctrl+S, and the panel outlives a reload of the page.</small>"
            )
            time.sleep(LOOK_SECONDS)
        self.unsaved.value = ""

    def _read(self) -> None:
        """The results of the chosen runs, and the views of them."""
        names = [Run(experiment).path.name for experiment in self.experiments]
        found = results(self.experiments[0].study)
        if len(found):  # in the order chosen, which the legends follow
            found = found.assign(name=[Path(path).name for path in found["path"]]).set_index("name")
            found = found.loc[[name for name in names if name in found.index]].reset_index(drop=True)
        self.frame = found
        self.renew()

    def renew(self) -> None:
        """Draws all views anew."""
        for _, renew in list(self.views.values()):
            renew()

    def _say(self, text: str, wrong: bool = False) -> None:
        self.message.value = f'<span style="color:{"#b00020" if wrong else "inherit"}">{escape(text)}</span>'
