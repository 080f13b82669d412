"""All finished runs as one data frame, and what tells their configurations apart."""

import functools
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from iskit import files
from iskit.errors import InputError
from iskit.runs.experiment import BYSTANDERS, Experiment
from iskit.study import packed
from iskit.study.folders import Finished, read_study, reason, subfolders

T = TypeVar("T")
NAMED = ("weights", "sampler_source")  # hashes of files that specs name
SPECS = ("dataset", "model", "sampler", "augment", "schedule")
MACHINE = ["device_name", "precision_used", "threads"]


def results(study: str | None = None, outputs: Path | None = None) -> pd.DataFrame:
    """One row a finished run: its settings, what it found (nested values as `seconds_train`), its folder `path`.

    study: only the runs of outputs/<study>/, or of a packed file, if it ends in .zip; None: all; in the column, the
    folder's name. Packed files (see `iskit.study.packed`) in the folder, or in outputs/reference/, stand in place of
    folders that are not there; of their runs, `path` leads into the file. Specs are in their
    canonical spelling, so that synonyms are one method; those that are known no more, as they were typed.
    speedup: percent of the time of training and scoring saved against the mean of the full sgd runs of the same task
    (SAME_TASK: data, settings that cost time, machine), 100 (1 - seconds / seconds of sgd); NaN without one.
    Preparation (`seconds_prepare`: proxy runs and the like) is not counted.
    revision: what of the run had been revised when it was made, as `unit=cost:2`; of an older run less, or nothing.
    An empty frame if there is no run. Its attrs name what was left out: `damaged`, folder -> what is wrong, and
    `copies`, folder -> the run's own folder: copied folders count once.
    """
    base = outputs or files.root() / "outputs"
    runs: dict[Path, Finished] = {}
    damaged: dict[str, str] = {}
    copies: dict[Path, Path] = {}
    if study is None or not study.endswith(packed.ENDING):
        folders, damaged = ([base / study], {}) if study else subfolders(base)
        for folder in folders:
            found, wrong = read_study(folder)
            runs |= found
            damaged |= wrong
        copies = _copies(runs)
    rows = [{**run.row, "study": path.parent.name, "path": str(path)} for path, run in runs.items()]
    frame = pd.DataFrame([row for path, row in zip(runs, rows, strict=True) if path not in copies])
    boxed, wrong = _boxed(study, base, {run.identity for run in runs.values()})
    damaged |= wrong
    frame = pd.concat([frame, pd.DataFrame(boxed)], ignore_index=True) if boxed else frame
    if len(frame):
        frame = _with_speedup(_with_one_spelling(frame))
        frame = frame.assign(**{name: np.nan for name in COLUMNS if name not in frame})
    frame.attrs["damaged"] = damaged
    frame.attrs["copies"] = {str(path): str(own) for path, own in copies.items()}
    return frame


def _boxed(study: str | None, base: Path, known: set[str]) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """The rows of packed runs that no folder holds, each once; and the packed files that cannot be read."""
    if study is not None and study.endswith(packed.ENDING):
        whole = packed.opened(Path(study))  # the one that was asked for must be right
        return [
            {**run.row, "study": whole.about["study"], "path": str(path)} for path, run in whole.finished.items()
        ], {}
    rows, wrong = [], {}
    for file in packed.packs(base, study):
        try:
            whole = packed.opened(file)
        except InputError as error:
            wrong[str(file)] = str(error)
            continue
        if study not in (None, whole.about["study"]):
            continue
        for path, run in whole.finished.items():
            if run.identity not in known:
                known.add(run.identity)
                rows.append({**run.row, "study": whole.about["study"], "path": str(path)})
    return rows, wrong


def _copies(runs: dict[Path, Finished]) -> dict[Path, Path]:
    """Folders that hold what another one holds, with that one: of the study that the settings name, or unrenamed."""

    def strangeness(path: Path) -> tuple[bool, int, Path]:
        return path.parent.name != runs[path].row["study"], len(path.name), path

    own: dict[str, Path] = {}
    for path in sorted(runs, key=strangeness):
        own.setdefault(runs[path].identity, path)
    return {path: own[run.identity] for path, run in runs.items() if own[run.identity] != path}


def _with_one_spelling(frame: pd.DataFrame) -> pd.DataFrame:
    """Specs as the run kept them when it finished; older runs kept none."""
    for name in SPECS:
        kept = frame.get(f"specs_{name}", pd.Series(np.nan, frame.index, dtype=object))
        spelt = kept.where(kept.map(lambda spec: isinstance(spec, str)))
        old = spelt.isna()
        spelt[old] = [_canonical(name, spec) for spec in frame.loc[old, name]]
        frame[name] = spelt
    for name in NAMED:
        if f"specs_{name}" in frame:
            frame[name] = frame[f"specs_{name}"].fillna("")
    return frame.drop(columns=[name for name in frame if name.startswith("specs_")])


@functools.cache
def _canonical(name: str, spec: str) -> str:
    from iskit.runs.parts import SPELLING  # imports torch, which younger runs do not need

    try:
        return SPELLING[name](spec)
    except InputError:  # a method that is known no more
        return spec


# What results of earlier versions lack; a run that lacks one has not a number there.
COLUMNS = ("worst_class_accuracy", "sample_loss", "sample_accuracy", "acted", "on", "weighted", "unique_examples",
           "test_examples", "plan", "dirty")  # fmt: skip


SAME_TASK = [
    *("dataset", "validation", "model", "augment", "epochs", "batch_size", "optimizer"),
    *("precision", "compile", "deterministic", *MACHINE),
]


def _with_speedup(frame: pd.DataFrame) -> pd.DataFrame:
    full = frame[frame["sampler"] == "sgd"].groupby(SAME_TASK)["training_seconds"].mean().rename("full_seconds")
    frame = frame.merge(full, how="left", left_on=SAME_TASK, right_index=True)
    frame["speedup"] = 100 * (1 - frame["training_seconds"] / frame["full_seconds"])
    return frame.drop(columns="full_seconds")


TASK = ["study", "dataset", "model", "unit"]
KEYS = [*TASK, "augment", "sampler", "budget"]


def also_varies(frame: pd.DataFrame) -> list[str]:
    """What determines results or their cost, beside seed and KEYS, and is not the same in all of these runs:
    settings, the machine and the precision used, the content of files that specs name, the revision."""
    settings = [name for name in Experiment.help() if name not in (*KEYS, *BYSTANDERS, "seed")]
    varying = _varying(frame, [*settings, *MACHINE, *NAMED, "revision"])
    if "sampler_source" in varying and frame.groupby("sampler")["sampler_source"].nunique().max() == 1:
        varying.remove("sampler_source")  # the samplers' names tell as much
    return varying


def told_apart_by(frame: pd.DataFrame) -> list[str]:
    """All that these runs differ in, beside seed, sampler, augmentation and budget: no line may join such runs."""
    return [*_varying(frame, TASK), *also_varies(frame)]


def _varying(frame: pd.DataFrame, names: list[str]) -> list[str]:
    return [name for name in names if name in frame and frame[name].nunique(dropna=False) > 1]


def over_seeds(frame: pd.DataFrame) -> pd.DataFrame:
    """Mean and sample deviation over seeds, of seconds the median; one row a configuration.

    Whatever else varies in the frame (epochs, lr, device, ...) gets a column and rows of its own, see `also_varies`.
    seconds: of training and scoring, without preparation.
    """
    return (
        frame.groupby([*KEYS, *also_varies(frame)], sort=False, dropna=False)
        .agg(
            accuracy=("accuracy", "mean"),
            deviation=("accuracy", "std"),
            seeds=("seed", "nunique"),
            seconds=("training_seconds", "median"),  # one run that was disturbed must not bend the plot
            speedup=("speedup", "mean"),
            backward=("passes_backward", "mean"),
            equivalent_budget=("equivalent_budget", "mean"),
            entropy=("entropy", "mean"),
            entropy_share=("entropy_share", "mean"),
            coverage=("coverage", "mean"),
        )
        .reset_index()
    )


def history_of(path: str | Path) -> pd.DataFrame:
    """The evaluations of one run. InputError if the folder holds no finished run, or the file is damaged."""
    if box := packed.of(path):
        return box[0].rows("history", box[1])
    return _whole(path, "history.parquet", pd.read_parquet)


def counts_of(path: str | Path) -> np.ndarray:
    """(N,) int64: how often each training example of one run was trained. InputError as in `history_of`, and for a
    packed run that keeps only how many examples were trained how often: see `ranked_counts_of`."""
    if box := packed.of(path):
        return box[0].counts(box[1])
    return _whole(path, "counts.npy", _counts)


def ranked_counts_of(path: str | Path) -> np.ndarray:
    """(N,) int64: the same from the most to the least trained example, whichever they are; of every run."""
    if box := packed.of(path):
        times = np.asarray(box[0].column("histogram", box[1]))
        return np.repeat(np.arange(len(times)), times)[::-1]
    return np.sort(counts_of(path))[::-1]


def counts_digest(path: str | Path) -> str:
    """Of a run's counts: two runs with the same one trained the same examples equally often."""
    if box := packed.of(path):
        return str(box[0].column("counts_digest", box[1]))
    return hashlib.blake2b(counts_of(path).tobytes(), digest_size=8).hexdigest()


def _counts(file: Path) -> np.ndarray:
    counts = np.load(file, allow_pickle=False)
    if not isinstance(counts, np.ndarray) or counts.ndim != 1 or counts.dtype != np.int64:
        raise ValueError("it holds no counts")
    return counts


def sample_of(path: str | Path) -> pd.DataFrame:
    """What a run made of the same 1,000 training examples (all of smaller sets), as they are, at each evaluation.

    One row an evaluation and example: t, index; loss and prob (of its true class); drawn: how often it was trained
    since the last evaluation. The mean of loss at one t is the run's training loss, `sample_loss` in its history.
    InputError as in `history_of`, and for a run of an earlier version.
    """
    if box := packed.of(path):
        return box[0].rows("sample", box[1])
    return _whole(path, "sample.parquet", pd.read_parquet)


def correct_of(path: str | Path) -> np.ndarray:
    """(n_test,) bool: which test images one run gave their class at its end. InputError as in `sample_of`."""
    if box := packed.of(path):
        bits, count = (box[0].column("correct", box[1]), box[0].finished[Path(path)].row.get("test_examples"))
        if not isinstance(bits, bytes):
            raise InputError(f"{path} is a run of an earlier version: it kept no bits of its test images")
        return np.unpackbits(np.frombuffer(bits, np.uint8), count=count).astype(bool)
    bits = _whole(path, "correct.npy", lambda file: np.load(file, allow_pickle=False))  # older runs have none
    count = _whole(path, "result.json", _test_examples)
    return _whole(path, "correct.npy", lambda _: _bits(bits, count))


def _test_examples(file: Path) -> int:
    found = files.read_json(file)
    count = found.get("test_examples") if isinstance(found, dict) else None
    if type(count) is not int or count < 0:
        raise ValueError("it does not say how many test_examples there were")
    return count


def _bits(bits: np.ndarray, count: int) -> np.ndarray:
    if not isinstance(bits, np.ndarray) or bits.dtype != np.uint8 or bits.shape != (-(-count // 8),):
        raise ValueError(f"it holds no bits of {count} test images")
    return np.unpackbits(bits, count=count).astype(bool)


def _whole(path: str | Path, name: str, read: Callable[[Path], T]) -> T:
    """What `read` makes of a file of a run's folder."""
    file = Path(path) / name
    if not file.is_file():
        raise InputError(
            f"{path} holds no finished run, or one of an earlier version ({name} is missing or no file): "
            "see iskit results"
        )
    try:
        return read(file)
    except Exception as error:  # whatever a damaged file makes pyarrow or numpy raise
        raise InputError(f"{file} is damaged ({reason(error)}): remove its folder to train the run anew") from None
