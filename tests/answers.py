"""How soon a panel answers, on the quickstart: python tests/answers.py; prints seconds, the middle of three.

Without a browser: from the button's function to the widget's new text, in a kernel's process of its own. The first Run
is cold, if no worker has started yet; a study is new each time, as its threads are decided once.
"""

import os
import tempfile
import time
from pathlib import Path
from statistics import median

import nbformat

import iskit
from iskit.pages import panel as panels
from iskit.pages import widgets
from iskit.pages.notebook import assignments
from iskit.views import gallery, plots, verdict

ROOT = Path(__file__).parents[1]


def until(so) -> float:
    begun = time.monotonic()
    while not so():
        time.sleep(0.005)
    return time.monotonic() - begun


def panel(study: str, **settings) -> panels.Panel:
    notebook = nbformat.read(ROOT / "notebooks" / "00_quickstart.ipynb", 4)
    [cell] = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    one = widgets.grid_panel({**assignments(cell.source), "study": study, **settings})
    one.start()
    for make in (iskit.findings, verdict.differences, plots.accuracy_by_budget, plots.table, plots.accuracy_by_seconds):
        one.show(make)
    one.show(plots.entropy_by_budget)
    one.show(gallery.trained, sampler=gallery.choosers)
    return one


def said(one: panels.Panel, text: str):
    return lambda: text in one.message.value


def first_news(one: panels.Panel) -> float:
    one.run()
    return until(said(one, " s</span>"))


def main() -> None:
    panels.hands = lambda: True
    panels.display = lambda *_: None
    kinds: dict[str, list[float]] = {"first news, warm": [], "stop": [], "finished after the last run": []}
    one = panel("cold")
    print(f"first news, cold: {first_news(one):.2f} s")
    one.stop()
    until(lambda: not one.training)
    for number in range(3):
        one = panel(f"warm{number}")
        until(lambda one=one: "on this machine" in one.plan.value)
        kinds["first news, warm"].append(first_news(one))
        until(lambda one=one: len(one.frame) > 2)
        one.stop()
        kinds["stop"].append(until(lambda one=one: "stopped:" in one.message.value))
        one.controls["seeds"].value = 1
        one.run()
        total = len(one.experiments)
        until(said(one, f">{total} of {total} runs"))
        kinds["finished after the last run"].append(until(said(one, "finished (")))
    for kind, seconds in kinds.items():
        print(f"{kind}: {median(seconds):.2f} s, of {', '.join(f'{s:.2f}' for s in seconds)}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as project:
        os.environ["ISKIT_ROOT"] = project
        main()
