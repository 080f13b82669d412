"""A study watched from a notebook: how it stands and its accuracy so far, drawn anew every few seconds."""

import threading

import ipywidgets as ipw
import pandas as pd
from IPython.display import HTML, display

from iskit.inputs import typed
from iskit.pages.notebook import hands
from iskit.study.archive import over_seeds, told_apart_by
from iskit.study.status import standing
from iskit.views.tables import headline, open_runs


def watch(study: str, seconds: float = 5.0) -> None:
    """Shows how a study stands: done, running, stopped, failed, missing; time left; accuracy so far by arm.

    In JupyterLab the view follows the study's folder, whoever trains there and on whichever machine, every so many
    seconds until all is done or Stop is pressed; in batch it is a plain table. InputError for an unknown study.
    """
    seconds = max(0.5, typed("seconds", seconds, float))
    text, done = _view(study)
    if done or not hands():
        display(HTML(text))
        return
    output, button, stop = ipw.HTML(text), ipw.Button(description="Stop", icon="stop"), threading.Event()
    button.on_click(lambda _: stop.set())

    def follow() -> None:
        over = False
        while not over and not stop.wait(seconds):
            try:
                output.value, over = _view(study)
            except Exception as error:  # a thread's traceback would be seen by nobody
                output.value, over = f"{type(error).__name__}: {error}", True
        button.disabled = True

    display(ipw.VBox([button, output]))
    threading.Thread(target=follow, daemon=True).start()


def _view(study: str) -> tuple[str, bool]:
    """HTML, and whether nothing is left to train."""
    now = standing(study)
    parts = [pd.DataFrame({"": [headline(now)]}).to_html(index=False, border=0)]
    if len(begun := open_runs(now)):
        parts.append(begun.to_html(index=False))
    if len(now.finished):
        arms = over_seeds(now.finished)
        names = list(dict.fromkeys(["augment", "sampler", "budget", *told_apart_by(now.finished)]))
        columns = [*names, "accuracy", "deviation", "seeds", "seconds"]
        parts.append(arms[columns].to_html(index=False, float_format="{:.4g}".format, na_rep=""))
    return "\n".join(parts), now.left == 0
