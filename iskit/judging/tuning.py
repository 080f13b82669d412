"""The trials of a study file's section `tune` trained, and what they say written down."""

import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from iskit import files
from iskit.errors import InputError
from iskit.judging import tune
from iskit.judging.optimum import best, beyond, choose, finer, mean, on_edge
from iskit.runs import folder
from iskit.runs.experiment import Experiment
from iskit.runs.run import Run
from iskit.study.plan import Plan
from iskit.study.sweep import Sweep, given_up
from iskit.study.worker import Progress


@dataclass(frozen=True)
class Trial:
    """One run: of which arm, with which learning rate and value of its option (None: as the arm is named), and what
    came out, None of a run that diverged. Passes and seconds of such a run are those up to its last evaluation."""

    arm: int
    lr: float
    value: Any
    seed: int
    accuracy: float | None
    passes: Mapping[str, int]
    seconds: float
    folder: str


class Tuning:
    """Trains the trials of a study file's section `tune`, stage by stage, and chooses. Used as a Sweep is.

    Iterate over it for news; `experiments` grows as stages come to be known. Finished trials are not trained again.
    A trial that diverges counts as done; one that fails otherwise stands in `failed`, and nothing is chosen. In the
    end `found` holds what tuned.json beside the trials says, and `final` is the study file of the tuned arms.
    InputError, before any trial is trained, for what cannot work.
    """

    def __init__(self, source: Plan, workers: int | None = None, outputs: Path | None = None):
        self.task, self.source, self.workers = tune.read(source), source, workers
        self.outputs = outputs or files.root() / "outputs"
        self.path = self.outputs / f"{self.task.study}-tuning" / "tuned.json"
        self.final = self.outputs / self.task.study / "tuned.yaml"
        self.experiments: list[Experiment] = []
        self.failed: dict[int, str] = {}
        self.found: dict[str, Any] = {}
        self._trials: list[Trial] = []
        self._sweep: Sweep | None = None
        self._stop = threading.Event()
        self._is_ours()

    def _is_ours(self) -> None:
        """InputError if another file of the study was tuned."""
        if self.path.exists() and (name := files.read_json(self.path)["file"]) != self.source.name:
            raise InputError(f"study={self.task.study!r} was tuned by {name}: give this file another study")

    @property
    def most(self) -> int:
        """Trials, if the grid grows as often as it may, at both ends."""
        task = self.task
        return len(task.arms) * len(task.seeds) * (len(task.lr) + 2 * tune.EXTENSIONS + task.further)

    def stop(self) -> None:
        self._stop.set()
        if self._sweep:
            self._sweep.stop()

    @property
    def stopped(self) -> bool:
        return self._stop.is_set()

    def folder(self, number: int) -> Path:
        return Run(self.experiments[number], self.outputs).path

    def check(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """The number and status of each trial that is known by now; InputError if one of them cannot work."""
        for first, sweep in self._sweeps():
            states = [status for _, status in sweep.check()]
            yield from enumerate(states, first)
            if not all(status["state"] == "finished" or given_up(status) for status in states):
                return

    def __iter__(self) -> Iterator[Progress]:
        done = 0
        for first, sweep in self._sweeps():
            for news in sweep:
                news = replace(news, number=first + news.number)
                if news.error is not None:
                    if given_up(folder.status_of(self.folder(news.number))):
                        news = replace(news, finished=True, error=None)
                    else:
                        self.failed[news.number] = str(news.error)
                done += news.finished
                yield news
            if done < len(self.experiments):
                return
        if done == len(self.experiments):  # else it was stopped before the last stage began
            self._write()

    def _sweeps(self) -> Iterator[tuple[int, Sweep]]:
        """The sweep of each stage, with the number of its first trial; each must be over before the next is asked."""
        self.experiments, self._trials, self.failed, self.found = [], [], {}, {}
        for stage in self._stages():
            trials = [(arm, lr, value, seed) for arm, lr, value in stage for seed in self.task.seeds]
            sweep = self._sweep = Sweep(
                [self._experiment(*trial) for trial in trials],
                self.workers,
                self.outputs,
                plan=self.source.digest or None,
            )
            first = len(self.experiments)
            self.experiments += sweep.experiments
            if self.stopped:
                return
            yield first, sweep
            self._trials += [self._trial(*trial) for trial in trials]

    def _stages(self) -> Iterator[list[tuple[int, float, Any]]]:
        """What each stage tries: number of the arm, learning rate, value of its option."""
        arms = range(len(self.task.arms))
        lrs, new = list(self.task.lr), list(self.task.lr)
        for rounds in range(tune.EXTENSIONS + 1):
            yield [(arm, lr, None) for arm in arms for lr in new]
            new = beyond(map(self.rates, arms)) if rounds < tune.EXTENSIONS else []
            lrs += new
            if not new:
                break
        further = self.task.further
        chosen = [self._chosen_lr(arm) for arm in arms]
        if further:
            yield [
                trial
                for arm, lr in zip(arms, chosen, strict=True)
                for trial in (
                    [(arm, lr, value) for value in self.task.arms[arm].values]
                    or [(arm, fine, None) for fine in finer(lrs, lr, further)]
                )
            ]

    def rates(self, arm: int) -> dict[float, list[float | None]]:
        """Of an arm as it is named: learning rate -> the accuracies of its trials."""
        table: dict[float, list[float | None]] = {}
        for trial in self._trials:
            if trial.arm == arm and trial.value is None:
                table.setdefault(trial.lr, []).append(trial.accuracy)
        return table

    def _chosen_lr(self, arm: int) -> float:
        try:
            return choose(self.rates(arm))
        except InputError as error:
            raise InputError(f"{self.task.arms[arm].title}: {error}") from None

    def _experiment(self, arm: int, lr: float, value: Any, seed: int) -> Experiment:
        one = self.task.arms[arm]
        return self.task.experiment(one.own if value is None else one.with_strength(value), lr, seed)

    def _trial(self, arm: int, lr: float, value: Any, seed: int) -> Trial:
        path = Run(self._experiment(arm, lr, value, seed), self.outputs).path
        found = folder.result_of(path)
        if found:
            accuracy, passes, seconds = found["accuracy"], found["passes"], found["training_seconds"]
        else:
            last = _last(path)
            accuracy, seconds = None, float(last.get("seconds_train", 0) + last.get("seconds_scoring", 0))
            passes = {name: int(last.get(name, 0)) for name in ("forward_only", "forward", "backward")}
        return Trial(arm, lr, value, seed, accuracy, passes, seconds, path.name)

    def _write(self) -> None:
        self.found = {
            "study": self.task.study,
            "file": self.source.name,
            "plan": self.source.digest,
            "validation": self.task.validation,
            "seeds": list(self.task.seeds),
            "arms": [self._arm(arm) for arm in range(len(self.task.arms))],
        }
        files.write_json(self.path, self.found)
        self.final.parent.mkdir(parents=True, exist_ok=True)
        files.write_text(self.final, self._final_text())

    def _arm(self, number: int) -> dict[str, Any]:
        """What was chosen for an arm, and all its trials."""
        arm, table, lr = self.task.arms[number], self.rates(number), self._chosen_lr(number)
        trials = [trial for trial in self._trials if trial.arm == number]
        strengths: dict[Any, list[float | None]] = {None: table[lr]}
        for trial in trials:
            if trial.value is not None:
                strengths.setdefault(trial.value, []).append(trial.accuracy)
        value = best(strengths)
        return {
            "arm": arm.title,
            "settings": {**(dict(arm.own) if value is None else arm.with_strength(value)), "lr": lr},
            "lr": lr,
            "option": arm.option,
            "value": value,
            "accuracy": mean(strengths[value]),
            "edges": [
                *(["lr"] if on_edge(table) else []),
                *([arm.option] if arm.values and value in (arm.values[0], arm.values[-1]) else []),
            ],
            "passes": {name: sum(t.passes.get(name, 0) for t in trials) for name in trials[0].passes},
            "seconds": sum(t.seconds for t in trials),
            "trials": [{key: value for key, value in vars(t).items() if key != "arm"} for t in trials],
        }

    def _final_text(self) -> str:
        import yaml

        tuned = self.task.tuned([arm["settings"] for arm in self.found["arms"]])
        head = (
            f"# The arms of {self.source.name}, tuned alike by `iskit tune`: see {self.path.name} of the trials' study."
        )
        return f"{head}\n{yaml.safe_dump(tuned, sort_keys=False, allow_unicode=True)}"


def _last(path: Path) -> Mapping[str, Any]:
    """The last row of a run's history; nothing if it came to none."""
    try:
        past = pd.read_parquet(path / "history.parquet")
    except (OSError, ValueError):
        return {}
    return {} if past.empty else past.iloc[-1].to_dict()
