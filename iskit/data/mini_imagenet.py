"""mini-ImageNet (Vinyals et al. 2016) as the study has it: 60,000 colour images of 84 x 84 pixels, 100 classes."""

import csv
import errno
import stat
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from iskit.data.cache import fingerprint
from iskit.data.images import decode_all
from iskit.data.loader import About, Loader, Split, datasets
from iskit.errors import InputError
from iskit.files import located
from iskit.inputs import guard

PARTS = ("train.csv", "val.csv", "test.csv")  # published for few-shot learning, with disjoint classes: pooled
TRAIN, TOTAL = 50_000, 60_000


@datasets.register("mini-imagenet")
@dataclass(kw_only=True)
class MiniImagenet(Loader):
    """path: the folder that holds train.csv, val.csv, test.csv (filename,label) and images/; data_dir/mini-imagenet
    if none is given. Nobody may publish the images, so they cannot be downloaded here. Mean and deviation: the study's.
    """

    path: str = ""
    size: int = 84

    def __post_init__(self) -> None:
        super().__post_init__()
        self.folder = located(self.path, self.data_dir) if self.path else self.data_dir / "mini-imagenet"
        self.rows = [row for part in PARTS for row in _rows(self.folder / part)]
        if len(self.rows) != TOTAL:
            raise InputError(
                f"mini-ImageNet has {TOTAL} rows, the csv files in {self.folder} {len(self.rows)}: fetch them again"
            )

    @cached_property
    def images(self) -> list[Path]:
        return [self.folder / "images" / name for name, _ in self.rows]

    def about(self) -> About:
        names = tuple(sorted({label for _, label in self.rows}))
        return About(names, mean=(0.4728, 0.4487, 0.4031), std=(0.2744, 0.2663, 0.2806))

    def source(self) -> Any:
        with guard(f"images named in the csv files of {self.folder} cannot be looked up", "correct the names", OSError):
            missing = [path for path in self.images if not path.exists()]
        if missing:
            raise InputError(
                f"{missing[0]} is named in a csv file but missing, with {len(missing) - 1} more: put it there"
            )
        return fingerprint([*(self.folder / part for part in PARTS), *self.images])

    def read(self) -> tuple[Split, Split]:
        number = {name: i for i, name in enumerate(self.about().classes)}
        label = np.array([number[name] for _, name in self.rows])
        order = np.random.RandomState(42).permutation(TOTAL)
        return self._split(label, order[:TRAIN]), self._split(label, order[TRAIN:])

    def _split(self, label: np.ndarray, order: np.ndarray) -> Split:
        def image(rows: np.ndarray, size: int) -> np.ndarray:
            paths = [self.images[row] for row in order[rows]]
            return decode_all(((path, str(path)) for path in paths), len(paths), size, "decoding mini-ImageNet")

        return Split(label[order], image)


def _rows(path: Path) -> list[tuple[str, str]]:
    remedy = (
        f"put mini-ImageNet's {', '.join(PARTS)} and the folder images/ with the files that they name into "
        f"{path.parent}, or give path="
    )
    with guard(f"{path} cannot be opened", remedy, OSError):
        about = path.stat()
        if not stat.S_ISREG(about.st_mode):
            raise OSError(errno.EINVAL, "no regular file")
        return _read(path, about.st_size, about.st_mtime_ns)


@lru_cache(maxsize=len(PARTS))  # a sweep makes a loader for every run, to check it
def _read(path: Path, size: int, modified: int) -> list[tuple[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [(row["filename"], row["label"]) for row in csv.DictReader(file)]
    except (KeyError, UnicodeDecodeError, csv.Error):
        raise InputError(f"{path} lacks the columns filename,label: give the published csv file") from None
    if not all(name and label for name, label in rows):
        raise InputError(f"{path} has a row without filename or label: complete or remove it")
    return rows
