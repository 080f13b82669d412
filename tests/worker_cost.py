"""What a worker costs beside training: `python tests/worker_cost.py`; seconds, into outputs/soak/worker-<time>.json.

start: until a new process is ready; first, next: of a worker's first run and of its others, what is not training,
scoring, evaluation or preparation: data, model, files, and the way of task and answer.
"""

import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from iskit import files
from iskit.runs.experiment import Experiment
from iskit.runs.grid import grid
from iskit.runs.run import Run
from iskit.runs.summary import commit
from iskit.study.local import Answer, Pool
from iskit.study.sweep import environments
from iskit.study.worker import Task, train

MODELS = (("digits", "cnn"), ("digits", "resnet8"))
RUNS = 10


def measured(pool: Pool, experiment: Experiment, outputs: Path) -> float:
    start = time.perf_counter()
    pool.give(Task(0, experiment, outputs, torch.get_num_threads()))
    while pool.busy:
        for _, word in pool.hear(1.0):
            assert not isinstance(word, Answer) or word.what == "finished", word
    return time.perf_counter() - start - sum(Run(experiment, outputs).result["seconds"].values())


def costs(dataset: str, model: str, outputs: Path) -> dict[str, float]:
    settings: dict[str, Any] = {"dataset": dataset, "model": model, "epochs": 1, "evals": 1, "seeds": RUNS}
    experiments = grid(settings)
    places = environments(experiments, 1, outputs)
    start = time.perf_counter()
    with Pool(train, places) as pool:
        pool.fill(1)
        while not pool.idle:
            pool.hear(1.0)
        ready = time.perf_counter() - start
        first, *others = (measured(pool, experiment, outputs) for experiment in experiments)
    found = {"start": ready, "first": first, "next": statistics.median(others)}
    return {name: round(value, 3) for name, value in found.items()}


if __name__ == "__main__":
    rows = []
    for dataset, model in MODELS:
        with tempfile.TemporaryDirectory() as folder:
            rows.append({"what": f"{model} on {dataset}", **costs(dataset, model, Path(folder))})
        print(rows[-1], flush=True)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    at = time.strftime("%Y-%m-%dT%H:%M:%S%z")
    about = {"at": at, "commit": commit(), "device": device, "cores": os.cpu_count(), "torch": torch.__version__}
    about["load"] = round(os.getloadavg()[0], 2)
    path = Path(__file__).parents[1] / "outputs" / "soak" / f"worker-{at[:19].replace(':', '')}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_json(path, {"about": about, "rows": rows})
    print(path)
