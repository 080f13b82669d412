"""Image data sets as commonly published: parquet files of encoded images and labels."""

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from iskit.data.cache import fingerprint
from iskit.data.images import CHUNK, decode_all
from iskit.data.loader import About, Loader, Split, datasets, reading
from iskit.errors import InputError, shown
from iskit.files import located
from iskit.inputs import fits, guard, regular


@datasets.register("parquet")
@dataclass(kw_only=True)
class Parquet(Loader):
    """path: a folder of files train*.parquet and test*.parquet (or, without those, val*.parquet), in data_dir or else
    relative to the project; image, label: names of their columns; flip: whether a mirrored image is still of its class.

    Without names, columns are found by type: the image is a struct with `bytes`, or binary; the label an integer,
    called label or fine_label if there are several. Class names come from the schema's `huggingface` metadata where
    it is there, else classes are numbered. Mean and deviation are computed.
    Raises InputError for a path that is not there, a missing or ambiguous column, files that name the classes
    differently, a label that is missing or out of range, bytes that are no image.
    """

    path: str
    image: str = ""
    label: str = ""
    flip: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self.folder = located(self.path, self.data_dir)
        with reading(self.folder):
            if not self.folder.is_dir():
                raise InputError(
                    f"dataset option path={self.path!r} is no folder: {self.folder} holds no parquet files"
                )
            self.train = _files(self.folder, "train")
            self.test = _files(self.folder, "test", "val")
        schema = _schema(self.train[0])
        self.image_column = _column(self.train[0], schema, "image", self.image, _is_image, ("image", "img"))
        self.label_column = _column(
            self.train[0], schema, "label", self.label, pa.types.is_integer, ("label", "fine_label")
        )
        named: dict[Path, tuple[str, ...]] = {}
        for path in (*self.train, *self.test):
            other = _schema(path)
            for name in (self.image_column, self.label_column):
                if name not in other.names or other.field(name).type != schema.field(name).type:
                    kind = schema.field(name).type
                    raise InputError(
                        f"{path} lacks the column {name!r} ({kind}) of {self.train[0].name}: give both alike"
                    )
            if names := _class_names(other, self.label_column):
                named[path] = names
        self.names = _agreed(named)

    def about(self) -> About:
        return About(self.names or self._numbers(), flip=self.flip)

    def source(self) -> Any:
        return [fingerprint([*self.train, *self.test]), self.image_column, self.label_column]

    def read(self) -> tuple[Split, Split]:
        return self._split(self.train), self._split(self.test)

    def _split(self, paths: list[Path]) -> Split:
        def image(rows: np.ndarray, size: int) -> np.ndarray:
            return decode_all(self._encoded(paths, rows), len(rows), size, f"decoding {paths[0].name}")

        return Split(self._labels(paths), image)

    def _numbers(self) -> tuple[str, ...]:
        """Classes numbered from 0 to the highest label. InputError if one of them has no example: a label that
        stands for none (255, or classes numbered from 1) would become a class, and chance be another."""
        known = np.unique(self._labels(self.train))
        gap = np.flatnonzero(known != np.arange(len(known)))
        if len(gap):
            raise InputError(
                f"{self.folder}: the labels go up to {known[-1]}, but no training example is of class {gap[0]}: number "
                "the classes from 0 without gaps, or name them in the schema's `huggingface` metadata"
            )
        return tuple(map(str, known))

    def _labels(self, paths: list[Path]) -> np.ndarray:
        parts = []
        for path in paths:
            with _whole(path):
                rows = pq.read_metadata(path).num_rows
                fits(f"{path}, {rows:,} labels,", 16 * rows, "is it the right file?")
                column = pq.read_table(path, columns=[self.label_column]).column(0)
            if column.null_count:
                row = int(np.flatnonzero(column.is_null().to_numpy())[0])
                raise InputError(f"{path}, row {row}: the label is missing: remove or label the row")
            label = column.to_numpy().astype(np.int64)
            classes = len(self.names) or int(label.max(initial=0)) + 1
            wrong = np.flatnonzero((label < 0) | (label >= classes))
            if len(wrong):
                raise InputError(
                    f"{path}, row {wrong[0]}: the label {label[wrong[0]]} is out of range: "
                    f"labels must be 0 to {classes - 1}"
                )
            parts.append(label)
        return np.concatenate(parts)

    def _encoded(self, paths: list[Path], rows: np.ndarray) -> Iterator[tuple[bytes | None, str]]:
        """The encoded images of the given rows, numbered through all files, a chunk in memory at once."""
        before = 0
        for path in paths:
            start = before
            with _whole(path), pq.ParquetFile(path) as file:
                for batch in file.iter_batches(CHUNK, columns=[self.image_column]):
                    wanted = rows[np.searchsorted(rows, before) : np.searchsorted(rows, before + len(batch))]
                    for row, value in zip(
                        wanted, batch.column(0).take(pa.array(wanted - before)).to_pylist(), strict=True
                    ):
                        yield value["bytes"] if isinstance(value, dict) else value, f"{path}, row {row - start}"
                    before += len(batch)


def _files(folder: Path, *prefixes: str) -> list[Path]:
    for prefix in prefixes:
        if found := sorted(folder.glob(f"{prefix}*.parquet")):
            return found
    raise InputError(f"{folder} holds no {prefixes[0]}*.parquet: name the files train-... and test-...")


def _whole(path: Path) -> AbstractContextManager[None]:
    return guard(f"{path} is not a whole parquet file", "fetch it again")


def _schema(path: Path) -> pa.Schema:
    regular(path)
    with _whole(path):
        schema = pq.read_schema(path)
        names = schema.names  # UnicodeDecodeError for bytes that are no UTF-8
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"{path} has two columns {shown(twice[0])}: rename or remove one")
    return schema


def _column(
    path: Path, schema: pa.Schema, what: str, wanted: str, fits: Callable[[Any], bool], usual: tuple[str, ...]
) -> str:
    """The column to read as `what`: the one wanted, else the one that fits, else a usual name among several."""
    fitting = [field.name for field in schema if fits(field.type)]
    if wanted:
        candidates = [name for name in fitting if name == wanted]
    else:
        candidates = fitting if len(fitting) < 2 else [name for name in usual if name in fitting][:1]
    if candidates:
        return candidates[0]
    raise InputError(
        f"{path} has {f'the columns {fitting}' if fitting else 'no column'} to read as {what} of {schema.names}: "
        f"give {what}= the name of "
        + ("a struct with `bytes`, or of binary" if what == "image" else "an integer column")
    )


def _is_image(kind: Any) -> bool:
    has_bytes = pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0
    return has_bytes or pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _class_names(schema: pa.Schema, label: str) -> tuple[str, ...]:
    """Empty if the metadata gives none."""
    try:
        names = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"][label]["names"]
    except (KeyError, TypeError, ValueError, RecursionError):  # absent, or not of the shape that Hugging Face writes
        return ()
    return tuple(map(str, names)) if isinstance(names, list) else ()


def _agreed(named: dict[Path, tuple[str, ...]]) -> tuple[str, ...]:
    """The class names that all files with names give: in another order, a label would mean another class."""
    if not named:
        return ()
    (first, expected), *others = named.items()
    for path, names in others:
        for number, (here, there) in enumerate(zip_longest(names, expected)):
            if here != there:
                raise InputError(
                    f"{path}: in its `huggingface` metadata class {number} is {here!r}, in that of {first.name} "
                    f"{there!r}: number and name the classes of all files alike"
                )
    return expected
