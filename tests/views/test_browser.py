"""The quickstart in a real JupyterLab in a real browser: press Run, watch, press Stop, see the plots."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import nbformat
import plotly.graph_objects as go
import pytest
from playwright.sync_api import TimeoutError, sync_playwright

from iskit.views.report import PLOTLY, report

ROOT = Path(__file__).parents[2]
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
QUIET += ["--disable-component-update", "--disable-sync"]

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome on this machine"),
]


@pytest.fixture
def lab(tmp_path):
    """JupyterLab on loopback, in an empty project, with settings of its own; gives the address of its tree."""
    for folder in ("notebooks", "params"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    # All cells in the page, not only those in view.
    settings = tmp_path / "JUPYTERLAB_SETTINGS_DIR" / "@jupyterlab" / "notebook-extension"
    settings.mkdir(parents=True)
    (settings / "tracker.jupyterlab-settings").write_text('{"windowingMode": "none"}')
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    own = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
    own += ("JUPYTERLAB_SETTINGS_DIR", "JUPYTERLAB_WORKSPACES_DIR")
    environment = {**os.environ, **{name: str(tmp_path / name) for name in own}, "ISKIT_ROOT": str(tmp_path)}
    server = subprocess.Popen(
        [
            *(sys.executable, "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1", f"--port={port}", "--allow-root"),
            *("--ServerApp.port_retries=0", "--IdentityProvider.token=t", f"--ServerApp.root_dir={tmp_path}"),
        ],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/api?token=t").close()
                break
            except OSError:
                time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/lab/tree/notebooks/"
    finally:
        server.terminate()
        server.wait(30)


@pytest.fixture
def page():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=QUIET)
        page = browser.new_page(viewport={"width": 1500, "height": 1200})
        page.set_default_timeout(90_000)  # a busy machine is slow to start Lab
        yield page
        browser.close()


def run_all(page, address: str) -> None:
    # On a slow machine Lab may ask for patience, or which kernel to take, in a dialog over everything.
    dialog = page.locator(".jp-Dialog")
    accept = dialog.locator(".jp-mod-accept").last
    page.add_locator_handler(dialog, lambda: accept.click(timeout=5_000), no_wait_after=True)  # another may follow
    page.goto(address)
    page.wait_for_selector(".jp-Toolbar-kernelName:has-text('Python')", timeout=90_000)
    page.wait_for_selector(".jp-Notebook-ExecutionIndicator[data-status='idle']", timeout=90_000)
    begun = page.locator(".jp-InputArea-prompt").filter(has_text=re.compile(r"\[(\*|\d+)\]")).first
    for _ in range(12):  # the menu is there before the notebook listens to it
        page.click(".lm-MenuBar-item >> text=Run")
        page.click(".lm-Menu-itemLabel:has-text('Run All Cells')")
        try:
            begun.wait_for(timeout=5_000)
            break
        except TimeoutError:
            continue
    page.wait_for_selector(".jp-OutputArea button:has-text('Run')", timeout=60_000)


def test_quickstart_runs_in_the_background_stops_and_shows(lab, page, tmp_path):
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    notebook = tmp_path / "notebooks" / "00_quickstart.ipynb"
    small = notebook.read_text()
    for usual, less in (
        ("digits(limit=200)", "digits(limit=100)"),
        ("cnn(width=16)", "cnn(width=4)"),
        ("[0.1, 0.2, 0.3, 0.5]", "[0.2, 0.5]"),
        ("seeds: int = 3", "seeds: int = 1"),
        ("epochs: int = 100", "epochs: int = 40"),
    ):
        assert usual in small
        small = small.replace(usual, less)
    notebook.write_text(small)
    run_all(page, f"{lab}00_quickstart.ipynb?reset&token=t")
    page.wait_for_selector("text=Nothing trained yet", timeout=60_000)  # in cells below that of the button
    page.click(".jp-OutputArea button:has-text('Run')")
    page.wait_for_selector(".js-plotly-plot .gtitle >> text=While training", timeout=90_000)
    # Not page.click, which waits for a button that works: a slow page may come after the last run.
    page.locator(".jp-OutputArea button:has-text('Stop')").evaluate("button => button.click()")
    page.wait_for_selector("text=/stopped: Run goes on from here|finished/", timeout=60_000)
    # The kernel was never blocked; the same button goes on to the end.
    page.click(".jp-OutputArea button:has-text('Run')")
    page.wait_for_selector("text=/finished \\(18 of 18 runs/", timeout=120_000)
    page.wait_for_selector(".js-plotly-plot .gtitle >> text=Accuracy against budget", state="attached")
    assert len(list((tmp_path / "outputs" / "quickstart").glob("*/result.json"))) == 18
    outside = [url for url in asked if not url.startswith(("http://127.0.0.1", "data:", "blob:"))]
    assert outside == []


def test_run_notebook_says_what_cannot_work(lab, page):
    run_all(page, f"{lab}run.ipynb?reset&token=t")
    field = page.locator(".jp-OutputArea input[type=number]")
    field.fill("3")
    field.press("Enter")
    page.click(".jp-OutputArea button:has-text('Run')")
    page.wait_for_selector("text=/budget=3.0 must be above 0 and at most 1/", timeout=30_000)


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
