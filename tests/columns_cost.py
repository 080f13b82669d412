"""What the columns of a run cost: `python tests/columns_cost.py`; thread seconds inside them, of the whole run's.

Counted: how far a method acted, told and summed, and the samplers' own numbers; the clock's own calls are in it. Not
counted: worst class and test bits, a few operations an evaluation; the fixed sample, which is charged to evaluation.
"""

import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from iskit.runs.experiment import Experiment
from iskit.runs.run import Run
from iskit.samplers import Sampler
from iskit.training import trainer
from iskit.training.acting import Acting

SAMPLERS = ("unif", "p", "gnorm(tau_min=0)", "selective_backprop", "ordered")
spent = 0.0


def timed(owner: Any, name: str) -> None:
    function = getattr(owner, name)

    def measured(*args: Any, **kwargs: Any) -> Any:
        global spent
        start = time.thread_time()
        try:
            return function(*args, **kwargs)
        finally:
            spent += time.thread_time() - start

    setattr(owner, name, measured)


if __name__ == "__main__":
    torch.set_num_threads(1)
    for method in ("plan", "fetched", "selected", "trained", "reduced", "means"):
        timed(Acting, method)
    for method in ("tell", "heard"):
        timed(Sampler, method)
    timed(trainer, "numbers")
    for _ in range(3):
        for sampler in SAMPLERS:
            experiment = Experiment(sampler=sampler, epochs=30, evals=5, budget=0.5, precision="float32")
            with tempfile.TemporaryDirectory() as folder:
                run = Run(experiment, Path(folder)).bind(torch.device("cpu"))
                spent, start = 0.0, time.thread_time()
                for _t in run:
                    pass
                whole = time.thread_time() - start
            print(f"{sampler}: {100 * spent / whole:.2f} % of {whole:.2f} s", flush=True)
