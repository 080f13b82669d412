"""The notebooks, executed as people execute them in batch: by papermill, with and without our engine."""

import ast
import base64
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
import yaml
from click.testing import CliRunner
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from papermill import execute_notebook, inspect_notebook
from papermill.cli import papermill as papermill_command
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NotebookExecutionManager
from PIL import Image
from sampled import embedded

import iskit
import iskit.pages.report as report_module
from iskit.inputs import read_yaml
from iskit.pages.notebook import assignments
from iskit.pages.papermill_engine import Refused
from iskit.pages.report import report
from iskit.runs.experiment import Experiment, parameters_cell
from iskit.runs.folder import status_of

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
ROOT = Path(__file__).parents[2]
PAGES = ROOT / "params" / "pages"
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SMOKE = sorted(PAGES.glob("*.yaml"))
OWN = ("03_see_the_sampling", "11_explorer")  # executed by tests of their own
# What the executed page says that no other does.
TELLS = {
    "05_augmentations": "ricap: rows sum to 1.000",
    "02_why_choose": "reach the bound at all",
    "10_beyond_images": "tensors start as trained before",
}
TINY = {"dataset": "digits(limit=200)", "model": "cnn(width=4)", "epochs": 4, "evals": 2}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """An empty project: outputs land there, not in the checkout."""
    monkeypatch.setenv("ISKIT_ROOT", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def papermill(name: str, settings: dict, *words: str) -> subprocess.CompletedProcess:
    Path("settings.yaml").write_text(yaml.safe_dump(settings))
    return subprocess.run(
        [
            *(sys.executable, "-m", "papermill", str(ROOT / "notebooks" / name), "out.ipynb", "-f", "settings.yaml"),
            *("--no-progress-bar", "--log-level", "ERROR", *words),
        ],
        capture_output=True,
        text=True,
        timeout=300,
    )


def outputs(notebook: nbformat.NotebookNode) -> list:
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_committed_without_outputs_with_one_typed_parameters_cell(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert outputs(notebook) == []
    tagged = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    assert len(tagged) == 1
    for line in tagged[0].source.splitlines():
        assert ": " in line.split("=")[0], f"{line} has no type"
        assert "  # " in line, f"{line} has no comment"
    assert notebook.cells[0].cell_type == "markdown"
    assert notebook.cells[0].source.startswith("# ")
    assert notebook.metadata.iskit.settings in ("experiment", "grid", "lesson", "own")


def test_run_notebook_has_the_parameters_of_an_experiment():
    notebook = nbformat.read(ROOT / "notebooks" / "run.ipynb", as_version=4)
    [cell] = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    assert cell.source == parameters_cell()
    assert assignments(cell.source) == Experiment().to_dict()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_papermill_lists_every_parameter_with_type_value_and_help(path):
    """Left to itself it passes over a line with a second "="."""
    notebook = nbformat.read(path, as_version=4)
    [cell] = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    listed = inspect_notebook(str(path))
    assert {name: ast.literal_eval(told["default"]) for name, told in listed.items()} == assignments(cell.source)
    for line, (name, told) in zip(cell.source.splitlines(), listed.items(), strict=True):
        assert line == f"{name}: {told['inferred_type_name']} = {told['default']}  # {told['help']}"
    done = CliRunner().invoke(papermill_command, ["--help-notebook", str(path)])
    assert re.findall(r"^  (\w+): ", done.output, flags=re.MULTILINE) == list(listed)


@pytest.mark.parametrize("source", ["a = 1  # one\n%pip list", "a = 1\nb: list"])
def test_papermill_lists_what_it_can_of_other_parameters(source, tmp_path):
    cell = nbformat.v4.new_code_cell(source, metadata={"tags": ["parameters"]})
    kernel = {"name": "python3", "language": "python", "display_name": "Python 3"}
    notebook = nbformat.v4.new_notebook(cells=[cell], metadata={"kernelspec": kernel})
    nbformat.write(notebook, tmp_path / "other.ipynb")
    assert list(inspect_notebook(str(tmp_path / "other.ipynb"))) == ["a"]


@pytest.mark.notebooks
def test_run_notebook_gives_the_numbers_of_the_command_line(project):
    settings = {**TINY, "sampler": "p", "budget": 0.5, "study": "faces", "lr": "1e-1"}
    done = papermill("run.ipynb", settings, "--engine", "iskit")
    assert done.returncode == 0, done.stderr
    notebook = nbformat.read("out.ipynb", as_version=4)
    assert notebook.metadata.iskit.status == "ok"
    assert sum("application/vnd.plotly.v1+json" in output.get("data", {}) for output in outputs(notebook)) == 3
    assert "widgets" not in notebook.metadata
    by_papermill = iskit.results("faces").loc[0]
    words = [f"{key}={value}" for key, value in {**settings, "study": "cli"}.items()]
    subprocess.run([sys.executable, "-c", "from iskit.cli import main; main()", "run", *words], check=True)
    by_command = iskit.results("cli").loc[0]
    assert Path(by_papermill["path"]).name == Path(by_command["path"]).name  # one id: the same configuration
    one, other = (iskit.history_of(run["path"]) for run in (by_papermill, by_command))
    pd.testing.assert_frame_equal(*(past.filter(regex="^(?!seconds_)") for past in (one, other)))


@pytest.mark.notebooks
def test_quickstart_in_batch_and_its_report(project):
    settings = {**TINY, "sampler": ["sgd", "unif", "p"], "budget": [0.3, 0.6], "augment": ["standard"], "seeds": 2}
    done = papermill("00_quickstart.ipynb", settings, "--engine", "iskit")
    assert done.returncode == 0, done.stderr
    notebook = nbformat.read("out.ipynb", as_version=4)
    assert notebook.metadata.iskit.status == "ok"
    plots = [o for o in outputs(notebook) if "application/vnd.plotly.v1+json" in o.get("data", {})]
    assert len(plots) == 4
    assert len(json.dumps(notebook)) < 1_000_000
    assert len(iskit.results("quickstart")) == 2 + 2 * 2 * 2
    report(Path("out.ipynb"), Path("report.html"))
    page = Path("report.html").read_text()
    assert len(re.findall('<figure[^>]*class="plot"', page)) == 4
    assert "Which images?" in page
    assert "6 are needed to tell a difference" in page
    for address in ('src="http', "src='http", "@import"):  # test_browser.py looks at what it really fetches
        assert address not in page


def plotted(*layouts: dict) -> nbformat.NotebookNode:
    figures = [{"data": [{"type": "scatter", "y": [1, 2]}], "layout": layout} for layout in layouts or [{}]]
    shown = [nbformat.v4.new_output("display_data", data={report_module.PLOTLY: figure}) for figure in figures]
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("", outputs=shown)])


@pytest.mark.browser
@pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome on this machine")
def test_plots_get_a_still_image_of_their_own_size():
    notebook = plotted({}, {"width": 700, "height": 900})
    report_module.add_images(notebook)
    sizes = [Image.open(io.BytesIO(base64.b64decode(one["data"]["image/png"]))).size for one in outputs(notebook)]
    assert sizes == [(1000, 450), (700, 900)]


def test_a_browser_that_never_answers_costs_the_image_only(tmp_path, monkeypatch):
    browser = tmp_path / "chromium"
    browser.write_text("#!/bin/sh\nexec cat <&3 >/dev/null\n")  # listens, until its caller is gone
    browser.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("BROWSER_PATH", str(browser))
    monkeypatch.setattr(report_module, "PATIENCE", 0.5)
    notebook = plotted()
    report_module.add_images(notebook)
    assert list(outputs(notebook)[0]["data"]) == [report_module.PLOTLY]


@pytest.mark.notebooks
@pytest.mark.parametrize("path", [path for path in SMOKE if path.stem not in OWN], ids=lambda path: path.stem)
def test_a_page_teaches_at_smoke_size(path, project):
    done = papermill(f"{path.stem}.ipynb", yaml.safe_load(path.read_text()), "--engine", "iskit")
    assert done.returncode == 0, done.stderr
    notebook = nbformat.read("out.ipynb", as_version=4)
    assert notebook.metadata.iskit.status == "ok"
    assert len(json.dumps(notebook)) < 1_000_000
    shown = str(outputs(notebook))
    assert TELLS.get(path.stem, "") in shown
    if notebook.metadata.iskit.settings != "lesson":
        return
    assert "application/vnd.plotly.v1+json" in shown
    assert "Your guess: **" in shown  # beside what came out
    assert "seeds" in shown.partition("What came out: ")[2][:1000]
    assert "**Not yet:**" in shown  # the exercise, before its solution
    assert not [output for output in outputs(notebook) if "cannot be shown" in str(output)]
    [kept] = project.glob("outputs/*/guess-*.json")
    assert json.loads(kept.read_text())["guess"] == yaml.safe_load(path.read_text())["guess"]


def test_every_lesson_has_a_question_an_exercise_and_its_folded_solution():
    for path in NOTEBOOKS:
        notebook = nbformat.read(path, as_version=4)
        if notebook.metadata.iskit.settings != "lesson":
            continue
        assert (ROOT / "params" / "pages" / f"{path.stem}.yaml").is_file(), path.name
        source = "\n".join(cell.source for cell in notebook.cells)
        for part in (
            "You will learn",
            "page.ask(",
            "page.show(check)",
            "page.exercise(",
            "**Exercise",
            "**Further reading",
        ):
            assert part in source.replace("toy.check", "check"), f"{path.name}: {part}"
        folded = [cell for cell in notebook.cells if "solution" in cell.metadata.get("tags", [])]
        assert folded, path.name
        assert all(cell.metadata.jupyter.source_hidden for cell in folded), path.name
        for target in re.findall(r"\]\(([^)#:]+)\)", source):
            assert (path.parent / target).exists(), f"{path.name}: {target}"


@pytest.mark.parametrize("path", SMOKE, ids=lambda path: path.stem)
def test_a_page_s_settings_say_their_command_and_what_to_expect(path):
    head = "".join(line for line in path.read_text().splitlines() if line.startswith("#"))
    command = rf"papermill notebooks/{path.stem}\.ipynb \S+\.ipynb -f params/pages/{path.name} --engine iskit"
    assert re.search(command, head)
    assert "Expect" in head


@pytest.mark.notebooks
def test_see_the_sampling_in_batch_and_its_report(project):
    done = papermill("03_see_the_sampling.ipynb", read_yaml(PAGES / "03_see_the_sampling.yaml"), "--engine", "iskit")
    assert done.returncode == 0, done.stderr
    notebook = nbformat.read("out.ipynb", as_version=4)
    assert notebook.metadata.iskit.status == "ok"
    assert len(json.dumps(notebook)) < 1_000_000
    report(Path("out.ipynb"), Path("report.html"))
    page = Path("report.html").read_text()
    content = embedded(page)  # with the script that plays it: test_browser_sampling.py opens such a report
    runs = iskit.results("see").query("seed == 1").set_index("sampler")
    assert {method["name"] for method in content["methods"]} == set(runs.index) == {"unif", "selective_backprop"}
    for method in content["methods"]:
        counts = iskit.counts_of(runs.loc[method["name"], "path"])
        np.testing.assert_array_equal(method["drawn"].sum(axis=0), counts[content["index"]])
    assert "document.currentScript" in page
    assert "Mislabelled images?" in page
    assert "2 seeds (6 are needed to tell a difference)" in page
    assert "2 methods, 8 moments, 200 images: what is shown adds up" in page


@pytest.mark.notebooks
def test_speed_in_smoke_size_measures_and_shows(project):
    done = papermill("speed.ipynb", {"part": "select", "smoke": True}, "--engine", "iskit")
    assert done.returncode == 0, done.stderr
    notebook = nbformat.read("out.ipynb", as_version=4)
    assert notebook.metadata.iskit.status == "ok"
    assert any("application/vnd.plotly.v1+json" in o.get("data", {}) for o in outputs(notebook))
    [kept] = Path("outputs/bench").glob("select-*.json")
    assert json.loads(kept.read_text())["about"]["smoke"] is True


@pytest.mark.notebooks
def test_explorer_in_batch(project):
    shutil.copytree(ROOT / "outputs" / "reference", project / "outputs" / "reference")
    settings = yaml.safe_load((ROOT / "params" / "pages" / "11_explorer.yaml").read_text())
    done = papermill("11_explorer.ipynb", settings, "--engine", "iskit")
    assert done.returncode == 0, done.stderr
    notebook = nbformat.read("out.ipynb", as_version=4)
    assert notebook.metadata.iskit.status == "ok"
    shown = str(outputs(notebook))
    for text in ('<iframe title="the explorer"', "21 runs", "Which images?", "11 points are means over the same seeds"):
        assert text in shown
    assert len(json.dumps(notebook)) < 1_000_000


@pytest.mark.notebooks
def test_explorer_without_results_says_what_to_do(project):
    done = papermill("11_explorer.ipynb", {}, "--engine", "iskit")
    assert done.returncode == 0, done.stderr
    shown = str(outputs(nbformat.read("out.ipynb", as_version=4)))
    assert "there are no finished runs to explore: train some" in shown
    assert "Nothing was checked" in shown
    assert "Traceback" not in shown


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("run.ipynb", {"bugdet": 0.3}, "unknown setting 'bugdet' (0.3): did you mean 'budget'?"),
        ("run.ipynb", {"budget": 1.5}, "budget=1.5"),
        ("run.ipynb", {"budget": "0.3x"}, "budget='0.3x'"),
        ("run.ipynb", {**TINY, "budget": 0.01}, "less than one batch"),
        ("run.ipynb", {"sampler": "sgd"}, "use scan"),
        ("run.ipynb", {"dataset": "parquet(path='gone')"}, "gone"),
        ("00_quickstart.ipynb", {"sampler": ["unif", "q"]}, "sampler='q' is unknown"),
        ("00_quickstart.ipynb", {"samplers": ["unif"]}, "did you mean 'sampler'?"),
        ("00_quickstart.ipynb", {"seeds": 0}, "seeds=0"),
        ("11_explorer.ipynb", {"studies": ["quickstart"]}, "unknown setting 'studies': did you mean 'study'?"),
        ("speed.ipynb", {"prat": "train"}, "unknown setting 'prat': did you mean 'part'?"),
        ("05_augmentations.ipynb", {"cuont": 3}, "unknown setting 'cuont' (3): did you mean 'count'?"),
        ("05_augmentations.ipynb", {"count": "many"}, "count='many'"),
        ("05_augmentations.ipynb", {"budget": [1.5]}, "budget=1.5"),
        ("speed.ipynb", {"smoke": "perhaps"}, "smoke='perhaps' must be true or false"),
    ],
)
def test_engine_refuses_before_a_kernel_starts(project, monkeypatch, name, settings, message):
    monkeypatch.setattr(PapermillNotebookClient, "execute", lambda *_: pytest.fail("a kernel was about to start"))
    with pytest.raises(Refused) as refused:
        execute_notebook(
            ROOT / "notebooks" / name,
            "out.ipynb",
            settings,
            engine_name="iskit",
            kernel_name="python3",
            progress_bar=False,
        )
    assert message in str(refused.value)
    assert not Path("outputs").exists()
    notebook = nbformat.read("out.ipynb", as_version=4)
    assert notebook.metadata.iskit.status == "refused"
    assert outputs(notebook) == []


@pytest.mark.parametrize("when", ["starting", "executing"])
def test_a_dead_kernel_is_one_line_and_a_true_status(when, project, monkeypatch):
    def die(*_, **__):
        raise DeadKernelError("died") if when == "executing" else RuntimeError("died before replying")

    method = {"starting": "start_new_kernel_client", "executing": "execute"}[when]
    monkeypatch.setattr(PapermillNotebookClient, "start_new_kernel", lambda *_, **__: None)
    monkeypatch.setattr(PapermillNotebookClient, method, die)
    words = [str(ROOT / "notebooks" / "run.ipynb"), "out.ipynb", "--engine", "iskit", "-k", "python3"]
    done = CliRunner().invoke(papermill_command, words)
    assert done.exit_code == 138
    assert [line for line in done.output.splitlines() if "Error: the kernel is gone (died" in line]
    assert "Traceback" not in done.output
    assert nbformat.read("out.ipynb", as_version=4).metadata.iskit.status == "dead kernel"


def test_a_notebook_says_that_it_runs_before_its_kernel_starts(project, monkeypatch):
    told = []

    def start(*_, **__):
        told.append(nbformat.read("out.ipynb", as_version=4).metadata.iskit.status)
        raise RuntimeError("killed")

    monkeypatch.setattr(PapermillNotebookClient, "start_new_kernel", lambda *_, **__: None)
    monkeypatch.setattr(PapermillNotebookClient, "start_new_kernel_client", start)
    CliRunner().invoke(
        papermill_command, [str(ROOT / "notebooks" / "run.ipynb"), "out.ipynb", "--engine", "iskit", "-k", "python3"]
    )
    assert told == ["running"]


@pytest.mark.parametrize(
    ("error", "status", "code", "said"),
    [
        (OSError(28, "No space left on device"), "error", 138, "out.ipynb cannot be written (No space left on device)"),
        (CellTimeoutError("a cell"), "timeout", 1, "a cell took longer than 7 s: raise --execution-timeout"),
    ],
)
def test_what_ends_a_notebook_is_one_line_and_no_interrupt(error, status, code, said, project, monkeypatch):
    def fail(*_):
        raise error

    monkeypatch.setattr(PapermillNotebookClient, "execute", fail)
    words = [str(ROOT / "notebooks" / "run.ipynb"), "out.ipynb", "--engine", "iskit", "-k", "python3"]
    done = CliRunner().invoke(papermill_command, [*words, "--execution-timeout", "7"])
    assert done.exit_code == code
    assert f"Error: {said}" in done.output
    assert "Traceback" not in done.output
    assert nbformat.read("out.ipynb", as_version=4).metadata.iskit.status == status
    save = NotebookExecutionManager.save
    begun = []

    def full(self, **kwargs):  # papermill's own first save has passed
        if begun:
            raise OSError(28, "No space left on device")
        begun.append(save(self, **kwargs))

    monkeypatch.setattr(PapermillNotebookClient, "execute", fail)
    monkeypatch.setattr(NotebookExecutionManager, "save", full)
    done = CliRunner().invoke(papermill_command, words)
    assert "Error: out.ipynb cannot be written (No space left" in done.output
    assert "Traceback" not in done.output


@pytest.mark.notebooks
def test_refusal_on_the_command_line_is_one_line_and_exit_code_2(project):
    done = papermill("run.ipynb", {"bugdet": 0.3}, "--engine", "iskit")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "Error: unknown setting 'bugdet' (0.3): did you mean 'budget'?"
    assert "Traceback" not in done.stderr


@pytest.mark.notebooks
def test_first_cell_refuses_without_our_engine(project):
    done = papermill("run.ipynb", {"bugdet": 0.3})
    assert done.returncode == 1
    assert "unknown setting 'bugdet' (0.3): did you mean 'budget'?" in done.stderr
    assert not Path("outputs").exists()
    notebook = nbformat.read("out.ipynb", as_version=4)
    ran = [cell for cell in notebook.cells if cell.get("outputs") and cell.outputs[0].output_type != "display_data"]
    assert len(ran) == 1  # nothing after the cell that refused


@pytest.mark.notebooks
def test_failed_cell_leaves_a_true_status(project):
    done = papermill("run.ipynb", {**TINY, "lr": 1e30, "momentum": 0.0}, "--engine", "iskit")
    assert done.returncode == 1
    assert "not a finite number" in done.stderr
    assert nbformat.read("out.ipynb", as_version=4).metadata.iskit.status == "error"


@pytest.mark.notebooks
@pytest.mark.parametrize(("how", "status"), [(signal.SIGTERM, "interrupted"), (signal.SIGKILL, "running")])
def test_a_notebook_whose_papermill_is_ended_says_so(how, status, project):
    Path("settings.yaml").write_text(yaml.safe_dump({**TINY, "epochs": 100_000}))
    notebook = str(ROOT / "notebooks" / "run.ipynb")
    process = subprocess.Popen(
        [sys.executable, "-m", "papermill", notebook, "out.ipynb", "-f", "settings.yaml", "--engine", "iskit"],
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 120
    while not list(project.glob("outputs/*/*/status.json")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(how)
    _, said = process.communicate(timeout=60)
    assert process.returncode == (143 if how == signal.SIGTERM else -9)
    assert "Traceback" not in said
    assert nbformat.read("out.ipynb", as_version=4).metadata.iskit.status == status
    [folder] = [path.parent for path in project.glob("outputs/*/*/status.json")]
    while status_of(folder)["state"] == "running" and time.monotonic() < deadline:  # its kernel ends with it
        time.sleep(0.02)
    assert status_of(folder)["state"] in ("killed", "stopped")
