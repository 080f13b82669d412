"""iskit: when training is limited to a budget, is it worth choosing which images to train on?"""

import os
from importlib import import_module
from typing import Any

# Threads that wait must soon sleep, not spin on: on a machine that others use too, spinning made four threads twenty
# times slower than one. GNU's OpenMP may look for some microseconds first, or small steps lose a third to waking up.
# Both are read when torch is first imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
# For runs that a GPU must repeat bit by bit; read once a process, by the first product on a GPU.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

# Looked up when first used: the training path must import without the notebooks' and the command line's libraries.
# No name may be a module's: importing that module would hide it.
_HOME = {
    "Experiment": "iskit.runs.experiment",
    "InputError": "iskit.errors",
    "Run": "iskit.runs.run",
    "Sweep": "iskit.study.sweep",
    "ask": "iskit.lessons.guess",
    "correct_of": "iskit.study.archive",
    "compare": "iskit.views.compare",
    "counts_of": "iskit.study.archive",
    "diagnose": "iskit.own.diagnosis",
    "findings": "iskit.judging.findings",
    "fit": "iskit.own.fitting",
    "grid": "iskit.runs.grid",
    "history_of": "iskit.study.archive",
    "methods": "iskit.views.cards",
    "over_seeds": "iskit.study.archive",
    "results": "iskit.study.archive",
    "sample_of": "iskit.study.archive",
    "show": "iskit.views.cards",
    "verdict": "iskit.views.verdict",
    "watch": "iskit.pages.watch",
    "wrap": "iskit.own.wrapping",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'iskit' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *_HOME]
