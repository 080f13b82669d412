"""The panels of the notebooks: of many runs, of one. A kernel has one a study: a cell run again finds it."""

from collections.abc import Callable, Mapping
from typing import Any

import ipywidgets as ipw

from iskit.pages.controls import augment_chips, budget_chips, more_controls, sampler_chips
from iskit.pages.panel import Panel
from iskit.runs.experiment import Experiment
from iskit.runs.run import Run

_panels: dict[tuple[str, str], Panel] = {}  # that this kernel shows


def attached(face: str, settings: Mapping[str, Any], make: Callable[[], Panel]) -> Panel:
    """The panel that this kernel has for the study, as long as it trains or has these settings; else a new one."""
    key = (face, settings.get("study", Experiment().study))
    panel = _panels.get(key)
    if panel and panel.training and panel.settings != settings:
        panel._say(
            "earlier settings are trained still: press Stop, then run this cell again for the new ones", wrong=True
        )
        return panel
    if panel and (panel.training or panel.settings == settings):
        return panel
    made = make()
    if panel:
        panel.close()
    if made.hands:
        _panels[key] = made
    return made


def grid_panel(settings: Mapping[str, Any]) -> Panel:
    """A panel for many runs: several samplers, budgets and augmentations at once. The one that this kernel has of the
    study, if it trains or has these settings: a cell that is run again starts no second training."""
    return attached("grid", settings, lambda: _grid_panel(settings))


def _grid_panel(settings: Mapping[str, Any]) -> Panel:
    return Panel(settings, grid_controls(settings), more_controls(settings))


def grid_controls(settings: Mapping[str, Any]) -> dict[str, ipw.ValueWidget]:
    """Of the settings of which many runs may have several values."""
    return {
        "sampler": sampler_chips(settings["sampler"]),
        "budget": budget_chips(settings["budget"], settings.get("unit", "backward")),
        "augment": augment_chips(settings["augment"]),
    }


def single(settings: Mapping[str, Any]) -> list[Experiment]:
    """The one experiment of these settings, as a list. Unlike a grid it takes sgd's budget as given, and refuses it."""
    experiment = Experiment.parse(settings)
    Run(experiment)
    return [experiment]


def run_panel(settings: Mapping[str, Any]) -> Panel:
    """A panel for one run; as with `grid_panel` the one that this kernel has."""
    return attached("run", settings, lambda: _run_panel(settings))


def _run_panel(settings: Mapping[str, Any]) -> Panel:
    budget = ipw.BoundedFloatText(
        settings["budget"], min=0, max=1e6, step=0.05, description="budget", layout=ipw.Layout(width="180px")
    )
    controls = {
        "sampler": sampler_chips(settings["sampler"], one=True),
        "augment": augment_chips(settings["augment"], one=True),
        "budget": budget,
    }
    return Panel(settings, controls, more_controls(settings), single)
