"""What a notebook's widgets show, out of the state of them that was saved with it, or that a kernel holds now."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
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


def keep_shown(model: dict[str, Any], path: str, contents_manager: Any, **_: Any) -> None:
    """A Jupyter server's `pre_save_hook`: what a notebook's file holds of widgets that it shows is not lost with them.

    Trap: Lab writes the state of those widgets alone that a kernel holds now. A notebook opened again, its kernel
    gone, shows its figures, and its first autosave wrote them out of the file.

    model: the notebook to be saved, changed in place, as the contents API has it; path: its place under the server's
    root. A file that is no notebook, or none yet, is left as it comes.
    """
    content = model.get("content")
    if model.get("type") != "notebook" or not content:
        return
    try:
        text = (Path(contents_manager.root_dir) / path.strip("/")).read_text(encoding="utf-8")
        before = json.loads(text)["metadata"]["widgets"][STATE]
        held = before["state"]
    except (OSError, ValueError, KeyError, TypeError):
        return
    now = content["metadata"].setdefault("widgets", {}).setdefault(STATE, {**before, "state": {}})["state"]
    todo = [
        output.get("data", {}).get(VIEW, {}).get("model_id")
        for cell in content["cells"]
        for output in cell.get("outputs", [])
    ]
    while todo:
        if (one := todo.pop()) in held and one not in now:
            now[one] = held[one]
            todo += re.findall(r"IPY_MODEL_(\w+)", json.dumps(now[one]))
