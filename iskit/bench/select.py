"""What choosing examples costs: an epoch's plan without any training, `selection()`, and whole runs, `overhead()`."""

import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from statistics import median

import pandas as pd
import torch

from iskit.budget import Budget, Meter
from iskit.randomness import Stream, uniform_all
from iskit.runs.experiment import Experiment
from iskit.runs.parts import choose, parts
from iskit.runs.run import Run
from iskit.samplers import samplers
from iskit.training.walk import Walk

PER_EPOCH = ("unif", "p", "c", "online_batch", "loss_history", "infobatch")
STEPWISE = ("p", "c", "ordered", "selective_backprop(beta=2)", "gnorm", "loss")


def selection(
    sizes: Sequence[int] = (1_000_000,), specs: Sequence[str] = PER_EPOCH, budget: float = 0.3, repeats: int = 3
) -> pd.DataFrame:
    """One row a sampler and training set size, each measured in a fresh process on one thread of the host.

    seconds: the fastest of `repeats` plans of an epoch, from the sampler's state to the rows in walking order: draw,
    common order, weights. bytes_an_example: growth of the peak memory over a process that has loaded the kit and
    holds no state yet.
    """
    rows = []
    for n in sizes:
        for spec in specs:
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as fresh:
                rows.append(fresh.submit(_measure, n, spec, budget, repeats).result())
    return pd.DataFrame(rows)


def overhead(experiment: Experiment, specs: Sequence[str] = STEPWISE, laps: int = 3) -> pd.DataFrame:
    """One row a sampler: short runs of the experiment with each, in turns, in this process.

    seconds: of training and scoring, the median of `laps` runs. times_unif: against unif's. times_cost: what the
    passes alone would take, cost against unif's cost (forward + 2 x backward). own: what is beyond the passes.
    """
    experiments = [replace(experiment, sampler=spec) for spec in ("unif", *(s for s in specs if s != "unif"))]
    seconds: list[list[float]] = [[] for _ in experiments]
    cost = [0] * len(experiments)
    for lap in range(-1, laps):
        for number, one in enumerate(experiments):
            device = parts(one).device
            trainer = Run(one).bind(device)
            choice = choose(one, trainer.model, trainer.data)
            trainer.bf16 = choice.precision == "bf16"
            before = torch.get_num_threads()
            torch.set_num_threads(choice.threads)
            for _ in trainer:
                pass
            torch.set_num_threads(before)
            cost[number] = trainer.meter.cost
            if lap >= 0:  # the first makes tables and caches
                seconds[number].append(trainer.meter.training_seconds)
    frame = pd.DataFrame({"sampler": [one.sampler for one in experiments], "seconds": map(median, seconds)})
    frame["times_unif"] = frame["seconds"] / frame["seconds"][0]
    frame["times_cost"] = [each / cost[0] for each in cost]
    frame["own"] = frame["times_unif"] / frame["times_cost"] - 1
    return frame.assign(dataset=experiment.dataset, model=experiment.model)


def _measure(n: int, spec: str, budget: float, repeats: int) -> dict[str, object]:
    torch.set_num_threads(1)
    before = peak()
    label = torch.zeros(1, dtype=torch.int64).expand(n)
    amount = Budget(budget, "backward", full=10 * n)
    sampler = samplers.create(spec)
    sampler.bind(label=label, budget=amount, epochs=10, batch_size=128, seed=1)
    for state in sampler.state_dict().values():
        if state.shape == (n,):
            state.copy_(uniform_all(1, Stream.CONTROL, 0, n))  # as if everything had been trained
    walk = Walk(sampler, amount, Meter(), n, seed=1, device=label.device)
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        walk.advance(t=0.1)
        seconds.append(time.perf_counter() - start)
        walk.position = len(walk.rows)
    return {
        "sampler": spec,
        "examples": n,
        "chosen": len(walk.rows),
        "seconds": min(seconds),
        "bytes_an_example": (peak() - before) / n,
    }


def peak() -> int:
    """Bytes of memory that this process has held at most."""
    status = Path("/proc/self/status")
    if status.exists():  # Trap: Linux hands ru_maxrss on from the process that started this one
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return 1024 * int(line.split()[1])
    import resource  # not on Windows

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS
