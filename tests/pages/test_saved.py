"""What widgets show, read out of a saved notebook; and the copies in which people work."""

import json

import nbformat
import plotly.graph_objects as go
import pytest
from jupyter_server.services.contents.filemanager import FileContentsManager

import iskit
from iskit.pages import copies, page
from iskit.pages.report import report
from iskit.pages.saved import APART, STATE, VIEW, keep_shown, show_widgets

PLOTLY = "application/vnd.plotly.v1+json"


def output(data):
    return {"output_type": "display_data", "data": data, "metadata": {}}


def figure(title):
    return output({PLOTLY: json.loads(go.Figure(go.Scatter(y=[1, 2]), layout={"title": title}).to_json())})


def notebook(state, *views):
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# A page")])
    for view in views:
        cell = nbformat.v4.new_code_cell("show()")
        cell.outputs = [nbformat.from_dict(output({VIEW: {"model_id": view}, "text/plain": "VBox(children=..."}))]
        nb.cells.append(cell)
    if state is not None:
        nb.metadata["widgets"] = {STATE: {"version_major": 2, "version_minor": 0, "state": state}}
    return nb


def model(name, **state):
    return {"model_name": name, "model_module": "m", "model_module_version": "2.0.0", "state": state}


STATES = {
    "panel": model("VBoxModel", children=["IPY_MODEL_live"], _dom_classes=[APART]),
    "live": model("OutputModel", outputs=[figure("while training")]),
    "view": model("VBoxModel", children=["IPY_MODEL_choice", "IPY_MODEL_shown"]),
    "choice": model("DropdownModel"),
    "shown": model("OutputModel", outputs=[figure("in the end")]),
}


def test_a_view_becomes_what_it_shows_and_the_panel_nothing(tmp_path):
    nb = notebook(STATES, "panel", "view")
    note = nbformat.from_dict(output({"text/html": f'<small class="{APART}">of hands</small>'}))
    nb.cells[1].outputs.append(note)
    nbformat.write(nb, tmp_path / "in.ipynb")
    report(tmp_path / "in.ipynb", tmp_path / "out.html")
    written = (tmp_path / "out.html").read_text()
    assert "in the end" in written
    assert not any(word in written for word in ("while training", "of hands", "VBox("))


def saved_over(tmp_path, before, after):
    """The state that a server with our hook writes of `after`, over the file `before`."""
    if before is not None:
        (tmp_path / "one.ipynb").write_text(before if isinstance(before, str) else nbformat.writes(before))
    manager = FileContentsManager(root_dir=str(tmp_path))
    manager.register_pre_save_hook(keep_shown)
    manager.save({"type": "notebook", "format": "json", "content": after}, "/one.ipynb")
    return nbformat.read(tmp_path / "one.ipynb", 4).metadata.get("widgets", {}).get(STATE, {}).get("state")


def test_a_save_keeps_what_the_file_holds_of_widgets_that_it_still_shows(tmp_path):
    anew = {"shown": model("OutputModel", outputs=[figure("anew")])}
    state = saved_over(tmp_path, notebook(STATES, "panel", "view"), notebook(anew, "view"))
    assert state == {"view": STATES["view"], "choice": STATES["choice"], **anew}  # the panel is shown no more
    assert saved_over(tmp_path, notebook(STATES, "view"), notebook(None, "view")).keys() == {"view", "choice", "shown"}
    assert saved_over(tmp_path, notebook(STATES, "view"), notebook({})) == {}


@pytest.mark.parametrize("before", [None, "", "{", "[]", '{"metadata": {}}', notebook(None, "view")])
def test_a_file_without_widgets_takes_what_comes(tmp_path, before):
    assert saved_over(tmp_path, before, notebook(STATES, "view")) == STATES


@pytest.mark.parametrize(
    ("nb", "said"),
    [
        (notebook(None), "holds no figures: execute it by papermill, or press Run in it and save it"),
        (
            notebook(None, "view"),
            "saved without the state of its widgets. Press Save page in it, or open it by make lab",
        ),
        (notebook({"view": model("OutputModel", outputs=[])}, "view"), "holds no figures: execute it"),
        (notebook({"panel": STATES["panel"], "live": STATES["live"]}, "panel"), "holds no figures"),
    ],
)
def test_a_page_without_figures_is_refused(nb, said):
    with pytest.raises(iskit.InputError, match=said):
        show_widgets(nb)


def test_a_page_of_a_notebook_that_nobody_knows_or_saved_is_refused(tmp_path, monkeypatch):
    with pytest.raises(iskit.InputError, match="not known here"):
        page.save(tmp_path, "panel-7")
    nbformat.write(notebook(None, "other"), tmp_path / "in.ipynb")
    monkeypatch.setattr(page, "notebook_path", lambda: tmp_path / "in.ipynb")
    with pytest.raises(iskit.InputError, match=r"in\.ipynb is not saved yet with what it shows: press Ctrl\+S"):
        page.save(tmp_path, "panel-7")


@pytest.fixture
def sources(tmp_path):
    (tmp_path / "notebooks").mkdir()
    nb = notebook(STATES, "view")
    nbformat.write(nb, tmp_path / "notebooks" / "a.ipynb")
    return tmp_path / "notebooks"


def test_a_working_copy_is_its_owners(sources, tmp_path):
    target = tmp_path / "outputs" / "lab"
    assert copies.working_copies(sources, target) == [
        f"you work in copies: {target}/ (yours, and not under version control)"
    ]
    own = nbformat.read(target / "a.ipynb", 4)
    assert own.cells[1].outputs == []
    own.cells[1].source = "mine"
    nbformat.write(own, target / "a.ipynb")
    copies.working_copies(sources, target)
    assert nbformat.read(target / "a.ipynb", 4).cells[1].source == "mine"


def test_a_newer_source_is_told_and_the_copy_kept(sources, tmp_path):
    target = tmp_path / "outputs" / "lab"
    copies.working_copies(sources, target)
    (target / "a-1.ipynb").write_text("another")
    nb = nbformat.read(sources / "a.ipynb", 4)
    nb.cells[1].outputs = []  # as if it were opened in place: no change of the source
    nbformat.write(nb, sources / "a.ipynb")
    assert len(copies.working_copies(sources, target)) == 1
    nb.cells[1].source = "new()"
    nbformat.write(nb, sources / "a.ipynb")
    said = copies.working_copies(sources, target)
    assert (
        said[0]
        == f"{sources}/a.ipynb has changed since {target}/a.ipynb was made of it: yours is kept as {target}/a-2.ipynb"
    )
    assert nbformat.read(target / "a.ipynb", 4).cells[1].source == "new()"
    assert nbformat.read(target / "a-2.ipynb", 4).cells[1].source == "show()"


def test_what_is_served_holds_no_state(sources, tmp_path):
    copies.served_copies(sources, tmp_path / "app")
    nb = nbformat.read(tmp_path / "app" / "a.ipynb", 4)
    assert "widgets" not in nb.metadata
    assert all(cell.get("outputs", []) == [] for cell in nb.cells)
