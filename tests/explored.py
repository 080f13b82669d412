"""Finished runs for the explorer, without training: on a grid of settings, with numbers that are told apart at sight.

As a script it measures how soon the page answers on a thousand of them: python tests/explored.py; prints JSON.
"""

import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from run_folders import write_past, write_run

BETTER = {"scan": 0.4, "unif": 0.0, "p": 0.9, "c": -0.6, "sgd": 3.0}
AUGMENTS = ("standard", "standard|mixup")


def write_study(
    outputs: Path,
    samplers: Sequence[str] = ("scan", "unif", "p", "c"),
    budgets: Sequence[float] = (0.1, 0.3),
    augments: Sequence[str] = AUGMENTS,
    seeds: int = 3,
    points: int = 30,
    **settings: Any,
) -> int:
    """How many runs; their histories have so many points."""
    random, count = np.random.default_rng(1), 0
    for augment in augments:
        for sampler in samplers:
            for budget in (1.0,) if sampler == "sgd" else budgets:
                for seed in range(1, seeds + 1):
                    accuracy = 80 + 25 * budget + BETTER.get(sampler, 0.2) + random.normal(0, 0.3)
                    entropy = 4 + budget / 2 - 0.1 * BETTER.get(sampler, 0.2)
                    seconds = 30 * budget + random.random()
                    found = {
                        **{"accuracy": accuracy, "best_accuracy": accuracy + 0.1, "training_seconds": seconds},
                        **{"entropy": entropy, "entropy_share": entropy / 4.61, "equivalent_budget": budget},
                        "passes": {"forward_only": 0, "forward": 1, "backward": int(2000 * budget), "prepared": 0},
                    }
                    own = {"study": "made", "epochs": 20, **settings, "seed": seed}
                    path = write_run(outputs, found, sampler=sampler, augment=augment, budget=budget, **own)
                    rise = np.linspace(0.2, 1, points)
                    past = {"accuracy": accuracy * rise, "loss": 1.2 - rise, "train_accuracy": accuracy * rise}
                    write_past(path, random.poisson(20, 100), t=rise, **past, train_loss=1.1 - rise)
                    count += 1
    return count


def measure() -> dict[str, Any]:
    """Of 1,008 runs: the page's size, and the milliseconds from a control's change to the next frame drawn."""
    from browsing import chromium

    from iskit.views.explorer import explore

    names = ("scan", "unif", "p", "c", "infobatch", "ordered", "gnorm", "loss", "rho", "selective_backprop")
    names += ("loss_history", "online_batch", "subset", "p(smooth=False)")
    with tempfile.TemporaryDirectory() as folder, chromium(1280, 900) as page:
        os.environ["ISKIT_ROOT"] = folder
        runs = write_study(Path(folder) / "outputs", names, (0.1, 0.2, 0.3, 0.5), (*AUGMENTS, "standard|ricap"), 6)
        file = Path(folder) / "explorer.html"
        explore(outputs=Path(folder) / "outputs").write(file)
        page.goto(file.as_uri())
        page.wait_for_selector("#figure .takeable", state="attached")
        kinds: dict[str, list[float]] = {}
        for _ in range(5):
            for what, change in CHANGES.items():
                kinds.setdefault(what, []).append(page.evaluate(TIMED.replace("CHANGE", change)))
        return {
            "runs": runs,
            "megabytes": round(file.stat().st_size / 1e6, 2),
            "median_ms": {what: round(median(times), 1) for what, times in kinds.items()},
            "slowest_ms": round(max(max(times) for times in kinds.values()), 1),
            "cores": os.cpu_count(),
            "load": round(os.getloadavg()[0], 2),
        }


CHANGES = {
    "a method": "document.querySelector('#methods input').click()",
    "a budget": "document.querySelectorAll('input[data-many=budget]')[1].click()",
    "along": "along.value = along.value === 'budget' ? 'seconds' : 'budget'; along.dispatchEvent(new Event('change'))",
    "each run": "document.getElementById('each').click()",
    "verdicts": "document.querySelector('#show input[value=verdicts]').click()",
    "accuracy": "document.querySelector('#show input[value=accuracy]').click()",
    "a point": "document.querySelector('#figure .takeable').dispatchEvent(new MouseEvent('click'))",
}
# Style and layout counted in: they are done when the frame after the next begins.
TIMED = """new Promise(done => {
    const along = document.getElementById("along");
    requestAnimationFrame(() => {
        const begun = performance.now();
        CHANGE;
        document.body.getBoundingClientRect();
        requestAnimationFrame(() => setTimeout(() => done(performance.now() - begun)));
    });
})"""

if __name__ == "__main__":
    print(json.dumps(measure(), indent=1))
