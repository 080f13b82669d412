"""How often the quickstart's controls work after F5: python tests/reloads.py [TRIES]; prints a line a way.

Each way is a JupyterLab of its own, with and without the settings that `make lab` brings, idle and beside a busy loop
on every core. A try: F5 amid a training, Stop must stop it, F5 again, and Run must train again.
"""

import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from browsing import all_cells_drawn, button, chromium, lab, press, quickstart, run_all, save
from playwright.sync_api import Page, TimeoutError

from iskit.runs.machine import cores

UNDER_WAY = "text=/^\\d+ of \\d+ runs, \\d+ s$/"
PATIENCE = 30_000  # milliseconds for an answer of a control
LONG = {"dataset": "digits(limit=200)", "model": "cnn(width=16)", "epochs": 20_000, "seeds": 2}


def works(page: Page) -> bool:
    try:
        page.reload()
        page.wait_for_selector(button("Stop") + ":enabled")
        press(page, "Stop")
        page.wait_for_selector("text=/stopped: Run goes on from here/", timeout=PATIENCE)
        page.reload()
        page.wait_for_selector(button("Run") + ":enabled")
        press(page, "Run")
        page.wait_for_selector(UNDER_WAY, timeout=PATIENCE)
        return True
    except TimeoutError:
        return False


def tried(shipped: bool, busy: bool, tries: int) -> str:
    with ExitStack() as stack:
        project = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (project / "params").mkdir()
        (project / "notebooks").mkdir()
        all_cells_drawn(project)
        tree = stack.enter_context(lab(project, shipped))
        page = stack.enter_context(chromium())
        path = quickstart(project, "reloads", **LONG)
        run_all(page, f"{tree}{path.name}?reset&token=t")
        save(page, path)
        press(page, "Run")
        page.wait_for_selector(UNDER_WAY)
        for _ in range(cores() if busy else 0):
            loop = subprocess.Popen([sys.executable, "-c", "while True: pass"])
            stack.callback(loop.wait)
            stack.callback(loop.kill)
        begun, worked = time.monotonic(), 0
        for _ in range(tries):
            if works(page):
                worked += 1
                continue
            break  # dead once is dead for good
        unknown = (project / "server.log").read_text(errors="replace").count("Unknown subshell_id")
        how = f"{'with' if shipped else 'without'} the settings, {'busy' if busy else 'idle'}"
        took = time.monotonic() - begun
        return f"{how}: {worked} of {tries} worked, {unknown} unknown subshells in the log, {took:.0f} s"


if __name__ == "__main__":
    tries = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    for shipped in (True, False):
        for busy in (False, True):
            print(tried(shipped, busy, tries), flush=True)
