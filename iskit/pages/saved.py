"""What a notebook's widgets show, out of the state of them that was saved with it, or that a kernel holds now."""

from collections.abc import Iterator, Mapping
from typing import Any

from iskit.errors import InputError

APART = "iskit-panel"  # class of what is for hands alone, and no part of what a page tells
STATE = "application/vnd.jupyter.widget-state+json"
VIEW = "application/vnd.jupyter.widget-view+json"
FIGURES = ("application/vnd.plotly.v1+json", "text/html", "image/png", "image/svg+xml", "image/jpeg")


def show_widgets(nb: Any) -> None:
    """Puts what its `Output` widgets show in place of the widgets, in a notebook as nbformat read it.

    InputError if it then holds no figure or table at all: a page of it would be empty.
    """
    state = nb.metadata.get("widgets", {}).get(STATE, {}).get("state", {})
    lost = False
    for cell in nb.cells:
        outputs = []
        for output in cell.get("outputs", []):
            model = output.get("data", {}).get(VIEW, {}).get("model_id")
            if f'class="{APART}"' in output.get("data", {}).get("text/html", ""):
                continue
            lost |= model is not None and model not in state
            outputs += [output] if model is None else _shown(model, state)
        if "outputs" in cell:
            cell.outputs = outputs
    nb.metadata.pop("widgets", None)
    if any(
        kind in output.get("data", {}) for cell in nb.cells for output in cell.get("outputs", []) for kind in FIGURES
    ):
        return
    if lost:
        raise InputError(
            "the notebook holds no figures: it was saved without the state of its widgets. Press Save page in it, or "
            "open it by make lab, which keeps them"
        )
    raise InputError("the notebook holds no figures: execute it by papermill, or press Run in it and save it")


def _shown(model: str, state: Mapping[str, Any]) -> list[Any]:
    from nbformat import from_dict  # only here: a kernel need not wait for it, see `iskit.pages.page.save`

    return [from_dict(output) for one in _outputs(model, state) for output in one]


def _outputs(model: str, state: Mapping[str, Any]) -> Iterator[list[Any]]:
    """Of the `Output` widgets in this widget, itself among them, but for what stands apart."""
    about = state.get(model, {})
    held = about.get("state", {})
    if APART in held.get("_dom_classes", []):
        return
    if about.get("model_name") == "OutputModel":
        yield held.get("outputs", [])
    for child in held.get("children", []):
        yield from _outputs(child.removeprefix("IPY_MODEL_"), state)
