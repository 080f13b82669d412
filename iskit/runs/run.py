"""One run = one folder: what was asked, how it went, what came out. Finished runs are kept, killed ones go on."""

import functools
import time
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from iskit import files
from iskit.data import Dataset
from iskit.errors import InputError
from iskit.runs import checkpoint, compiled, folder
from iskit.runs.endings import disk_told, end_told, memory_told
from iskit.runs.experiment import Experiment
from iskit.runs.machine import decided
from iskit.runs.parts import build, canonical, choose, load, parts, revisions, source
from iskit.runs.summary import summary
from iskit.runs.writer import Overtaken, Writer
from iskit.training import probe
from iskit.training.trainer import Trainer


class Run:
    """An experiment and its folder outputs/<study>/<run id>/.

    Iterate over it to train; it gives the progress t after every step, and nothing if the run is finished already.
    Leave the loop to stop: a checkpoint is written and the next Run of the same experiment goes on from it. (Close the
    iterator, to hear if that could not be written.) What is damaged in the folder is told, and trained anew.
    InputError, before anything is written, for an experiment that cannot work, for a folder whose data set has changed
    since, and, as Busy, while another process trains it, or when another has taken it over; Unsaved when the disk takes
    no more.
    plan: hash of the study file that the experiment comes from; kept in its result. take_over: whether to go on for a
    process that holds the run but has given no sign of life for a minute.
    """

    def __init__(
        self,
        experiment: Experiment,
        outputs: Path | None = None,
        checkpoint_seconds: float = 60.0,
        plan: str | None = None,
        take_over: bool = False,
    ):
        self.experiment, self.plan, self.take_over = experiment, plan, take_over
        self.checkpoint_seconds = checkpoint_seconds
        parts(experiment)
        self.specs, self.revisions = canonical(experiment), revisions(experiment)
        name = experiment.run_id(self.specs, self.revisions)
        self.path = (outputs or files.root() / "outputs") / experiment.study / name
        self.trainer: Trainer | None = None  # to be watched while it trains; a later run may take over its model

    @property
    def finished(self) -> bool:
        return folder.finished(self.path, self._models(1.0))

    @property
    def result(self) -> dict[str, Any]:
        return files.read_json(self.path / "result.json")

    @property
    def status(self) -> dict[str, Any]:
        return folder.status_of(self.path)

    def _models(self, t: float) -> list[str]:
        """The files of weights that are to be there at progress t: evenly over the run, model.pt at its end."""
        many = int(self.experiment.keep_model)
        due = [f"model-{number / many:g}.pt" for number in range(1, many) if number / many <= t]
        return [*due, "model.pt"] if many and t >= 1 else due

    def check(self, alike: bool = False) -> None:
        """All that can be known before training, data and model included. InputError for what cannot work.

        alike: one that was checked differs in nothing by which data and model could fail, see `iskit.runs.grid.kinds`.
        """
        folder.check_files(self.path)
        if self.finished:
            self._same_data(self.result.get("data"))
        elif not alike:
            self.bind(torch.device("cpu"))

    def train(self) -> dict[str, Any]:
        """Trains to the end, or returns what an earlier run found."""
        for _ in self:
            pass
        return self.result

    def __iter__(self) -> Generator[float, None, None]:
        folder.check_files(self.path)
        if self.finished:
            self.check()
            self.mend()
            return
        threads = torch.get_num_threads()
        probe.keep_memory()
        with memory_told(self.experiment):
            trainer, state = self._begun()
            # A run goes on as it began, even if by now something else would suit.
            choice = probe.Choice(**state["choice"]) if state else self._choice(trainer)
            trainer.bf16 = choice.precision == "bf16"
            torch.set_num_threads(choice.threads)
            try:
                yield from self._recorded(trainer, choice, state)
            finally:
                torch.set_num_threads(threads)
                compiled.kept.clear()
                if trainer.captures:
                    compiled.kept[compiled.kind(self.experiment, trainer.data)] = trainer.model

    def mend(self) -> None:
        """Of a finished run: what a killed process had no time for, or somebody damaged, beside the results."""
        told = folder.told(self.path)["state"] == "finished"
        left = (self.path / "checkpoint.pt").exists() or any(self.path.glob(".*.tmp"))
        if told and not left and self._says_its_settings():
            return
        with suppress(InputError, OSError), folder.locked(self.path) as writer:  # may it only be read, that is as good
            writer.claim("finished", t=1.0)
            writer.write("params.yaml", self._settings)
            (self.path / "checkpoint.pt").unlink(missing_ok=True)

    def _says_its_settings(self) -> bool:
        """Whether params.yaml, in whatever spelling, asks for this run."""
        import yaml

        try:
            asked = Experiment.parse(yaml.safe_load((self.path / "params.yaml").read_text(encoding="utf-8")))
            return asked.run_id(canonical(asked), revisions(asked)) == self.path.name
        except (OSError, ValueError, TypeError, RecursionError, yaml.YAMLError):
            return False

    def _begun(self) -> tuple[Trainer, dict[str, Any] | None]:
        """The trainer where its checkpoint left it, with that; or at its start, with None."""
        device = parts(self.experiment).device
        trainer = self.trainer = self.bind(device, compiled.build_again)
        state = self._saved(trainer.data.label.device)
        self._same_data(state and state["data"])
        if state:
            try:
                trainer.load_state_dict(state)
            except Exception as error:  # whatever a part makes of a state that is not its own
                self._anew("checkpoint.pt", f"damaged ({type(error).__name__})")
                self.trainer = self.bind(device, compiled.build_again)
                return self.trainer, None
        return trainer, state

    def _anew(self, name: str, wrong: str) -> None:
        warnings.warn(f"{self.path / name} is {wrong}: the run starts anew", stacklevel=3)

    def _choice(self, trainer: Trainer) -> probe.Choice:
        measure = functools.partial(choose, self.experiment, trainer.model, trainer.data)
        return measure() if trainer.device.type == "cuda" else decided(self.experiment, self.path.parent, measure)

    def bind(self, device: torch.device, build: Callable[[Experiment, Dataset], nn.Module] = build) -> Trainer:
        """The trainer of this experiment, at its start, on a CPU in float32."""
        e, p = self.experiment, parts(self.experiment)
        data = load(e.dataset, files.root() / e.data_dir, e.validation, device, e.seed)
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

    def _same_data(self, known: Mapping[str, str] | None) -> None:
        """InputError if the data set is not what it was. known: its source and digest then, if they were kept."""
        e, folder = self.experiment, files.root() / self.experiment.data_dir
        if known is None or known["source"] == source(e.dataset, folder):
            return
        if known["digest"] != load(e.dataset, folder, e.validation, torch.device("cpu"), e.seed).digest:
            raise InputError(
                f"dataset={e.dataset!r} has changed since {self.path} was trained on it: remove that folder to train "
                "anew, or keep both by another study="
            )

    def _saved(self, device: torch.device) -> dict[str, Any] | None:
        state = checkpoint.read(self.path / "checkpoint.pt", device, self._models)
        if isinstance(state, str):
            self._anew("checkpoint.pt", state)
            return None
        return state

    def _recorded(self, trainer: Trainer, choice: probe.Choice, state: dict[str, Any] | None) -> Iterator[float]:
        """Trains, and keeps the folder true to what happens."""
        saved = trainer.budget.spent(trainer.meter) if state else None  # t of the checkpoint
        with (
            folder.locked(self.path, self.take_over) as writer,
            disk_told(self.path, writer, lambda: saved),
            end_told(self.path, writer, lambda: self._keep(trainer, writer), lambda: saved),
        ):
            writer.claim("running", saved=saved)
            if self.finished:  # by another process, since we looked
                writer.say("finished", t=1.0)
                return
            if wrong := folder.damage(self.path):
                self._anew(wrong, "damaged")
                (self.path / "result.json").unlink()  # it must not vouch for what is written now
                writer.first = True
            e = self.experiment
            origin = {"source": source(e.dataset, files.root() / e.data_dir), "digest": trainer.data.digest}
            about = {"format": checkpoint.FORMAT, "choice": asdict(choice), "data": origin}

            def save() -> None:
                nonlocal saved
                t = trainer.budget.spent(trainer.meter)
                whole = {**about, "t": t, **trainer.state_dict()}
                writer.write("checkpoint.pt", functools.partial(checkpoint.save, whole))
                saved = t

            def weights(path: Path) -> None:
                checkpoint.save({name: value.cpu() for name, value in trainer.model.state_dict().items()}, path)

            writer.write("params.yaml", self._settings)
            last, kept = time.monotonic(), len(self._models(state["t"] if state else 0.0))
            try:
                with writer.beating():
                    for t in trainer:
                        if writer.overtaken:
                            raise writer.overtaken
                        for name in self._models(t)[kept:]:
                            writer.write(name, weights)
                            kept += 1
                        yield t
                        if time.monotonic() - last > self.checkpoint_seconds:
                            save()
                            writer.say("running", t=t, saved=saved)
                            last = time.monotonic()
            except GeneratorExit:  # between two steps, so the state is whole
                save()
                writer.say("stopped", t=saved, saved=saved)
                raise
            self._keep(trainer, writer)
            writer.write("correct.npy", checkpoint.array_saver(np.packbits(trainer.correct.cpu().numpy())))
            # Last, for it is what makes the run finished.
            asked = {"specs": self.specs, "revisions": self.revisions, "plan": self.plan, "data": origin}
            writer.publish({**summary(trainer), **asked})
            with suppress(OSError, Overtaken):  # the next who opens the folder does it
                writer.say("finished", t=1.0)
                (self.path / "checkpoint.pt").unlink(missing_ok=True)
                (self.path / "error.log").unlink(missing_ok=True)

    def _settings(self, path: Path) -> None:
        import yaml

        path.write_text(yaml.safe_dump(self.experiment.to_dict(), sort_keys=False), encoding="utf-8")

    def _keep(self, trainer: Trainer, writer: Writer) -> None:
        """What was learnt so far."""
        writer.write("history.parquet", trainer.history.frame().to_parquet)
        writer.write("counts.npy", checkpoint.array_saver(trainer.history.counts.cpu().numpy()))
        writer.write("sample.parquet", trainer.sample.frame().to_parquet)
