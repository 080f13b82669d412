"""Whatever ends a process of the kit, and wherever: nothing is lost, states are true, and the end is the same."""

import io
import json
import signal
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image
from run_folders import same
from toll import SHORT, Server, Toll, check_left, check_line, check_state, copied, is_held, moments, wait_until, words

import iskit
from iskit.runs.experiment import Experiment
from iskit.runs.folder import status_of
from iskit.runs.grid import grid
from iskit.runs.run import Run

pytestmark = pytest.mark.soak

# float32: how a project computes is measured by it, and on a busy machine not twice the same
TINY = {
    **{"dataset": "digits(limit=200)", "model": "cnn(width=4)", "epochs": 4, "evals": 3, "budget": 0.5},
    "precision": "float32",
}
SETTINGS = {
    "p": {**TINY, "sampler": "p", "augment": "standard|mixup", "keep_model": 2},
    "gnorm": {**TINY, "sampler": "gnorm(presample=2, tau_min=1.0)", "augment": "randaugment|standard"},
    "subset": {
        **TINY,
        "sampler": "subset(by='forgetting', proxy='mlp(width=8)', proxy_epochs=2)",
        "augment": "standard|cutmix",
    },
}
LONG = {**TINY, "sampler": "c", "epochs": 12, "evals": 6}
MANY = {**LONG, "sampler": ["p", "unif"], "seeds": 2, "study": "many"}


def run_in(root: Path, settings: dict) -> Run:
    return Run(Experiment.parse(settings), root / "outputs")


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.setenv(
        "ISKIT_ROOT", str(tmp_path)
    )  # what an undisturbed run caches; the struck have roots of their own
    return tmp_path


def whole(project: Path, settings: dict) -> Run:
    run = run_in(project / "whole", settings)
    run.train()
    return run


def begun(project: Path, settings: dict, steps: int) -> Path:
    """A project in which that run was stopped after so many steps."""
    root = project / f"begun-{steps}"
    root.mkdir()
    for step, _ in enumerate(run_in(root, settings) if steps else (), start=1):
        if step == steps:
            break
    return root


def struck(toll: Toll, server: Server, root: Path, fault: str, *argv: str) -> Iterator[tuple[Path, str]]:
    """Copies of `root` in which the command met that fault, STRIKES of them, at file operations from first to last."""
    here = root.parent / "struck"
    many = server.operations(toll, copied(root, here), *argv)
    for at in sorted({1 + many * number // STRIKES[fault] for number in range(STRIKES[fault])}):
        code = server.run(toll, copied(root, here), *argv, at=at, fault=fault)
        if fault == "kill":
            toll.kills += code == -signal.SIGKILL
        else:
            check_line(toll, server, code)
            toll.refusals += code != 0
        yield here, f"{fault} at operation {at} of {many}"


ENDS = [signal.SIGKILL, signal.SIGTERM, signal.SIGINT]
STRIKES = dict.fromkeys(("kill", "ENOSPC", "EROFS", "EMFILE"), 3 if SHORT else 8) | ({} if SHORT else {"kill": 32})
FAULTS = list(STRIKES)


@pytest.mark.parametrize(
    ("name", "steps", "fault"),
    [
        *(("p", 9, fault) for fault in FAULTS),
        *(("subset", 0, fault) for fault in FAULTS[: 1 if SHORT else None]),
        ("gnorm", 10, "kill"),
    ],
)
def test_run_at_each_file_operation(name, steps, fault, server, toll, project):
    settings = SETTINGS[name]
    end = whole(project, settings)
    root = begun(project, settings, steps)
    command = ("iskit", "run", *words(settings))
    for here, when in struck(toll, server, root, fault, *command):
        run = run_in(here, settings)
        before = check_state(toll, run.path)
        if server.run(toll, here, *command) != 0:
            toll.find("lost", f"{when}: {server.said()}")
        if check_state(toll, run.path) != "finished":
            toll.find("lies", f"{when}: {run.status}")
        with toll.comparing(f"{when}, {before}"):
            same(end, run)
        check_left(toll, here / "outputs")


@pytest.mark.parametrize("how", ENDS)
@pytest.mark.parametrize("name", ["p", "gnorm"])
def test_run_at_random_moments(name, how, server, toll, project):
    settings = {**SETTINGS[name], "epochs": 12}
    end = whole(project, settings)
    moment = moments(f"{name} {how}")
    root = project / "usual"
    root.mkdir()
    start = time.monotonic()
    assert server.run(toll, root, "iskit", "run", *words(settings)) == 0, server.said()
    usual = time.monotonic() - start
    for number in range(1 if SHORT else 2):
        root = project / f"struck-{number}"
        root.mkdir()
        run = run_in(root, settings)
        for _ in range(3 if SHORT else 6):
            child = server.begin(root, "iskit", "run", *words(settings))
            time.sleep(moment.uniform(0, usual / 2))
            server.strike(toll, child, signal.SIGSTOP)
            state = status_of(run.path)["state"]
            if is_held(run.path) and state not in ("running", "finished"):
                toll.find("lies", f"trained just now, and {status_of(run.path)}")
            server.strike(toll, child, how)
            server.strike(toll, child, signal.SIGCONT)
            code = server.end(toll)
            if code not in (0, -how, 128 + how):
                toll.find("lies", f"exit code {code}: {server.said()}")
            state = check_state(toll, run.path)
            if "goes on from here" in server.said() and (code != 128 + how or state != "stopped"):
                toll.find("lies", f"exit code {code}, {state}: {server.said()}")
        if server.run(toll, root, "iskit", "run", *words(settings)) != 0:
            toll.find("lost", server.said())
        with toll.comparing("in the end"):
            same(end, run)
        check_left(toll, root / "outputs")


STRUCK = [("parent", signal.SIGKILL), ("worker", signal.SIGTERM)]
if not SHORT:  # Ctrl-C workers leave to their parent
    STRUCK += [("parent", signal.SIGTERM), ("parent", signal.SIGINT), ("worker", signal.SIGKILL)]


@pytest.mark.parametrize(("who", "how"), STRUCK)
def test_sweep(who, how, server, toll, project):
    runs = [experiment.to_dict() for experiment in grid(MANY)]
    ends = [whole(project, settings) for settings in runs]
    command = ("iskit", "sweep", *words(MANY), "--workers", "2", "--retries", "99")
    moment = moments(f"sweep {who} {how}")
    for number in range(1 if SHORT else 7 if how == signal.SIGKILL else 2):
        root = project / f"struck-{number}"
        root.mkdir()
        for _ in range(3 if who == "parent" else 1):
            child = server.begin(root, *command)
            for _ in range(1 if who == "parent" else 3):
                wait_until(lambda: server.workers() or server.gone(), 20)
                time.sleep(moment.uniform(0, 1.0))
                for process in [child] if who == "parent" else server.workers()[:1]:
                    server.strike(toll, process, how)
            code = server.end(toll)
            if code not in ((0, -how, 128 + how) if who == "parent" else (0,)):
                toll.find("lies", f"exit code {code}: {server.said()}")
            if not wait_until(lambda: not server.workers()):
                toll.find("hung", f"workers live on: {server.workers()}")
            for settings in runs:
                check_state(toll, run_in(root, settings).path)
        if server.run(toll, root, *command) != 0:
            toll.find("lost", server.said())
        for end, settings in zip(ends, runs, strict=True):
            run = run_in(root, settings)
            if check_state(toll, run.path) != "finished":
                toll.find("lies", f"{run.path.name}: {run.status}")
            with toll.comparing(run.path.name):
                same(end, run)
        check_left(toll, root / "outputs")


NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "run.ipynb"


def kernels(child: int) -> list[int]:
    """The kernel that a papermill process has started."""
    try:
        found = [int(number) for number in Path(f"/proc/{child}/task/{child}/children").read_text().split()]
        return [one for one in found if b"ipykernel" in Path(f"/proc/{one}/cmdline").read_bytes()]
    except OSError:
        return []


def trains(server: Server, run: Run) -> bool:
    """Or did."""
    return is_held(run.path) or server.gone()


WORD = {"kernel": "dead kernel", "SIGTERM": "interrupted", "SIGINT": "interrupted", "SIGKILL": "running"}


@pytest.mark.parametrize("what", ["kernel", "SIGTERM"] if SHORT else WORD)
def test_papermill(what, server, toll, project):
    settings = {**LONG, "epochs": 150, "study": "notebook"}
    end = whole(project, settings)
    moment = moments(f"papermill {what}")
    root = project / "struck"
    root.mkdir()
    (root / "settings.yaml").write_text(yaml.safe_dump(settings))
    notebook = root / "out.ipynb"
    command = (
        "papermill",
        str(NOTEBOOK),
        str(notebook),
        "-f",
        "settings.yaml",
        "--engine",
        "iskit",
        "--no-progress-bar",
    )
    run = run_in(root, settings)
    for number in range(1 if SHORT else 2):
        child = server.begin(root, *command)
        begins = partial(kernels, child) if number % 2 else partial(trains, server, run)
        if not wait_until(begins) and not run.finished:
            toll.find("hung", "no kernel")
        time.sleep(moment.uniform(0, 0.5))
        if what == "kernel":
            for kernel in kernels(child):
                server.strike(toll, kernel, signal.SIGKILL)
        else:
            server.strike(toll, child, getattr(signal, what))
        code = server.end(toll)
        word = json.loads(notebook.read_text())["metadata"]["iskit"].get("status")
        if word != ("ok" if code == 0 else WORD[what]):
            toll.find("lies", f"exit code {code}, the notebook says {word}: {server.said()}")
        if not wait_until(lambda: not is_held(run.path)):
            toll.find("hung", "the kernel lives on")
        check_state(toll, run.path)
    if server.run(toll, root, *command) != 0:
        toll.find("lost", server.said())
    with toll.comparing("in the end"):
        same(end, run)
    if (word := json.loads(notebook.read_text())["metadata"]["iskit"]["status"]) != "ok":
        toll.find("lies", word)
    check_left(toll, root)


@pytest.mark.parametrize("fault", FAULTS)
def test_report(fault, server, toll, project):
    figure = {"data": [{"type": "scatter", "y": [1, 2]}], "layout": {}}  # without one there is no report
    shown = [{"output_type": "display_data", "data": {"application/vnd.plotly.v1+json": figure}, "metadata": {}}]
    cells = [
        {"cell_type": "markdown", "id": "a", "metadata": {}, "source": "# A title"},
        {"cell_type": "code", "id": "b", "metadata": {}, "source": "", "outputs": shown, "execution_count": 1},
    ]
    root = project / "begun"
    root.mkdir()
    value = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    (root / "in.ipynb").write_text(json.dumps(value))
    command = ("iskit", "report", "in.ipynb", str(root.parent / "struck" / "out.html"))
    end = copied(root, project / "struck")
    assert server.run(toll, end, *command) == 0, server.said()
    page = (end / "out.html").read_bytes()
    for old in (b"an older one",) if SHORT else (None, b"an older one"):
        if old:
            (root / "out.html").write_bytes(old)
        for here, when in struck(toll, server, root, fault, *command):
            now = (here / "out.html").read_bytes() if (here / "out.html").exists() else None
            if now not in (old, page):
                toll.find("differing", f"{when}: neither the old page nor the new one")
            if server.run(toll, here, *command) != 0:
                toll.find("lost", server.said())
            with toll.comparing(when):
                assert (here / "out.html").read_bytes() == page
            check_left(toll, here)


@pytest.mark.parametrize("fault", FAULTS)
def test_data_cache(fault, server, toll, project):
    """The images of a parquet set, decoded once."""
    images = []
    for number in range(64):
        file = io.BytesIO()
        noise = np.random.default_rng(number).integers(0, 255, (8, 8), dtype=np.uint8)
        Image.fromarray(noise).save(file, "png")
        images.append(file.getvalue())
    for name in ("train", "test"):
        (project / "images").mkdir(exist_ok=True)
        table = pa.table({"image": images, "label": [number % 2 for number in range(64)]})
        pq.write_table(table, project / "images" / f"{name}.parquet")
    path = str(project / "images")
    settings = {**TINY, "dataset": f"parquet(path={path!r})", "sampler": "unif", "batch_size": 16}
    end = whole(project, settings)
    root = project / "begun"
    root.mkdir()
    command = ("iskit", "run", *words(settings))
    for here, when in struck(toll, server, root, fault, *command):
        run = run_in(here, settings)
        check_state(toll, run.path)
        if server.run(toll, here, *command) != 0:
            toll.find("lost", f"{when}: {server.said()}")
        with toll.comparing(when):
            same(end, run)
        check_left(toll, here)


ROOM = {
    "RLIMIT_AS": [0, 1, 4, 16, 64, 128, 256],  # MB more than there was
    "RLIMIT_NOFILE": [0, 1, 2, 3, 4, 6, 8, 12],
    "RLIMIT_FSIZE": [1000, 2000, 4000, 8000, 12_000, 16_000, 24_000, 32_000, 64_000],
    "SIGXFSZ": [1000, 2000, 4000, 8000, 12_000, 16_000, 24_000, 32_000, 64_000],
}


DEADLY = {"SIGXFSZ": signal.SIGXFSZ, "RLIMIT_AS": signal.SIGSEGV}  # libraries in C do not always ask what they got


@pytest.mark.parametrize("limit", ROOM)
@pytest.mark.parametrize("steps", [0, 9])
def test_run_where_there_is_little(limit, steps, server, toll, project):
    settings = SETTINGS["p"]
    end = whole(project, settings)
    root = begun(project, settings, steps)
    command = ("iskit", "run", *words(settings))
    for room in ROOM[limit][:: 4 if SHORT else 1]:
        here = copied(root, project / "struck")
        size = room * 2**20 if limit == "RLIMIT_AS" else room
        code = server.run(toll, here, *command, **{limit: size})
        if limit in DEADLY and code == -DEADLY[limit]:
            toll.signals += 1
        else:
            check_line(toll, server, code)
            toll.refusals += code != 0
        run = run_in(here, settings)
        check_state(toll, run.path)
        if server.run(toll, here, *command) != 0:
            toll.find("lost", f"{limit}={room}: {server.said()}")
        with toll.comparing(f"{limit}={room}"):
            same(end, run)
        check_left(toll, here / "outputs")


@pytest.mark.parametrize("fault", FAULTS)
def test_results(fault, server, toll, project):
    """The table, and the cache beside the runs."""
    root = project / "begun"
    root.mkdir()
    for seed in (1, 2):
        run_in(root, {**SETTINGS["p"], "seed": seed}).train()
    command = ("iskit", "results")
    copied(root, project / "struck")
    assert server.run(toll, project / "struck", *command) == 0
    table = server.said()
    frame = iskit.results(outputs=project / "struck" / "outputs")
    for here, when in struck(toll, server, root, fault, *command):
        assert server.run(toll, here, *command) == 0
        with toll.comparing(when):
            assert server.said() == table
            assert iskit.results(outputs=here / "outputs").equals(frame)
