"""The finished runs in a study's folder, a flat row each; a cache beside them, for there may be thousands."""

import json
import os
import stat
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from iskit import files
from iskit.errors import InputError, suggest
from iskit.inputs import typed
from iskit.runs.experiment import BYSTANDERS, Experiment

CACHE = ".results.parquet"
FORMAT = 3  # of the cache
STALE_SECONDS = 3600  # a temporary of the cache that old belongs to a process that was killed
FILES = ("result.json", "params.yaml")
# What the kit counts on in result.json, with the names of its parts joined; whatever else stands there is passed on.
FOUND: dict[str, type] = {
    **dict.fromkeys(("accuracy", "best_accuracy", "training_seconds", "passes_backward", "equivalent_budget"), float),
    **dict.fromkeys(("entropy", "entropy_share", "coverage"), float),
    **{"device": str, "precision": str, "threads": int},
}
PER_PHASE = ("seconds_", "passes_")  # numbers all
RENAMED = {"device": "device_name", "precision": "precision_used"}  # as used, beside the settings: as asked for
QuickLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # eight times faster where libyaml is there
DEEP = 4096  # bytes that could be nested so deep that libyaml's loader ends the process; Python's raises


@dataclass(frozen=True)
class Finished:
    """A finished run as read. stamp: changes when its files do; identity: of its settings and all that it found,
    so that a copy has the same."""

    stamp: str
    identity: str
    row: dict[str, Any]


def check_study(study: str, outputs: Path | None = None) -> Path:
    """The study's folder; InputError if it is none."""
    base = outputs or files.root() / "outputs"
    studies = [folder.name for folder in base.glob("*/") if folder.name != "bench"]
    if study not in studies:
        raise InputError(f"study={study!r} is no folder under outputs/: {suggest(study, studies)}")
    return base / study


def read_study(study: Path) -> tuple[dict[Path, Finished], dict[str, str]]:
    """The finished runs by folder, sorted, and the damaged ones: folder -> what is wrong, in one line.

    Unchanged runs come from the cache, which is refreshed if it can be written; the folders are the truth.
    """
    known = _cached(study)
    runs: dict[Path, Finished] = {}
    folders, damaged = subfolders(study)
    for folder in folders:
        try:
            if not _finished(folder):
                continue
            stamp = _stamp(folder)
            one = known.get(folder.name)
            runs[folder] = one if one and one.stamp == stamp else _read(folder, stamp)
        except Exception as error:  # whatever is wrong with one folder, the others are shown
            damaged[str(folder)] = reason(error)
    if {folder.name: one.stamp for folder, one in runs.items()} != {name: one.stamp for name, one in known.items()}:
        _keep(study, runs)
    return runs, damaged


def subfolders(path: Path) -> tuple[list[Path], dict[str, str]]:
    """Those that are not hidden, sorted; and, if there is a folder that cannot be read: it and the reason."""
    try:
        with os.scandir(path) as entries:
            return sorted(path / e.name for e in entries if not e.name.startswith(".") and os.path.isdir(e)), {}
    except FileNotFoundError:
        return [], {}
    except OSError as error:
        return [], {str(path): reason(error)}


def reason(error: Exception) -> str:
    """An error in one short line."""
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    if isinstance(error, OSError) and error.filename:
        said = f"{Path(os.fsdecode(error.filename)).name}: {said}"
    return " ".join(said.split())[:200] or type(error).__name__


def _finished(folder: Path) -> bool:
    try:
        (folder / "result.json").lstat()
    except FileNotFoundError:
        return False
    return True


def _stamp(folder: Path) -> str:
    stamp = []
    for name in FILES:
        about = (folder / name).stat()
        if not stat.S_ISREG(about.st_mode):  # a pipe would be waited for for ever
            raise InputError(f"{name} is no file")
        stamp += [about.st_mtime_ns, about.st_size]
    return " ".join(map(str, stamp))


def _read(folder: Path, stamp: str) -> Finished:
    found, revisions = _found(folder)
    settings = settings_of(folder, revisions)
    decisive = {name: value for name, value in settings.items() if name not in BYSTANDERS}
    return Finished(stamp, files.digest([decisive, found]), settings | found | settings)  # no finding hides a setting


def settings_of(folder: Path, revisions: Mapping[str, int]) -> dict[str, Any]:
    """What params.yaml of a run says, complete. InputError if it is damaged, OSError if it cannot be read."""
    text = (folder / "params.yaml").read_bytes()
    try:
        settings = yaml.load(text, QuickLoader if len(text) < DEEP else yaml.SafeLoader)
    except (yaml.YAMLError, ValueError, RecursionError):  # ValueError: an impossible date
        raise InputError("params.yaml is not readable YAML") from None
    if not isinstance(settings, dict):
        raise InputError("params.yaml holds no settings")
    experiment = Experiment.parse(settings)
    complete = experiment.to_dict()
    missing = complete.keys() - settings.keys()
    # A setting that is younger than the run is at its default; the folder's name, a hash of all, says whether it is.
    if missing and experiment.run_id(_specs(experiment), revisions) != folder.name:
        raise InputError(f"params.yaml lacks {', '.join(sorted(missing))}")
    return complete


def _specs(experiment: Experiment) -> dict[str, str]:
    from iskit.runs.parts import canonical  # imports torch, which a table of results does not need

    return canonical(experiment)


def _found(folder: Path) -> tuple[dict[str, Any], dict[str, int]]:
    """What result.json holds, flat, and apart from it what had been revised."""
    try:
        found = files.read_json(folder / "result.json")
    except (ValueError, RecursionError):
        raise InputError("result.json is not readable JSON") from None
    if not isinstance(found, dict):
        raise InputError("result.json holds no result")
    data, revisions = found.pop("data", None), found.pop("revisions", {})  # of runs before they were kept: nothing
    if not isinstance(revisions, dict) or not all(type(number) is int for number in revisions.values()):
        raise InputError("result.json: its revisions must be names and whole numbers")
    found = flat(found) | {
        "data_digest": data.get("digest") if isinstance(data, dict) else None,
        "revision": ", ".join(f"{what}:{number}" for what, number in revisions.items()),
    }
    missing = [name for name in FOUND if name not in found]
    if missing:
        raise InputError(f"result.json lacks {', '.join(missing)}")
    kinds = FOUND | {name: float for name in found if name.startswith(PER_PHASE)}
    try:
        checked = {name: typed(name, found[name], kind) for name, kind in kinds.items()}
    except InputError as error:
        raise InputError(f"result.json: {error}") from None
    return {RENAMED.get(name, name): value for name, value in (found | checked).items()}, revisions


def flat(tree: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """`{"seconds": {"train": 1}}` -> `{"seconds_train": 1}`, to any depth."""
    leaves: dict[str, Any] = {}
    for name, value in tree.items():
        leaves |= flat(value, f"{above}{name}_") if isinstance(value, dict) else {above + name: value}
    return leaves


def _version() -> bytes:
    return files.digest([FORMAT, Experiment().to_dict()]).encode()


def _cached(study: Path) -> dict[str, Finished]:
    """By folder's name; empty if there is no cache, or it is damaged or of another version."""
    path = study / CACHE
    try:
        if not path.is_file():
            return {}
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            if (file.schema_arrow.metadata or {}).get(b"iskit") != _version():
                return {}
            table = file.read().to_pydict()
        rows = json.loads(f"[{','.join(table['row'])}]")
        kept = zip(table["run"], table["stamp"], table["identity"], rows, strict=True)
        return {run: Finished(stamp, identity, row) for run, stamp, identity, row in kept}
    except Exception:  # whatever a damaged file makes pyarrow raise
        return {}


def _keep(study: Path, runs: Mapping[Path, Finished]) -> None:
    """Writes the cache; does without where that is not possible."""
    table = {
        "run": [folder.name for folder in runs],
        "stamp": [one.stamp for one in runs.values()],
        "identity": [one.identity for one in runs.values()],
        "row": [json.dumps(one.row) for one in runs.values()],
    }
    with suppress(OSError, ValueError):  # a full or read-only disk; a name that is no UTF-8
        schema = pa.schema([(name, pa.string()) for name in table], metadata={"iskit": _version()})
        whole = pa.table(table, schema=schema)
        files.write(study / CACHE, lambda path: pq.write_table(whole, path, write_page_checksum=True))
        for left in study.glob(f".{CACHE}.*.tmp"):
            if time.time() - left.stat().st_mtime > STALE_SECONDS:
                left.unlink()
