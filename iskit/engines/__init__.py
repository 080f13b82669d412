"""Where the runs of a sweep are trained: here, on a Ray cluster, on Slurm. An engine gives each run to one worker."""

import importlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from iskit.errors import InputError, suggest
from iskit.study.sweep import Sweep

# Trains a sweep, or sees to it; `follow` does so in this process, wherever its pool is. Gives the exit code.
Train = Callable[[Sweep, Callable[[], int]], int]
ENGINES = {"local": "here", "ray": "on_ray", "slurm": "on_slurm"}


@dataclass(frozen=True)
class Options:
    """Of engines; each takes what concerns it.

    address: of a Ray cluster. cpus, gpus: of each of Ray's workers, of each of Slurm's jobs. jobs: how many of them;
    minutes: of each; partition: where. text_only: print what would be submitted.
    """

    address: str | None = None
    cpus: float | None = None
    gpus: float | None = None
    jobs: int = 1
    minutes: int = 110
    partition: str | None = None
    text_only: bool = False

    def __post_init__(self) -> None:
        for name in ("cpus", "gpus", "jobs", "minutes"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise InputError(f"{name}={value} must be above 0")


def engine(name: str, options: Options) -> AbstractContextManager[Train]:
    """InputError for an unknown engine, or one that is not installed."""
    if name not in ENGINES:
        raise InputError(f"engine={name!r} is unknown: {suggest(name, ENGINES)}")
    try:
        module = importlib.import_module(f"iskit.engines.{ENGINES[name]}")
    except ModuleNotFoundError as error:
        raise InputError(f"engine={name!r} needs {error.name}: run pip install -e '.[{name}]' in the clone") from None
    return module.engine(options)
