"""Training speed beside the plain PyTorch loop of the same recipe, in one run on one machine: `training()`."""

import multiprocessing
import os
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from math import nan
from multiprocessing import get_context
from pathlib import Path
from statistics import median, stdev
from typing import Any

import pandas as pd
import torch

from iskit import files
from iskit.bench.limits import Ceiling, ceiling, work
from iskit.bench.plain import TRANSFORMS, Plain
from iskit.bench.select import peak
from iskit.runs.experiment import Experiment
from iskit.runs.machine import cores
from iskit.runs.parts import build, choose, load, parts
from iskit.runs.run import Run
from iskit.training.evaluation import evaluate
from iskit.training.probe import Step, keep_memory

FOREVER = 10_000  # epochs: no lap comes to the end of the run
AT_MOST = torch.get_num_threads()  # before any way sets its own
AUGMENTS = ("standard", "standard|mixup", "standard|ricap", "randaugment|standard")


@dataclass(frozen=True)
class Way:
    """A way to train: the kit (workers None), or the plain loop; threads: 0 for torch's own number;
    runs: at once, 0 for as many as the cores hold, given the threads of the way before."""

    name: str
    augment: str
    workers: int | None = None
    keep: bool = False
    threads: int = 0
    runs: int = 1


@dataclass(frozen=True)
class Lap:
    """images trained in `seconds`; net: seconds of a step of the network alone."""

    images: int
    seconds: float
    net: float


def ways(augments: Sequence[str], workers: int) -> list[Way]:
    """The plain loop as everyone writes it, then as one may tune it; the kit with each augmentation, and as in a sweep.

    workers: processes of the plain loop's DataLoader.
    """
    known = [augment for augment in augments if augment in TRANSFORMS] or ["standard"]
    return [
        *(Way(f"plain, {workers} workers", augment, workers) for augment in known),
        Way(f"plain, {workers} kept", known[0], workers, keep=True),
        Way(f"plain, {workers} kept, 1 thread", known[0], workers, keep=True, threads=1),
        Way("plain, no workers", known[0], 0),
        Way("plain, no workers, 1 thread", known[0], 0, threads=1),
        *(Way("iskit", augment) for augment in augments),
        Way("iskit, as in a sweep", augments[0], runs=0),
    ]


def training(experiment: Experiment, ways: Sequence[Way], laps: int = 5, images: int = 0) -> pd.DataFrame:
    """One row a way to train the experiment's model on its data; the first of them is a plain loop.

    They take turns, a lap of `images` (0: an epoch) each, so that what else the machine does meets all of them; medians
    over the laps. The plain loops live in one process and the kit in another, for each holds most of a gigabyte.
    Columns: images_per_second, its relative deviation over the laps; times_plain: against the first way, times_best:
    against the fastest plain one, of the same augmentation (or else the first); step_ms; around_us: what a step takes
    around the network's own forward, backward and update; flop_share, byte_share of the most this device does; seconds
    of each phase; peak_mb of the process so far (the plain loop's workers come on top); threads, precision.
    """
    with ExitStack() as stack:
        hosts: dict[bool, list[ProcessPoolExecutor]] = {True: [], False: []}
        teams: list[list[ProcessPoolExecutor]] = []
        rows: list[dict[str, Any]] = []
        for number, way in enumerate(ways):
            runs = way.runs or max(1, cores() // rows[-1]["threads"])
            own = hosts[way.workers is None]
            while len(own) < runs:
                own.append(stack.enter_context(ProcessPoolExecutor(1, mp_context=get_context("spawn"))))
            teams.append(own[:runs])
            about = [process.submit(_begin, number, experiment, way, files.root()).result() for process in teams[-1]]
            rows.append({"way": way.name, "augment": way.augment, "runs": runs, **about[0]})
        past = [[_together(number, team, images) for number, team in enumerate(teams)] for _ in range(laps)]
        for number, (team, row) in enumerate(zip(teams, rows, strict=True)):
            speeds = [lap[number].images / lap[number].seconds for lap in past]
            row["images_per_second"] = median(speeds)
            row["deviation"] = stdev(speeds) / median(speeds) if laps > 1 else 0.0
            row["net_ms"] = 1e3 * median(lap[number].net for lap in past)
            row |= team[0].submit(_end, number).result()
    frame = pd.DataFrame(rows)
    kit = frame["way"].str.startswith("iskit")
    for name, chosen in {"times_plain": frame["way"] == ways[0].name, "times_best": ~kit}.items():
        base = frame[chosen].groupby("augment")["images_per_second"].max()
        frame[name] = frame["images_per_second"] / frame["augment"].map(base).fillna(base[ways[0].augment])
    frame["step_ms"] = 1e3 * experiment.batch_size / frame["images_per_second"]
    frame["around_us"] = (1e3 * (frame["step_ms"] - frame["net_ms"])).where(frame["way"] == "iskit")
    return frame.join(_shares(frame)).assign(
        dataset=experiment.dataset, model=experiment.model, batch_size=experiment.batch_size
    )


def _together(number: int, team: list[ProcessPoolExecutor], images: int) -> Lap:
    laps = [future.result() for future in [process.submit(_lap, number, images) for process in team]]
    return Lap(sum(lap.images for lap in laps), max(lap.seconds for lap in laps), median(lap.net for lap in laps))


def _shares(frame: pd.DataFrame) -> pd.DataFrame:
    """Of the ceilings, measured in a process of its own: the large copy must not enter anybody's peak memory."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        most = process.submit(_ceiling, frame["device"].iloc[-1]).result()
    speed = frame["images_per_second"]
    shares = {"flop_share": frame["flop"] * speed / most.flop, "byte_share": frame["bytes"] * speed / most.bytes}
    return pd.DataFrame(shares)


def _ceiling(device: str) -> Ceiling:
    """The device's, with all threads and in the faster precision: one limit for all ways."""
    return max((ceiling(torch.device(device), bf16=bf16) for bf16 in (False, True)), key=lambda each: each.flop)


class Kit:
    """The kit as `iskit run` trains."""

    def __init__(self, experiment: Experiment):
        keep_memory()
        self.device = parts(experiment).device
        self.trainer = Run(experiment).bind(self.device)
        self.choice = choose(experiment, self.trainer.model, self.trainer.data)
        self.trainer.bf16 = self.choice.precision == "bf16"
        self.threads = self.choice.threads
        torch.set_num_threads(self.threads)
        self.steps = iter(self.trainer)
        for _ in range(3):
            next(self.steps)
        data = self.trainer.data
        shape = (data.channels, data.size, data.size)
        self.net = None if self.device.type == "cuda" else Step(self.trainer.model, shape, experiment.batch_size)

    @property
    def precision(self) -> str:
        return self.choice.precision

    def lap(self, images: int) -> int:
        rows = self.trainer.meter.backward
        while self.trainer.meter.backward - rows < (images or len(self.trainer.data)):
            next(self.steps)
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return self.trainer.meter.backward - rows

    def bare(self) -> float:
        """Seconds of a step of the network alone, with the same threads and precision."""
        if self.net is None:
            return nan
        seconds = []
        for _ in range(5):
            start = time.perf_counter()
            self.net(self.choice.precision)
            seconds.append(time.perf_counter() - start)
        return min(seconds)

    def evaluate(self) -> None:
        evaluate(self.trainer.model, self.trainer.data, bf16=self.trainer.bf16)


class Usual:
    """The plain loop, on the device that the kit would take; float32 as torch has it by default."""

    precision = "float32"

    def __init__(self, experiment: Experiment, way: Way):
        e = experiment
        self.device = parts(e).device
        self.threads = way.threads or torch.get_num_threads()
        torch.set_num_threads(self.threads)
        # Trap: a spawned process spawns its own children too, which costs the DataLoader's workers seconds to start.
        multiprocessing.set_start_method(None, force=True)
        data = load(e.dataset, files.root() / e.data_dir, e.validation, torch.device("cpu"), e.seed)
        self.plain = Plain(
            build(e, data).to(memory_format=torch.contiguous_format),
            data,
            self.device,
            augment=e.augment,
            workers=way.workers or 0,
            keep=way.keep,
            batch_size=e.batch_size,
            epochs=FOREVER,
            lr=e.lr,
            momentum=e.momentum,
            weight_decay=e.weight_decay,
        )
        next(self.plain.steps())

    def lap(self, images: int) -> int:
        rows = 0
        for _, _, count in self.plain.steps():
            rows += count
            if images and rows >= images:
                break
        return rows

    def bare(self) -> float:
        return nan

    def evaluate(self) -> None:
        self.plain.evaluate()


_ways: dict[int, Kit | Usual] = {}  # of this process


def _begin(number: int, experiment: Experiment, way: Way, root: Path) -> dict[str, Any]:
    """Makes a way ready; what it asks for."""
    os.environ["ISKIT_ROOT"] = str(root)
    settings = {**experiment.to_dict(), "augment": way.augment, "sampler": "sgd", "budget": 1.0, "epochs": FOREVER}
    e = Experiment.parse({**settings, "evals": 1})
    start = time.perf_counter()
    torch.set_num_threads(AT_MOST)
    made = _ways[number] = Kit(e) if way.workers is None else Usual(e, way)
    warmup = time.perf_counter() - start
    data = load(e.dataset, files.root() / e.data_dir, e.validation, torch.device("cpu"), e.seed)
    image = data.normalise(data.image[: e.batch_size])
    counted = work(build(e, data), image, len(data.classes), bf16=made.precision == "bf16")
    return {
        "flop": counted.flop,
        "bytes": counted.bytes,
        "device": made.device.type,
        "threads": made.threads,
        "precision": made.precision,
        "warmup_seconds": warmup,
    }


def _lap(number: int, images: int) -> Lap:
    way = _ways[number]
    torch.set_num_threads(way.threads)
    start = time.perf_counter()
    rows = way.lap(images)
    return Lap(rows, time.perf_counter() - start, way.bare())


def _end(number: int) -> dict[str, float]:
    way = _ways[number]
    torch.set_num_threads(way.threads)
    start = time.perf_counter()
    way.evaluate()
    seconds = time.perf_counter() - start
    found = {"eval_seconds": seconds, "peak_mb": peak() / 2**20}
    if isinstance(way, Kit):
        way.trainer.watch.settle()
        found |= {f"{phase}_seconds": way.trainer.meter.seconds[phase] for phase in ("train", "scoring", "prepare")}
    return found
