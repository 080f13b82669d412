"""What an experiment's settings stand for: parts by name, data in memory, a model with its first weights."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from iskit import files
from iskit.augment import Pipeline
from iskit.data import CONDITIONS, Dataset, Loader, datasets
from iskit.errors import InputError
from iskit.models import models, weights, with_located_weights
from iskit.runs.experiment import Experiment
from iskit.samplers import Sampler, samplers
from iskit.training import probe
from iskit.training.schedules import schedules


@dataclass(frozen=True)
class Parts:
    """What an experiment's specs stand for, not yet bound to data."""

    loader: Loader
    model: Callable[..., nn.Module]
    sampler: Sampler
    augment: Pipeline
    schedule: Callable[[float], float]
    device: torch.device


def parts(experiment: Experiment) -> Parts:
    """Looks every spec up and checks it, without loading data. InputError names the argument and the remedy."""
    e = experiment
    known = specs(e)
    if e.device == "cuda" and not torch.cuda.is_available():
        raise InputError("device='cuda' is not there: this machine has no usable GPU; set device to auto or cpu")
    cuda = e.device == "cuda" or (e.device == "auto" and torch.cuda.is_available())
    return Parts(
        loader=datasets.create(e.dataset, files.root() / e.data_dir),
        device=torch.device("cuda" if cuda else "cpu"),
        **known,
    )


def specs(experiment: Experiment) -> dict[str, Any]:
    """What can be known of the parts on a machine without the data and the device: its specs, checked."""
    e = experiment
    datasets.parse(e.dataset)
    sampler = samplers.create(e.sampler)
    sampler.check(budget=e.budget, unit=e.unit, epochs=e.epochs, batch_size=e.batch_size)
    schedule = schedules.partial(e.schedule)
    schedule(0.0)
    return {
        "model": models.partial(with_located_weights(e.model, files.root() / e.data_dir)),
        "sampler": sampler,
        "augment": Pipeline.parse(e.augment),
        "schedule": schedule,
    }


def source(dataset: str, data_dir: Path) -> str:
    """A hash that changes when the files of a data set do, or where they lie, or when they were written."""
    return files.digest(datasets.create(dataset, data_dir).source())


def load(dataset: str, data_dir: Path, validation: int, device: torch.device, seed: int) -> Dataset:
    """What a run of this seed trains on, on its device. The images are kept, since the runs of a sweep share them."""
    name, options = datasets.parse(dataset)
    whole = datasets.spec(name, {key: value for key, value in options.items() if key not in CONDITIONS})
    data = _load(whole, data_dir, validation, device, source(dataset, data_dir))
    return datasets.create(dataset, data_dir).conditioned(data, seed)


@functools.lru_cache(maxsize=2)
def _load(dataset: str, data_dir: Path, validation: int, device: torch.device, source: str) -> Dataset:
    return datasets.create(dataset, data_dir).load().with_validation(validation).to(device)


def build(experiment: Experiment, data: Dataset) -> nn.Module:
    """The experiment's model, its first weights a function of the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(experiment.seed)
        model = parts(experiment).model(len(data.classes), data.channels, data.size)
    return model.to(data.label.device).to(memory_format=torch.channels_last)


def choose(experiment: Experiment, model: nn.Module, data: Dataset) -> probe.Choice:
    """Threads and precision of an experiment: a function of its settings and the machine, never of who calls."""
    e = experiment
    if data.label.device.type == "cuda":
        return probe.Choice(torch.get_num_threads(), "bf16" if e.precision == "auto" else e.precision)
    return probe.choose(
        model,
        models.canonical(e.model),
        (data.channels, data.size, data.size),
        batch_size=e.batch_size,
        precision=e.precision,
        folder=files.root() / e.data_dir / "cache" / "probe",
    )


# Of each spec: the one spelling that all its synonyms share.
SPELLING: dict[str, Callable[[str], str]] = {
    "dataset": datasets.canonical,
    "model": models.canonical,
    "sampler": samplers.canonical,
    "augment": Pipeline.canonical,
    "schedule": schedules.canonical,
}


def canonical(experiment: Experiment) -> dict[str, str]:
    """The specs in the one spelling that all their synonyms share; hashes of the files that they name, if any: of
    weights, and of a user's own sampler."""
    named = {
        "weights": weights(experiment.model, files.root() / experiment.data_dir),
        "sampler_source": samplers.source(experiment.sampler),
    }
    spelt = {name: spell(getattr(experiment, name)) for name, spell in SPELLING.items()}
    return {**{name: file for name, file in named.items() if file}, **spelt}


def revisions(experiment: Experiment) -> dict[str, int]:
    """What of the experiment gives other numbers than it first did, and the number of its present revision."""
    return {
        **datasets.revisions(experiment.dataset),
        **models.revisions(experiment.model),
        **samplers.revisions(experiment.sampler),
        **Pipeline.revisions(experiment.augment),
        **schedules.revisions(experiment.schedule),
        **experiment.revisions(),
    }
