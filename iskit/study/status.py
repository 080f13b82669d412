"""How a study stands: what is done, running, stopped, failed and missing, and how long the rest will take."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from iskit import files
from iskit.errors import InputError
from iskit.inputs import parse_yaml
from iskit.runs.experiment import BYSTANDERS, Experiment
from iskit.runs.folder import status_of
from iskit.runs.parts import canonical
from iskit.study import plan
from iskit.study.archive import results
from iskit.study.folders import check_study, settings_of, subfolders
from iskit.study.forecast import Speed
from iskit.study.packed import Packed, boxes

STATES = ("finished", "running", "stopped", "killed", "failed", "damaged", "missing")
SHOWN = ("sampler", "augment", "budget", "seed")  # settings that tell runs apart at sight
DECISIVE = [name for name in Experiment.help() if name not in (*BYSTANDERS, *plan.HOW)]


@dataclass(frozen=True)
class Standing:
    """A study as its folder shows it, from any machine that sees that.

    runs: one row a run, with `state` (STATES), SHOWN, t (how far it is, as last written), error (first line), host,
    process, at, path; missing ones are in the study's files and have no folder yet.
    finished: as `iskit.results`. left: seconds that all but the finished and the diverged will take on one worker, by
    the finished ones; None if those do not tell.
    """

    study: str
    runs: pd.DataFrame
    finished: pd.DataFrame
    left: float | None

    def count(self, state: str) -> int:
        return int((self.runs["state"] == state).sum())


def standing(study: str, outputs: Path | None = None) -> Standing:
    """How a study stands now, by its folder and its packed files. InputError if it has neither.

    Finished runs come from the cache of `iskit.results`, whether their further files are whole is not looked at.
    """
    base = outputs or files.root() / "outputs"
    boxed = boxes(base, study)
    folder = base / study if boxed else check_study(study, base)
    finished = results(study, base)
    known = set(finished["path"]) if len(finished) else set()
    rows: list[dict[str, Any]] = []
    seen, left = set(), []
    for row in finished.to_dict("records"):
        packed = Path(row["path"]).parent != folder
        whole = packed or all(os.path.exists(f"{row['path']}/{name}") for name in ("history.parquet", "counts.npy"))
        rows.append({**row, "state": "finished" if whole else "damaged", "t": 1.0})
        seen.add(_key(row))
    for path in subfolders(folder)[0]:
        if str(path) in known or str(path) in finished.attrs["copies"]:
            continue
        status = status_of(path)
        if status["state"] == "new":
            continue
        experiment = _experiment(path)
        rows.append({**(experiment.to_dict() if experiment else {}), **status, "path": str(path)})
        if experiment:
            seen.add(_key({**experiment.to_dict(), **canonical(experiment)}))
            if not status.get("diverged"):
                left.append((experiment, 1 - (status.get("saved") or 0.0)))
    for experiment in _planned(folder, boxed):
        settings = {**experiment.to_dict(), **canonical(experiment)}
        if _key(settings) not in seen:
            rows.append({**settings, "state": "missing"})
            left.append((experiment, 1.0))
    columns = ["state", *SHOWN, "t", "error", "host", "process", "at", "path"]
    runs = pd.DataFrame(rows, columns=columns)
    runs["error"] = [next(iter(str(text).splitlines()), "") if isinstance(text, str) else "" for text in runs["error"]]
    return Standing(study, runs, finished, _seconds(left, Speed(finished)))


def _experiment(path: Path) -> Experiment | None:
    try:
        return Experiment.parse(settings_of(path, {}))
    except (InputError, OSError):  # damaged, or not written yet
        return None


def _planned(folder: Path, packed: Iterable[Packed]) -> Iterable[Experiment]:
    """Of all files that the study was trained from, there or elsewhere, each run once."""
    plans = {name: plan.read(parse_yaml(name, text)) for box in packed for name, text in box.plans.items()}
    plans |= {one.name: one for one in plan.kept(folder.name, folder.parent)}
    return dict.fromkeys(one for each in plans.values() if each.blocks for one in each.experiments)


def _key(settings: Mapping[str, Any]) -> tuple:
    """Of a run, wherever and with whatever it is trained."""
    return tuple(settings[name] for name in DECISIVE)


def _seconds(left: list[tuple[Experiment, float]], speed: Speed) -> float | None:
    found = [(speed.seconds(experiment), share) for experiment, share in left]
    return None if any(seconds is None for seconds, _ in found) else sum(s * share for s, share in found if s)
