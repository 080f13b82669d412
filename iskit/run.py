"""One run = one folder: what was asked, how it went, what came out. Finished runs are kept, killed ones go on."""

import functools
import time
import warnings
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock, Timeout
from torch import nn

from iskit import files, probe
from iskit.augment import Pipeline
from iskit.data import Dataset, Loader, datasets
from iskit.errors import InputError
from iskit.experiment import Experiment
from iskit.models import models
from iskit.samplers import Sampler, samplers
from iskit.schedules import schedules
from iskit.summary import summary
from iskit.trainer import Trainer


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
    sampler = samplers.create(e.sampler)
    sampler.check(budget=e.budget, unit=e.unit, epochs=e.epochs, batch_size=e.batch_size)
    schedule = schedules.partial(e.schedule)
    schedule(0.0)
    if e.device == "cuda" and not torch.cuda.is_available():
        raise InputError("device='cuda' is not there: this machine has no usable GPU; set device to auto or cpu")
    cuda = e.device == "cuda" or (e.device == "auto" and torch.cuda.is_available())
    return Parts(
        loader=datasets.create(e.dataset, files.root() / e.data_dir),
        model=models.partial(e.model),
        sampler=sampler,
        augment=Pipeline.parse(e.augment),
        schedule=schedule,
        device=torch.device("cuda" if cuda else "cpu"),
    )


@functools.lru_cache(maxsize=2)
def load(dataset: str, data_dir: Path, validation: int, device: torch.device) -> Dataset:
    """A data set on its device; kept, since the runs of a sweep share it."""
    return datasets.create(dataset, data_dir).load().with_validation(validation).to(device)


def build(experiment: Experiment, data: Dataset) -> nn.Module:
    """The experiment's model, its first weights a function of the seed."""
    with torch.random.fork_rng():
        torch.manual_seed(experiment.seed)
        model = parts(experiment).model(len(data.classes), data.channels, data.size)
    return model.to(data.label.device).to(memory_format=torch.channels_last)


_compiled: dict[tuple, nn.Module] = {}  # the last run's model, if it was compiled and the run is over


def build_again(experiment: Experiment, data: Dataset) -> nn.Module:
    """The same in place of the last run's model where they are of one kind, for compiling takes most of a minute."""
    model = build(experiment, data)
    known = _compiled.pop(kind(experiment, data), None)
    if known is None:
        return model
    known.load_state_dict(model.state_dict())
    known.zero_grad()  # a run that ended amid a step left its gradients
    return known


def kind(experiment: Experiment, data: Dataset) -> tuple:
    """What makes two models alike but for their weights."""
    return models.canonical(experiment.model), len(data.classes), data.channels, data.size, data.label.device


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


class Run:
    """An experiment and its folder outputs/<study>/<run id>/.

    Iterate over it to train; it gives the progress t after every step, and nothing if the run is finished already.
    Leave the loop to stop: a checkpoint is written and the next Run of the same experiment goes on from it.
    InputError, before anything is written, for an experiment that cannot work.
    """

    def __init__(self, experiment: Experiment, outputs: Path | None = None, checkpoint_seconds: float = 60.0):
        self.experiment = experiment
        self.checkpoint_seconds = checkpoint_seconds
        parts(experiment)
        self.path = (outputs or files.root() / "outputs") / experiment.study / experiment.run_id(canonical(experiment))
        self.trainer: Trainer | None = None  # to be watched while it trains; a later run may take over its model

    @property
    def finished(self) -> bool:
        return (self.path / "result.json").exists()

    @property
    def result(self) -> dict[str, Any]:
        return files.read_json(self.path / "result.json")

    def check(self) -> None:
        """All that can be known before training, data and model included. InputError for what cannot work."""
        if not self.finished:
            self.bind(torch.device("cpu"))

    def train(self) -> dict[str, Any]:
        """Trains to the end, or returns what an earlier run found."""
        for _ in self:
            pass
        return self.result

    def __iter__(self) -> Iterator[float]:
        if self.finished:
            return
        threads = torch.get_num_threads()
        probe.keep_memory()
        trainer = self.trainer = self.bind(parts(self.experiment).device, build_again)
        state = self._saved(trainer.data.label.device)
        # A run goes on as it began, even if by now something else would suit.
        choice = probe.Choice(**state["choice"]) if state else choose(self.experiment, trainer.model, trainer.data)
        trainer.bf16 = choice.precision == "bf16"
        torch.set_num_threads(choice.threads)
        try:
            yield from self._recorded(trainer, choice, state)
        finally:
            torch.set_num_threads(threads)
            _compiled.clear()
            if trainer.captures:
                _compiled[kind(self.experiment, trainer.data)] = trainer.model

    def bind(self, device: torch.device, build: Callable[[Experiment, Dataset], nn.Module] = build) -> Trainer:
        """The trainer of this experiment, at its start, on a CPU in float32."""
        e, p = self.experiment, parts(self.experiment)
        data = load(e.dataset, files.root() / e.data_dir, e.validation, device)
        return Trainer(
            build(e, data),
            data,
            p.sampler,
            p.augment,
            budget=e.budget,
            unit=e.unit,
            epochs=e.epochs,
            batch_size=e.batch_size,
            optimizer=e.optimizer,
            lr=e.lr,
            schedule=p.schedule,
            momentum=e.momentum,
            weight_decay=e.weight_decay,
            seed=e.seed,
            evals=e.evals,
            compile=e.compile,
            deterministic=e.deterministic,
            cache=files.root() / e.data_dir / "cache" / "proxy",
        )

    def _saved(self, device: torch.device) -> dict[str, Any] | None:
        """The checkpoint; None if there is none, or it is damaged: a run begun anew ends the same."""
        path = self.path / "checkpoint.pt"
        if not path.exists():
            return None
        try:
            with zipfile.ZipFile(path) as whole:  # torch reads over flipped bits without a word
                if whole.testzip():
                    raise zipfile.BadZipFile
            return torch.load(path, weights_only=True, map_location=device)
        except Exception as error:  # whatever a damaged file makes torch raise
            warnings.warn(f"{path} is damaged ({type(error).__name__}): the run starts anew", stacklevel=2)
            return None

    def _recorded(self, trainer: Trainer, choice: probe.Choice, state: dict[str, Any] | None) -> Iterator[float]:
        """Trains, and keeps the folder true to what happens."""
        self.path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.path / "run.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise InputError(f"{self.path} is being trained by another process: wait for it, or change seed") from None
        with lock:
            if self.finished:  # by another process, since we looked
                return
            checkpoint = self.path / "checkpoint.pt"

            def save() -> None:
                files.write(
                    checkpoint, lambda path: torch.save({"choice": asdict(choice), **trainer.state_dict()}, path)
                )

            if state:
                trainer.load_state_dict(state)
            files.write_text(self.path / "params.yaml", _yaml(self.experiment))
            self._status("running")
            saved = time.monotonic()
            try:
                for t in trainer:
                    yield t
                    if time.monotonic() - saved > self.checkpoint_seconds:
                        save()
                        self._status("running", t=t)
                        saved = time.monotonic()
            except GeneratorExit:  # between two steps, so the state is whole
                save()
                self._status("stopped", t=trainer.budget.spent(trainer.meter))
                raise
            except BaseException as error:
                self._keep(trainer)
                self._status("stopped" if isinstance(error, KeyboardInterrupt) else "failed", error=str(error))
                if isinstance(error, torch.OutOfMemoryError):
                    e = self.experiment
                    raise InputError(
                        f"the GPU's memory does not hold batch_size={e.batch_size} of model={e.model!r} on images of "
                        f"{trainer.data.size} pixels: lower batch_size, or take a smaller model or precision='bf16'"
                    ) from error
                raise
            self._keep(trainer)
            # Last, for it is what makes the run finished.
            files.write_json(self.path / "result.json", summary(trainer))
            self._status("finished", t=1.0)
            checkpoint.unlink(missing_ok=True)

    def _keep(self, trainer: Trainer) -> None:
        """What was learnt so far."""
        files.write(self.path / "history.parquet", trainer.history.frame().to_parquet)
        files.write(self.path / "counts.npy", functools.partial(_save_counts, trainer))

    def _status(self, state: str, **more: Any) -> None:
        now = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        files.write_json(self.path / "status.json", {"state": state, "at": now, **more})


def canonical(experiment: Experiment) -> dict[str, str]:
    """The specs in the one spelling that all their synonyms share."""
    return {
        "dataset": datasets.canonical(experiment.dataset),
        "model": models.canonical(experiment.model),
        "sampler": samplers.canonical(experiment.sampler),
        "augment": Pipeline.canonical(experiment.augment),
        "schedule": schedules.canonical(experiment.schedule),
    }


def _save_counts(trainer: Trainer, path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, trainer.history.counts.cpu().numpy())


def _yaml(experiment: Experiment) -> str:
    import yaml

    return yaml.safe_dump(experiment.to_dict(), sort_keys=False)
