"""JupyterLab, Voila and a browser for them, as people have them, but offline and with settings of their own."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import nbformat
from playwright.sync_api import Page, TimeoutError, sync_playwright

from iskit.pages.notebook import assignments

ROOT = Path(__file__).parents[1]
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
STARTS = 180.0  # seconds that a server may take on a busy machine
LAST = 20  # lines of its log, if it ends before
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
QUIET += ["--disable-component-update", "--disable-sync"]
OWN = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
OWN += ("JUPYTERLAB_SETTINGS_DIR", "JUPYTERLAB_WORKSPACES_DIR")
IDLE = ".jp-Notebook-ExecutionIndicator[data-status='idle']"
SMALL = {
    **{"dataset": "digits(limit=100)", "model": "cnn(width=4)", "epochs": 40, "evals": 5, "seeds": 1},
    **{"sampler": ["sgd", "scan", "unif", "p", "c"], "budget": [0.2, 0.5], "augment": ["standard", "standard|mixup"]},
}


def until(so: Callable[[], Any], what: str, seconds: float = 90.0, page: Page | None = None) -> None:
    """page: one that must do something meanwhile. Trap: a browser whose events nobody reads comes to a stand."""
    deadline = time.monotonic() + seconds
    while not so():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {what}")
        if page:
            page.wait_for_timeout(20)
        else:
            time.sleep(0.02)


@contextmanager
def served(command: list[str], project: Path, answers: str, **variables: str) -> Iterator[str]:
    """A server on loopback in an empty project; gives its address. command: PORT stands for a free port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, **{name: str(project / name) for name in OWN}, "ISKIT_ROOT": str(project), **variables}
    with (project / "server.log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", *(word.replace("PORT", str(port)) for word in command)],
            env=environment,
            cwd=project,
            stdout=log,
            stderr=log,
        )
    address = f"http://127.0.0.1:{port}"

    def up() -> bool:
        if server.poll() is not None:
            said = (project / "server.log").read_text(errors="replace").splitlines()[-LAST:]
            raise AssertionError("\n".join([f"{command[0]} ended with exit code {server.returncode}:", *said]))
        with suppress(OSError):
            urllib.request.urlopen(address + answers).close()
            return True
        return False

    try:
        until(up, f"{command[0]} answers", STARTS)
        yield address
    finally:
        server.terminate()
        server.wait(30)


@contextmanager
def lab(project: Path, shipped: bool = True) -> Iterator[str]:
    """JupyterLab with the settings that `make lab` brings; gives the address of its tree."""
    command = [
        *("jupyterlab", "--no-browser", "--ip=127.0.0.1", "--port=PORT", "--allow-root", "--ServerApp.port_retries=0"),
        *("--IdentityProvider.token=t", f"--ServerApp.root_dir={project}"),
    ]
    ours = {"JUPYTER_CONFIG_PATH": str(ROOT / "notebooks" / ".jupyter")} if shipped else {}
    with served(command, project, "/api?token=t", **ours) as address:
        yield f"{address}/lab/tree/"


def all_cells_drawn(project: Path, on: bool = True) -> None:
    """Whether Lab, from the next page on, draws all cells, or only those in view, as it does by default."""
    settings = (
        project / "JUPYTERLAB_SETTINGS_DIR" / "@jupyterlab" / "notebook-extension" / "tracker.jupyterlab-settings"
    )
    settings.parent.mkdir(parents=True, exist_ok=True)
    settings.write_text(json.dumps({"windowingMode": "none"} if on else {}))


def quickstart(project: Path, study: str, **settings: Any) -> Path:
    """The quickstart with other parameters, in a folder of the project."""
    notebook = nbformat.read(ROOT / "notebooks" / "00_quickstart.ipynb", 4)
    [cell] = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    values = {**assignments(cell.source), **SMALL, "study": study, **settings}
    cell.source = "\n".join(f"{name} = {value!r}" for name, value in values.items())
    path = project / f"{study}.ipynb"
    nbformat.write(notebook, path)
    return path


@contextmanager
def chromium(width: int = 1500, height: int = 1200) -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=QUIET)
        page = browser.new_context(viewport={"width": width, "height": height}).new_page()
        page.context.set_default_timeout(90_000)  # a busy machine is slow to start Lab
        yield page
        browser.close()


def opened(page: Page, address: str) -> None:
    """The notebook at this address, once its kernel is there."""
    # On a slow machine Lab may ask for patience, or which kernel to take, in a dialog over everything.
    dialog = page.locator(".jp-Dialog")
    accept = dialog.locator(".jp-mod-accept").last
    page.add_locator_handler(dialog, lambda: accept.click(timeout=5_000), no_wait_after=True)  # another may follow
    page.goto(address)
    page.wait_for_selector(".jp-Toolbar-kernelName:has-text('Python')")
    page.wait_for_selector(IDLE)


def menu(page: Page, name: str, item: str) -> None:
    page.click(f".lm-MenuBar-item >> text={name}")
    page.click(f".lm-Menu-itemLabel:has-text('{item}')")


def run_all(page: Page, address: str) -> None:
    """Opens the notebook and runs it until its panel is there and all cells are done."""
    opened(page, address)
    begun = page.locator(".jp-InputArea-prompt").filter(has_text=re.compile(r"\[(\*|\d+)\]")).first
    for _ in range(12):  # the menu is there before the notebook listens to it
        menu(page, "Run", "Run All Cells")
        try:
            begun.wait_for(timeout=5_000)
            break
        except TimeoutError:
            continue
    page.wait_for_selector(button("Run"))
    page.wait_for_selector(IDLE)


def button(name: str) -> str:
    return f".jp-OutputArea button:text-is('{name}')"


def press(page: Page, name: str) -> None:
    """Not page.click, which waits for a button that works: a slow page may come after the last run."""
    page.locator(button(name)).first.evaluate("button => button.click()")


def save(page: Page, path: Path) -> None:
    """By the menu, and waits until the file has what the page shows."""
    before = path.stat().st_mtime_ns
    menu(page, "File", "Save Notebook")
    until(lambda: path.stat().st_mtime_ns > before, "the notebook is saved", page=page)
