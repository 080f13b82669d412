"""A study in one small file: what results, figures, the verdict and sweeps read in place of its folders.

A zip file of parquet tables, every byte of it under a checksum:
about.json  version of the format, study, block
runs        one row a run: its folder's name, identity, all columns of results (JSON), test bits, counts' digest and
            histogram (how many examples were trained 0, 1, 2, ... times)
history     at most POINTS evaluations a run, the first and the last among them
counts      how often each example was trained: of the lowest seed of each arm
sample      the fixed sample at each evaluation: of the lowest seed of each arm; quantiles: of the others
plan/*.yaml the study files that it was trained from; tuning.json: what tuning chose, and its cost
"""

import functools
import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from iskit.errors import InputError
from iskit.study.folders import Finished

FORMAT = 1
POINTS = 20
ENDING = ".zip"
KEPT = ("identity", "row", "correct", "counts_digest", "histogram")  # of every run
SHELF = "reference"  # a folder beside the studies' own: what ships with the kit


class Packed:
    """A packed file, read once and whole. InputError, before anything of it is shown, if it is damaged, or of another
    version."""

    def __init__(self, path: Path):
        self.path = path
        try:
            with zipfile.ZipFile(path) as whole:
                if bad := whole.testzip():
                    raise zipfile.BadZipFile(f"{bad} is damaged")
                self.files = {name: whole.read(name) for name in whole.namelist()}
            self.about = json.loads(self.files["about.json"])
            self.format = self.about["format"]
            self.runs = pd.DataFrame()
            if self.format == FORMAT:
                self.runs = self.table("runs").set_index("run")[list(KEPT)]
        except Exception as error:  # whatever damage makes zipfile, json and pyarrow raise
            raise InputError(f"{path} is no packed study, or damaged ({type(error).__name__}): pack it again") from None
        if self.format != FORMAT:
            raise InputError(f"{path} is packed in format {self.format}, read is {FORMAT}: pack it again")

    def table(self, name: str) -> pd.DataFrame:
        """Empty if nothing was there to keep."""
        file = self.files.get(f"{name}.parquet")
        return pd.DataFrame({"run": []}) if file is None else pd.read_parquet(io.BytesIO(file))

    @functools.cached_property
    def finished(self) -> dict[Path, Finished]:
        """The runs by path, FILE.zip/<run id>."""
        rows = self.runs[["identity", "row"]].itertuples()
        return {self.path / run: Finished("", identity, json.loads(row)) for run, identity, row in rows}

    @property
    def plans(self) -> dict[str, str]:
        """The study files by name, as they were."""
        return {name[5:]: text.decode() for name, text in self.files.items() if name.startswith("plan/")}

    @functools.cached_property
    def _by_run(self) -> dict[str, dict[str, pd.DataFrame]]:
        return {name: dict(iter(self.table(name).groupby("run"))) for name in ("history", "counts", "sample")}

    def rows(self, name: str, run: str) -> pd.DataFrame:
        """A run's rows of a table, the columns that it has. InputError if the file keeps none of them."""
        self._known(run)
        if run not in self._by_run[name]:
            raise InputError(
                f"{self.path / run} keeps no {name}: a packed file has them of the lowest seed of each arm, of others "
                "in summary"
            )
        return self._by_run[name][run].drop(columns="run").reset_index(drop=True).dropna(axis=1, how="all")

    def counts(self, run: str) -> np.ndarray:
        """(N,) int64."""
        kept = self.rows("counts", run).iloc[0]
        return np.frombuffer(kept["counts"], kept["type"]).astype(np.int64)

    def column(self, name: str, run: str) -> object:
        """A run's value in the table of runs; None if it had none to keep."""
        self._known(run)
        return self.runs.at[run, name]

    def _known(self, run: str) -> None:
        if run not in self.runs.index:
            raise InputError(f"{self.path} holds no run {run}: see iskit results {self.path}")


def of(path: str | Path) -> tuple[Packed, str] | None:
    """The packed file that a run's path lies in, and the run's name there; None for a folder's path."""
    file, run = Path(path).parent, Path(path).name
    return (opened(file), run) if file.suffix == ENDING and file.is_file() else None


def opened(path: Path) -> Packed:
    """The packed file; read again if it has changed."""
    try:
        about = path.stat()
    except OSError:
        raise InputError(f"{path} is not there: give a file that iskit pack wrote") from None
    return _opened(path, about.st_mtime_ns, about.st_size)


@functools.lru_cache(maxsize=32)
def _opened(path: Path, *_changed: int) -> Packed:
    return Packed(path)


def boxes(outputs: Path, study: str) -> list[Packed]:
    """The packed files that hold runs of a study, wherever `packs` looks."""
    return [box for box in map(opened, packs(outputs, study)) if box.about["study"] == study]


def packs(outputs: Path, study: str | None) -> Iterator[Path]:
    """The packed files in a study's folder and on the shelf; in all studies' folders if none is named."""
    for folder in sorted({study or "*", SHELF}) if study else ["*"]:
        yield from sorted(outputs.glob(f"{folder}/*{ENDING}"))
