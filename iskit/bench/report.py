"""`iskit bench`: which tables each part measures, where they are kept, and how they are shown."""

import os
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from iskit import files
from iskit.bench import augment as augmentation
from iskit.bench.select import overhead, selection
from iskit.bench.sweep import workers
from iskit.bench.tasks import tasks
from iskit.bench.train import AUGMENTS, Way, training, ways
from iskit.errors import InputError, suggest
from iskit.inputs import typed
from iskit.runs.summary import commit
from iskit.training import probe

Tables = Iterator[tuple[str, pd.DataFrame]]


def train(folder: str, smoke: bool) -> Tables:
    """The kit beside the plain loop, for networks of four sizes."""
    experiments, _ = tasks(folder, smoke)
    chosen = [Way("plain, 1 workers", "standard", 1), Way("iskit", "standard")] if smoke else ways(AUGMENTS, workers=4)
    for e, images in zip(experiments[: 1 if smoke else None], (0, 0, 2560, 2560), strict=False):
        yield f"train, {e.model}", training(e, chosen, laps=1 if smoke else 5, images=128 if smoke else images)


def augment(folder: str, smoke: bool) -> Tables:
    """Images a second ready to train, against PIL and torchvision."""
    n, threads = (256, 1) if smoke else (20_000, torch.get_num_threads())
    yield "augment, loading", augmentation.loading(n=n, threads=threads)
    counts = {size: max(1, n * 32**2 // size**2) for size in (32, 84, 224)}
    sizes = [augmentation.randaugment(n=count, size=size, threads=threads) for size, count in counts.items()]
    yield "augment, RandAugment", pd.concat(sizes, ignore_index=True)
    yield "augment, operations", augmentation.operations(n=16 if smoke else 512)


def select(folder: str, smoke: bool) -> Tables:
    """What samplers cost: the plan of an epoch of 1,000,000 examples, and short runs against unif."""
    experiments, _ = tasks(folder, smoke)
    specs = ("unif",) if smoke else ("unif", "p", "c", "online_batch", "loss_history", "infobatch")
    yield "select, an epoch's plan", selection([1000 if smoke else 1_000_000], specs, repeats=1 if smoke else 3)
    for e in experiments[:1] if smoke else experiments[1:3]:
        one = e.parse({**e.to_dict(), "budget": 0.5, "epochs": 4 if smoke else 10, "evals": 1})
        yield f"select, {e.model}", overhead(one, laps=1 if smoke else 5)


def sweep(folder: str, smoke: bool) -> Tables:
    """A worker a core beside one worker, on this machine's processor."""
    experiments, _ = tasks(folder, smoke)
    for e in experiments[1:2] if smoke else experiments[1:3]:
        one = e.parse({**e.to_dict(), "epochs": 2 if smoke else 10, "budget": 1.0, "evals": 1, "device": "cpu"})
        yield f"sweep, {e.model}", workers(one, laps=1 if smoke else 3)


PARTS: dict[str, Callable[[str, bool], Tables]] = {
    "train": train,
    "augment": augment,
    "select": select,
    "sweep": sweep,
}


def bench(
    part: str, folder: str, smoke: bool = False, show: Callable[[str, pd.DataFrame], None] | None = None
) -> dict[str, Any]:
    """Measures one part, or all, and keeps the result in outputs/bench/. Returns what was written, tables as frames.

    The file holds `about` (device, versions, commit, load of the machine before and after) and `tables` (records); it
    is written anew with every table. show: is given each one's name and frame as soon as it is measured. InputError for
    an unknown part.
    """
    smoke = typed("smoke", smoke, bool)  # papermill's command line gives `false` as text, which is true
    if part not in (*PARTS, "all"):
        raise InputError(f"part={part!r} is unknown: {suggest(part, (*PARTS, 'all'))}")
    about = {
        "part": part,
        "at": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "smoke": smoke,
        "data": tasks(folder, smoke)[1],
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else f"cpu ({probe.cpu()})",
        "threads": torch.get_num_threads(),
        "versions": {name: version(name) for name in ("iskit", "torch", "torchvision", "numpy")},
        "commit": commit(),
        "load_before": load(),
    }
    path = files.root() / "outputs" / "bench" / f"{part}-{time.strftime('%Y%m%d-%H%M%S')}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    tables: dict[str, pd.DataFrame] = {}
    for kind in PARTS if part == "all" else [part]:
        for name, table in PARTS[kind](folder, smoke):
            tables[name] = table
            about["load_after"] = load()
            records = {name: table.to_dict("records") for name, table in tables.items()}
            files.write_json(path, {"about": about, "tables": records})
            if show:
                show(name, table)
    return {"about": about, "tables": tables, "path": path}


def read(path: Path) -> dict[str, Any]:
    """What `bench` wrote."""
    found = files.read_json(path)
    return {**found, "tables": {name: pd.DataFrame(rows) for name, rows in found["tables"].items()}, "path": path}


def load() -> float | None:
    """Processes that wanted to run in the last minute: above the cores, timings are not to be trusted."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def shown(name: str, table: pd.DataFrame) -> pd.DataFrame:
    """What people look at, as text: numbers of three digits."""
    if name.startswith("train"):
        few = pd.DataFrame({"way": table["way"] + ", " + table["augment"]})
        few["img/s"] = table["images_per_second"]
        few["± %"] = 100 * table["deviation"]
        few["x plain"], few["x best"] = table["times_plain"], table["times_best"]
        few["step ms"], few["net ms"], few["around us"] = table["step_ms"], table["net_ms"], table["around_us"]
        few["matrix %"], few["copy %"] = 100 * table["flop_share"], 100 * table["byte_share"]
        few["eval s"], few["warm s"], few["MB"] = table["eval_seconds"], table["warmup_seconds"], table["peak_mb"]
        few["on"] = table["threads"].astype(str) + "\N{NO-BREAK SPACE}" + table["precision"].replace("float32", "f32")
        table = few
    table = table.drop(columns=["dataset", "model"], errors="ignore")
    return table.map(lambda value: _digits(value) if isinstance(value, float) else str(value))


def _digits(value: float) -> str:
    return "" if value != value else f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
