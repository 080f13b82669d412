"""Notebooks from outside: `report` writes a page, the engine's check passes, or one InputError of one line."""

import copy
import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import nbformat
import pytest
from campaign import campaign, result_or_one_line
from hypothesis import given
from hypothesis import strategies as st

from iskit.errors import InputError
from iskit.pages.papermill_engine import check
from iskit.pages.report import PLOTLY, report
from iskit.runs.experiment import Experiment, parameters_cell

WRONG = [None, 0, "x", [], {}, [0], {"x": 1}, True, "\ud800", "<script>", 1e308]


def notebook(cells=None, **metadata) -> dict:
    figure = {"data": [{"type": "scatter", "y": [1, 2]}], "layout": {}}
    shown = [
        {"output_type": "display_data", "data": {PLOTLY: figure}, "metadata": {}},
        {"output_type": "stream", "name": "stdout", "text": "hello"},
        {"output_type": "error", "ename": "E", "evalue": "e", "traceback": ["t"]},
    ]
    first = {"cell_type": "markdown", "id": "a", "metadata": {}, "source": "# A title"}
    code = {
        "cell_type": "code", "id": "b", "metadata": {"tags": ["parameters"]}, "source": parameters_cell(),
        "outputs": shown, "execution_count": 1,
    }  # fmt: skip
    about = {"iskit": {"settings": "experiment"}, "papermill": {"parameters": {}}, **metadata}
    return {"cells": cells or [first, code], "metadata": about, "nbformat": 4, "nbformat_minor": 5}


def places(value, path=()):
    """Of everything in a JSON value: the way to it."""
    yield path
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(inner, (*path, key))


def with_(value, path, wrong):
    if not path:
        return wrong
    value = copy.deepcopy(value)
    inner = value
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = wrong
    return value


PLACES = [path for path in places(notebook()) if path]
mutations = st.tuples(st.sampled_from(PLACES), st.sampled_from(WRONG))


@pytest.fixture(scope="module", autouse=True)
def project(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        root = tmp_path_factory.mktemp("project")
        patch.setenv("ISKIT_ROOT", str(root))
        patch.chdir(root)
        yield root


def reported(text: str) -> None:
    Path("in.ipynb").write_bytes(text.encode(errors="surrogatepass"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nbconvert's
        result_or_one_line(report, Path("in.ipynb"), Path("out.html"))
    assert not [path for path in Path().iterdir() if path.suffix == ".tmp"]


FOUND = {
    "empty": "",
    "a list": "[]",
    "null": "null",
    "no notebook": "{}",
    "no cells": '{"nbformat": 4, "nbformat_minor": 5, "metadata": {}}',
    "version 3": json.dumps({"nbformat": 3, "nbformat_minor": 0, "metadata": {}, "worksheets": [{"cells": [{}]}]}),
    "version 99": json.dumps({**notebook(), "nbformat": 99}),
    "version x": json.dumps({**notebook(), "nbformat": "x"}),
    "deep": "[" * 100_000,
    "digits": '{"nbformat": ' + "4" * 5000 + "}",
    "cut": json.dumps(notebook())[:300],
    "sources of numbers": json.dumps(notebook([{"cell_type": "markdown", "metadata": {}, "source": [1, 2]}])),
}


@pytest.mark.parametrize("text", FOUND.values(), ids=FOUND.keys())
def test_found_notebooks_are_refused_in_one_line(text):
    Path("out.html").unlink(missing_ok=True)
    reported(text)
    assert not Path("out.html").exists()


@pytest.mark.parametrize("path", PLACES, ids=lambda path: ".".join(map(str, path))[-40:])
def test_a_report_of_a_notebook_with_anything_wrong_in_one_place(path):
    for wrong in ([], "\ud800", {"x": 1}) if len(path) > 3 else WRONG[:3]:
        reported(json.dumps(with_(notebook(), path, wrong)))


@campaign
@given(st.lists(mutations, min_size=1, max_size=3))
def test_a_report_of_any_damaged_notebook_is_a_page_or_one_line(wrongs):
    value = notebook()
    for path, wrong in wrongs:
        try:
            value = with_(value, path, wrong)
        except (KeyError, TypeError, IndexError):  # a place that the last mutation took away
            continue
    reported(json.dumps(value))


def test_the_title_of_a_report_is_text_and_no_html():
    cell = {"cell_type": "markdown", "id": "a", "metadata": {}, "source": "# </title><script>alert(1)</script>"}
    reported(json.dumps(notebook([cell, notebook()["cells"][1]])))
    head = Path("out.html").read_text().partition("</head>")[0]
    assert "<script>" not in head
    assert "<title>&lt;/title&gt;&lt;script&gt;" in head


def test_a_report_is_written_beside_its_notebook_and_never_over_it():
    text = json.dumps(notebook())
    Path("in.ipynb").write_text(text)
    Path("link.ipynb").symlink_to("in.ipynb")
    for place in ("in.ipynb", "./in.ipynb", "link.ipynb"):
        with pytest.raises(InputError, match="is the notebook itself"):
            report(Path("in.ipynb"), Path(place))
    for place in (".", "nowhere/out.html"):
        with pytest.raises(InputError, match="cannot be written: give the path of a file in a folder"):
            report(Path("in.ipynb"), Path(place))
    assert Path("in.ipynb").read_text() == text


def test_what_a_killed_report_left_is_removed_and_a_living_one_is_left_alone():
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    dead, living = Path(f".out.html.{gone.pid}.tmp"), Path(f".out.html.{os.getppid()}.tmp")
    for path in (dead, living):
        path.write_text("half")
    Path("in.ipynb").write_text(json.dumps(notebook()))
    report(Path("in.ipynb"), Path("out.html"))
    assert not dead.exists()
    assert living.exists()
    living.unlink()


def read(value: dict) -> nbformat.NotebookNode:
    return nbformat.from_dict(value)


def with_source(source: str, kind: str | None = "own") -> dict:
    return with_(with_(notebook(), ("cells", 1, "source"), source), ("metadata", "iskit"), {"settings": kind})


@pytest.mark.parametrize(
    "source", ["import os\nhere = os.getcwd()", "%matplotlib inline", "x = [", "x = " + "(" * 999, "\0"]
)
def test_the_engine_leaves_notebooks_of_others_alone_and_refuses_ours_in_one_line(source):
    check(read(with_source(source, None)))
    check(read(with_(with_source(source), ("metadata", "iskit"), "a string")))
    for kind in ("own", "experiment", "grid"):
        with pytest.raises(InputError, match="the cell tagged parameters cannot be read"):
            check(read(with_source(source, kind)))


@campaign
@given(st.lists(mutations, min_size=1, max_size=3))
def test_the_engines_check_of_any_damaged_notebook_passes_or_is_one_line(wrongs):
    value = notebook()
    for path, wrong in wrongs:
        try:
            value = with_(value, path, wrong)
        except (KeyError, TypeError, IndexError):
            continue
    if isinstance(value["metadata"], dict):  # papermill itself reads these before it asks an engine
        result_or_one_line(check, read(value))


parameters = st.dictionaries(
    st.sampled_from([*Experiment.help(), "seeds", "x"]),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6) | st.sampled_from(["p", "sgd"]),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
        max_leaves=4,
    ),
    max_size=3,
)


@campaign
@given(parameters, st.sampled_from(["experiment", "grid", "own", "x", [], None]))
def test_any_parameters_pass_the_engine_or_are_one_line(given_, kind):
    metadata = {"iskit": {"settings": kind}, "papermill": {"parameters": given_}}
    result_or_one_line(check, read(notebook(**metadata)))


def test_the_engine_can_be_the_first_import():
    code = (
        "import iskit.pages.papermill_engine as ours; from papermill.engines import papermill_engines as known; "
        "assert known.get_engine('iskit') is ours.Engine"
    )
    subprocess.run([sys.executable, "-W", "error::ImportWarning", "-c", code], check=True)
