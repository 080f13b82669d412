"""Writes a study, or a block of it, into one small file, see `iskit.study.packed`."""

import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd

from iskit import files
from iskit.errors import InputError, suggest
from iskit.runs.experiment import BYSTANDERS, Experiment
from iskit.runs.run import Run
from iskit.study import plan
from iskit.study.archive import correct_of, counts_of, history_of, sample_of
from iskit.study.folders import Finished, read_study
from iskit.study.packed import FORMAT, POINTS

T = TypeVar("T")
QUANTILES = (0.1, 0.5, 0.9)


def pack(study: str, path: Path, outputs: Path, block: str | None = None) -> tuple[int, dict[str, str]]:
    """Writes the finished runs of outputs/<study>/, of one block of its study files if that is named, to `path`.

    -> how many they are, and the damaged folders, which are left out: folder -> what is wrong.
    InputError if there are none, for an unknown block, and for a path that does not end in .zip.
    """
    if path.suffix != ".zip":
        raise InputError(f"{path} must end in .zip: what is packed is a zip file")
    plans = plan.kept(study, outputs)
    found, damaged = read_study(outputs / study)
    if block is not None:
        blocks = {name: runs for one in plans for name, runs in one.blocks.items()}
        if block not in blocks:
            raise InputError(f"block={block!r} is in no study file of {study}: {suggest(block, blocks)}")
        wanted = {Run(one, outputs).path for one in blocks[block]}
        found = {folder: run for folder, run in found.items() if folder in wanted}
    if not found:
        raise InputError(f"study={study!r} has no finished run to pack{f' in block {block}' if block else ''}")
    tuning = outputs / f"{study}-tuning" / "tuned.json"
    texts = {
        "about.json": json.dumps({"format": FORMAT, "study": study, "block": block}),
        **{f"plan/{one.name}": one.text for one in plans},
        **({"tuning.json": tuning.read_text(encoding="utf-8")} if tuning.is_file() else {}),
    }
    contents = tables(found)

    def save(temporary: Path) -> None:
        with zipfile.ZipFile(temporary, "w") as whole:
            for name, text in texts.items():
                whole.writestr(name, text, zipfile.ZIP_DEFLATED)
            for name, table in contents.items():
                buffer = io.BytesIO()
                table.to_parquet(buffer, compression="zstd", index=False)
                whole.writestr(f"{name}.parquet", buffer.getvalue())

    path.parent.mkdir(parents=True, exist_ok=True)
    files.write(path, save)
    return len(found), damaged


def tables(runs: dict[Path, Finished]) -> dict[str, pd.DataFrame]:
    """What is kept of the runs, by the names of `iskit.study.packed`."""
    lowest = lowest_seeds(runs)
    rows = []
    parts: dict[str, list[pd.DataFrame]] = {"history": [], "counts": [], "sample": [], "quantiles": []}
    for folder, run in runs.items():
        counts = counts_of(folder)
        correct = _if_kept(correct_of, folder)
        rows.append(
            {
                "run": folder.name,
                "identity": run.identity,
                "row": json.dumps(run.row),
                "correct": None if correct is None else np.packbits(correct).tobytes(),
                "counts_digest": hashlib.blake2b(counts.tobytes(), digest_size=8).hexdigest(),
                "histogram": np.bincount(counts),
            }
        )
        new = {"history": thinned(history_of(folder))}
        sample = _if_kept(sample_of, folder)
        if folder in lowest:
            small = counts.astype(np.min_scalar_type(counts.max()))
            new["counts"] = pd.DataFrame({"counts": [small.tobytes()], "type": [small.dtype.str]})
        if sample is not None and folder in lowest:
            new["sample"] = sample.astype({"loss": "float32", "prob": "float32"})
        elif sample is not None:
            new["quantiles"] = quantiles(sample)
        for name, table in new.items():
            parts[name].append(table.assign(run=folder.name))
    found = {name: pd.concat(part, ignore_index=True) for name, part in parts.items() if part}
    return {"runs": pd.DataFrame(rows), **found}


def lowest_seeds(runs: dict[Path, Finished]) -> set[Path]:
    """Of each arm, the run of the lowest seed."""
    decisive = [name for name in Experiment.help() if name not in (*BYSTANDERS, "seed")]
    first: dict[tuple, Path] = {}
    for folder in sorted(runs, key=lambda folder: runs[folder].row["seed"]):
        first.setdefault(tuple(runs[folder].row[name] for name in decisive), folder)
    return set(first.values())


def thinned(history: pd.DataFrame, points: int = POINTS) -> pd.DataFrame:
    """At most `points` rows, evenly over all of them, the first and the last among them."""
    if len(history) <= points:
        return history
    return history.iloc[np.linspace(0, len(history) - 1, points).round().astype(int)]


def quantiles(sample: pd.DataFrame) -> pd.DataFrame:
    """Of a fixed sample (see `sample_of`), one row an evaluation: t; drawn: in all; loss, prob: their means, and
    loss_10, loss_50, loss_90, ...: their quantiles over the examples."""
    by = sample.groupby("t")
    columns = {"drawn": by["drawn"].sum()}
    for name in ("loss", "prob"):
        columns[name] = by[name].mean()
        columns |= {f"{name}_{100 * share:.0f}": by[name].quantile(share) for share in QUANTILES}
    return pd.DataFrame(columns).reset_index()


def _if_kept(read: Callable[[Path], T], folder: Path) -> T | None:
    """None of a run of an earlier version, which kept no such thing."""
    try:
        return read(folder)
    except InputError:
        return None
