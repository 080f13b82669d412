"""The quickstart in a real JupyterLab, and as an app, in a real browser: what is pressed works, and goes on working."""

import json
import os
import re
import shutil
import signal
from contextlib import suppress
from pathlib import Path

import nbformat
import plotly.graph_objects as go
import pytest
from browsing import (
    BROWSER,
    IDLE,
    ROOT,
    all_cells_drawn,
    button,
    chromium,
    lab,
    menu,
    opened,
    press,
    quickstart,
    run_all,
    save,
    served,
    until,
)
from playwright.sync_api import expect
from pool_work import gone

from iskit.pages.copies import served_copies
from iskit.pages.report import PLOTLY, report

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome on this machine"),
]
FINISHED = r"text=/finished \(%d of %d runs/"
LONG = {"sampler": ["unif", "p"], "budget": [0.5], "augment": ["standard"], "epochs": 3000, "seeds": 2}
SHORT = {"sampler": ["scan", "unif"], "budget": [0.5], "augment": ["standard"], "epochs": 20}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    project = tmp_path_factory.mktemp("project")
    for folder in ("notebooks", "params"):
        shutil.copytree(ROOT / folder, project / folder)
    return project


@pytest.fixture(scope="module")
def tree(project):
    with lab(project) as tree:
        yield tree


@pytest.fixture(autouse=True)
def all_cells(project):
    all_cells_drawn(project)


@pytest.fixture
def page():
    with chromium() as page:
        yield page


def training(page) -> None:
    """Waits until runs are under way; what it says once they have stopped ends with the same words, in brackets."""
    page.wait_for_selector("text=/^\\d+ of \\d+ runs, \\d+ s$/")


def stopped(page) -> None:
    press(page, "Stop")
    page.wait_for_selector("text=/stopped: Run goes on from here/")


def plan(page) -> str:
    return page.locator(".iskit-panel").first.inner_text()


def test_run_stop_and_run_again_while_every_view_follows(project, tree, page):
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    path = quickstart(project, "runs")
    run_all(page, f"{tree}{path.name}?reset&token=t")
    page.wait_for_selector("text=Nothing trained yet")  # in cells below that of the button
    page.wait_for_selector("text=/18 runs, none is there, about .* on this machine/")
    press(page, "Run")
    page.wait_for_selector(".js-plotly-plot .gtitle >> text=While training", state="attached")
    page.wait_for_selector(".js-plotly-plot .gtitle >> text=Accuracy against wall clock", state="attached")
    assert "finished" not in plan(page)  # the views below do not wait for the end
    press(page, "Stop")
    page.wait_for_selector("text=/stopped: Run goes on from here|finished/")
    # The kernel was never blocked; the same button goes on to the end.
    press(page, "Run")
    page.wait_for_selector(FINISHED % (18, 18))
    assert len(list((project / "outputs" / "runs").glob("*/result.json"))) == 18
    outside = [url for url in asked if not url.startswith(("http://127.0.0.1", "data:", "blob:"))]
    assert outside == []


def test_controls_work_after_a_reload_during_and_after_training(project, tree, page):
    path = quickstart(project, "reloads", **LONG)
    run_all(page, f"{tree}{path.name}?reset&token=t")
    save(page, path)
    page.wait_for_selector("text=Not saved yet", state="hidden")
    press(page, "Run")
    training(page)
    page.reload()
    page.wait_for_selector(button("Stop"))
    training(page)
    stopped(page)
    page.reload()
    page.wait_for_selector(button("Run"))
    page.get_by_label("infobatch").check()
    page.wait_for_selector("text=/6 runs, .* there/")
    press(page, "Run")
    page.wait_for_selector("text=/^\\d+ of 6 runs, \\d+ s$/")
    stopped(page)


def test_controls_work_after_the_page_was_closed_and_opened_again(project, tree, page):
    path = quickstart(project, "closed", **LONG)
    run_all(page, f"{tree}{path.name}?reset&token=t")
    save(page, path)
    press(page, "Run")
    training(page)
    again = page.context.new_page()
    page.close()
    opened(again, f"{tree}{path.name}?token=t")
    training(again)
    stopped(again)
    press(again, "Run")
    training(again)
    stopped(again)


def test_a_cell_that_is_run_again_shows_the_training_that_goes_on(project, tree, page):
    path = quickstart(project, "again", **LONG)
    run_all(page, f"{tree}{path.name}?reset&token=t")
    press(page, "Run")
    training(page)
    workers = set(children(path))
    menu(page, "Run", "Run All Cells")
    page.wait_for_selector(IDLE)
    training(page)
    assert page.locator(button("Stop")).count() == 1
    assert set(children(path)) == workers  # no second training
    stopped(page)


def test_a_restarted_kernel_leaves_no_worker_and_the_page_says_what_to_do(project, tree, page):
    path = quickstart(project, "restart", **LONG)
    run_all(page, f"{tree}{path.name}?reset&token=t")
    press(page, "Run")
    training(page)
    workers = children(path)
    assert len(workers) >= 2
    page.remove_locator_handler(page.locator(".jp-Dialog"))
    menu(page, "Kernel", "Restart Kernel…")
    page.click(".jp-Dialog .jp-mod-accept")
    until(lambda: all(map(gone, workers)), "workers end with their kernel", page=page)
    page.wait_for_selector("text=/Do the controls do nothing/")
    menu(page, "Run", "Run All Cells")
    page.wait_for_selector(button("Run") + ":enabled")
    press(page, "Run")
    training(page)
    kernel, workers = parent(path), children(path)
    os.kill(kernel, signal.SIGKILL)  # as a machine that is out of memory does
    until(lambda: all(map(gone, workers)), "workers end with their kernel", page=page)


def test_a_saved_notebook_shows_its_figures_without_a_kernel_and_reports_them(project, tree, page):
    path = quickstart(project, "saved", **SHORT)
    run_all(page, f"{tree}{path.name}?reset&token=t")
    press(page, "Run")
    page.wait_for_selector(FINISHED % (2, 2))
    page.wait_for_selector(".js-plotly-plot .gtitle >> text=Accuracy against wall clock", state="attached")

    def held() -> bool:
        with suppress(ValueError):  # Lab is still writing
            return "Accuracy against wall clock" in json.dumps(json.loads(path.read_text())["metadata"].get("widgets"))
        return False

    save(page, path)
    until(held, "the file holds the figures", page=page)  # its text alone names them too
    assert path.stat().st_size < 1e6
    press(page, "Save page")
    page.wait_for_selector("text=/wrote outputs.saved.saved.html: the figures of now, the text as saved at/")
    menu(page, "Kernel", "Shut Down Kernel")
    until(lambda: not parent(path), "the kernel is gone", page=page)
    again = page.context.new_page()
    page.close()
    again.goto(f"{tree}{path.name}?reset&token=t")
    shown = again.locator(".js-plotly-plot .gtitle", has_text="Accuracy against wall clock")
    lost = again.locator("text=model not found")
    expect(shown.or_(lost).first).to_be_attached(timeout=90_000)
    save(again, path)  # as Lab does by itself
    until(held, "the file holds the figures still", page=again)
    if lost.count():  # Lab's widgets wait two seconds for a kernel that starts, and draw nothing anew until a reload
        again.reload()
        expect(shown.first).to_be_attached(timeout=90_000)
    report(path, project / "of_file.html")
    for made in (project / "of_file.html", project / "outputs" / "saved" / "saved.html"):
        again.goto(made.as_uri())
        again.wait_for_selector(".js-plotly-plot .gtitle >> text=Accuracy against wall clock", state="attached")
        assert again.locator("text=While training").count() == 0  # it is for hands
        assert "VBox(" not in again.content()


def test_it_works_with_cells_drawn_as_lab_does_by_default(project, tree, page):
    all_cells_drawn(project, False)
    path = quickstart(project, "windowed", **SHORT)
    run_all(page, f"{tree}{path.name}?reset&token=t")
    press(page, "Run")
    page.wait_for_selector(FINISHED % (2, 2))


def test_two_notebooks_train_at_once(project, tree, page):
    pages = [page, page.context.new_page()]
    paths = [quickstart(project, f"twin{number}", **LONG) for number in (1, 2)]
    for one, path in zip(pages, paths, strict=True):
        run_all(one, f"{tree}{path.name}?reset&token=t")
        press(one, "Run")
    for one in pages:
        one.bring_to_front()
        training(one)
    for one in pages:
        one.bring_to_front()
        stopped(one)


def test_run_notebook_says_what_cannot_work(tree, page):
    run_all(page, f"{tree}notebooks/run.ipynb?reset&token=t")
    field = page.locator(".jp-OutputArea input[type=number]").first
    field.fill("3")
    field.press("Enter")
    page.wait_for_selector("text=/budget=3.0 must be above 0 and at most 1/")  # before Run is pressed


def test_as_an_app_it_trains_and_draws_and_asks_nothing_outside(project, tmp_path, page):
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    path = quickstart(project, "app", **SHORT)
    (tmp_path / "one").mkdir()
    path.rename(tmp_path / "one" / path.name)
    served_copies(tmp_path / "one", tmp_path / "served")
    options = re.findall(r"(--template=\S+|--VoilaExporter\.\S+)", (ROOT / "Makefile").read_text())
    command = ["voila", str(tmp_path / "served" / path.name), "--no-browser", "--Voila.ip=127.0.0.1", "--port=PORT"]
    ours = {"JUPYTER_PATH": str(ROOT / "notebooks" / ".jupyter")}
    with served([*command, *options], project, "/voila/templates/base/static/require.min.js", **ours) as address:
        page.goto(address)
        page.wait_for_selector("button:text-is('Run')")
        page.locator("button:text-is('Run')").click()
        page.wait_for_selector(FINISHED % (2, 2))
        page.wait_for_selector(".js-plotly-plot .gtitle >> text=Accuracy against wall clock", state="attached")
    assert [url for url in asked if not url.startswith(("http://127.0.0.1", "data:", "blob:"))] == []


def parent(path: Path) -> int:
    """The process of the kernel that serves the notebook; 0 if there is none."""
    name = f"JPY_SESSION_NAME={path}".encode()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command, environment = (folder / "cmdline").read_bytes(), (folder / "environ").read_bytes()
        except OSError:
            continue
        if b"ipykernel_launcher" in command and name in environment.split(b"\0"):
            return int(folder.name)
    return 0


def children(path: Path) -> list[int]:
    """The worker processes of that kernel."""
    kernel = parent(path)
    found = Path(f"/proc/{kernel}/task").glob("*/children") if kernel else ()
    ours = [int(word) for file in found for word in file.read_text().split()]
    return [one for one in ours if b"spawn_main" in Path(f"/proc/{one}/cmdline").read_bytes()]


def test_report_fetches_nothing_and_draws(page, tmp_path):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# A report")])
    cell = nbformat.v4.new_code_cell("show()")
    for title in ("one", "two"):
        figure = go.Figure(go.Scatter(y=[1, 2, 3]), layout={"title": title})
        data = {PLOTLY: json.loads(figure.to_json())}
        cell.outputs.append(nbformat.v4.new_output("display_data", data=data))
    notebook.cells.append(cell)
    nbformat.write(notebook, tmp_path / "out.ipynb")
    report(tmp_path / "out.ipynb", tmp_path / "report.html")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto((tmp_path / "report.html").as_uri())
    page.wait_for_selector(".js-plotly-plot .gtitle >> text=two", state="attached")
    assert page.title() == "A report"
    assert page.locator(".js-plotly-plot .scatterlayer").count() == 2
    assert [url for url in asked if not url.startswith("data:")] == [(tmp_path / "report.html").as_uri()]
