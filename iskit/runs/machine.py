"""Threads and precision of a study: decided once, kept in its folder, obeyed by whoever trains a run of it.

Both change the last bits of a run, and seconds are compared within a study.
"""

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from iskit import files
from iskit.data import datasets
from iskit.models import models
from iskit.runs.experiment import Experiment
from iskit.runs.folder import acquire, unwritable
from iskit.training import probe
from iskit.training.probe import Choice

FILE = "machine.json"
PATIENCE = 600.0  # seconds for another process to measure


def cores() -> int:
    """The cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def gpus() -> list[str]:
    """What CUDA_VISIBLE_DEVICES calls each GPU that this process may use."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = torch.cuda.device_count()
    return named.split(",")[:count] if named else [str(number) for number in range(count)]


def kind(experiment: Experiment) -> str:
    """What a choice depends on, in words: experiments of one kind share it."""
    e = experiment
    return f"{models.canonical(e.model)} on {datasets.canonical(e.dataset)}, batches of {e.batch_size}, {e.precision}"


def decided(experiment: Experiment, folder: Path, measure: Callable[[], Choice]) -> Choice:
    """What the study in `folder` trains such an experiment with on a CPU; `measure` is asked if that is still open.

    Of several processes one decides and the others obey. Says so if this machine has fewer cores, or no bf16.
    InputError if the folder cannot be written.
    """
    path, name = folder / FILE, kind(experiment)
    choice = _read(path).get(name)
    if choice is None:
        lock = FileLock(folder / "machine.lock")
        with _writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            with suppress(Timeout):  # held for ever, where it outlived its process
                acquire(lock, PATIENCE)
        try:
            choices = _read(path, told=True)
            choice = choices.get(name) or measure()
            choices[name] = choice
            with _writing(folder):
                files.remove_temporaries(path)
                files.write_json(path, {key: asdict(value) for key, value in choices.items()})
        finally:
            lock.release()
    return _possible(choice, path)


def known_choice(experiment: Experiment, folder: Path) -> Choice | None:
    """What the study in `folder` decided; None if that is still open."""
    return _read(folder / FILE).get(kind(experiment))


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise unwritable(folder, error) from None


def _possible(choice: Choice, path: Path) -> Choice:
    if choice.precision == "bf16" and not probe.has_bf16():
        warnings.warn(f"{path} asks for bf16, which this processor computes slowly", stacklevel=3)
    if choice.threads <= cores():
        return choice
    warnings.warn(
        f"{path} asks for {choice.threads} threads a run: on the {cores()} cores of this machine a run takes {cores()}",
        stacklevel=3,
    )
    return Choice(cores(), choice.precision)


def _read(path: Path, told: bool = False) -> dict[str, Choice]:
    """By kind; what is damaged is left out, and decided anew. told: says so."""
    try:
        found = files.read_json(path)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        if files.passing(error):
            raise
        found = None
    known = {name: value for name, value in found.items() if _is_choice(value)} if isinstance(found, dict) else {}
    if told and (not isinstance(found, dict) or len(known) < len(found)):
        warnings.warn(f"{path} is damaged: threads and precision are decided anew", stacklevel=3)
    return {name: Choice(**value) for name, value in known.items()}


def _is_choice(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and value.keys() == {"threads", "precision"}
        and isinstance(value["threads"], int)
        and value["threads"] > 0
        and value["precision"] in ("float32", "bf16")
    )
