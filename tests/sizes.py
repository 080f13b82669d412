"""How long studies of many runs take to check and to read: `python tests/sizes.py`; JSON on the last line.

points: of a grid, checked as `iskit sweep --dry-run` checks them; runs: folders made up of one real run's files.
first and second: seconds of `iskit.results`, the second time by its cache; memory: most of the process, in GB.
"""

import json
import resource
import shutil
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import yaml

import iskit
from iskit.runs.experiment import Experiment
from iskit.runs.run import Run
from iskit.study import plan
from iskit.study.sweep import Sweep

POINTS, RUNS = 10_000, 5_000


def seconds(work) -> float:
    start = time.perf_counter()
    work()
    return round(time.perf_counter() - start, 2)


if __name__ == "__main__":
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        outputs = Path(folder) / "outputs"
        file = Path(folder) / "many.yaml"
        text = {"study": "many", "dataset": "digits(limit=60)", "model": "cnn(width=2)"}
        text |= {"epochs": 2, "evals": 1, "budget": 0.5, "precision": "float32"}
        file.write_text(yaml.safe_dump({**text, "sampler": ["unif", "p"], "seeds": POINTS // 2}))

        def check() -> None:
            many = plan.read_file(file)
            assert sum(1 for _ in Sweep(many.experiments, outputs=outputs).check()) == POINTS

        found["points"] = seconds(check)
        one = Experiment(**text, sampler="unif")
        Run(one, outputs).train()
        source = Run(one, outputs).path
        for seed in range(2, RUNS + 1):
            run = Run(replace(one, seed=seed), outputs)
            shutil.copytree(source, run.path)
            (run.path / "params.yaml").write_text(yaml.safe_dump(run.experiment.to_dict(), sort_keys=False))
        for name in ("first", "second"):
            found[name] = seconds(lambda: iskit.results("many", outputs))
        assert len(iskit.results("many", outputs)) == RUNS
    found["memory"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2)
    sys.stdout.write(json.dumps({"points": POINTS, "runs": RUNS, "seconds": found}) + "\n")
