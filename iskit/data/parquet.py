"""Image data sets as commonly published: parquet files of encoded images and labels."""

import io
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from iskit.data.base import Dataset, Loader, datasets
from iskit.data.cache import cached
from iskit.errors import InputError

VERSION = 1  # of the decoding below; part of the cache's key


@datasets.register("parquet")
class Parquet(Loader):
    """path: a folder of parquet files named train*, test* (or validation*), or one such file for training with `test`;
    size: side length in pixels, 0 for the first image's; limit: first training examples to use, 0 for all.

    Columns are found by type: the image is a struct with `bytes` (or plain binary), the label an integer. Class names
    come from the schema's `huggingface` metadata where it is there. Mean and deviation are computed.
    Raises InputError for a path that is not there, a missing column, bytes that are no image.
    """

    def __init__(self, data_dir: Path, *, path: str, size: int = 0, limit: int = 0, flip: bool = True):
        super().__init__(data_dir)
        for name, value in {"size": size, "limit": limit}.items():
            if value < 0:
                raise InputError(f"dataset option {name}={value} must not be negative; 0 means as it comes")
        self.size, self.limit, self.flip = size, limit, flip
        from iskit.files import root

        self.path = root() / path
        if not self.path.is_dir():
            raise InputError(f"dataset option path={path!r} is no folder: {self.path} holds no parquet files")
        self.train = self._files("train")
        self.test = self._files("test", "validation")
        self.image_column, self.label_column, self.classes = _columns(self.train[0])
        if _columns(self.test[0])[:2] != (self.image_column, self.label_column):
            raise InputError(f"{self.test[0]} has other columns than {self.train[0]}: give both the same")

    def _files(self, *prefixes: str) -> list[Path]:
        for prefix in prefixes:
            if found := sorted(self.path.glob(f"{prefix}*.parquet")):
                return found
        raise InputError(f"{self.path} holds no {prefixes[0]}*.parquet: name the files train-... and test-...")

    def load(self) -> Dataset:
        key: dict[str, Any] = {
            "loader": "parquet",
            "version": VERSION,
            "size": self.size,
            "limit": self.limit,
            "files": [[str(f), f.stat().st_size, f.stat().st_mtime_ns] for f in (*self.train, *self.test)],
        }
        arrays = cached(self.data_dir / "cache", key, self._decode)
        image = torch.from_numpy(arrays["image"])
        scaled = image.view(-1, image.shape[-1]).double()
        classes = self.classes or tuple(map(str, range(int(arrays["label"].max()) + 1)))
        return Dataset(
            image=image,
            label=torch.from_numpy(arrays["label"]),
            test_image=torch.from_numpy(arrays["test_image"]),
            test_label=torch.from_numpy(arrays["test_label"]),
            mean=tuple((scaled.mean(0) / 255).tolist()),
            std=tuple((scaled.std(0) / 255).tolist()),
            classes=classes,
            flip=self.flip,
        )

    def _decode(self) -> dict[str, np.ndarray]:
        image, label = self._read(self.train, self.limit, self.size)
        test_image, test_label = self._read(self.test, 0, self.size or image.shape[1])
        return {"image": image, "label": label, "test_image": test_image, "test_label": test_label}

    def _read(self, paths: list[Path], limit: int, size: int) -> tuple[np.ndarray, np.ndarray]:
        import pyarrow.parquet as pq
        from tqdm import tqdm

        images: list[np.ndarray] = []
        labels: list[np.ndarray] = []
        rows = sum(pq.ParquetFile(path).metadata.num_rows for path in paths)
        left = min(limit or rows, rows)
        with (
            ThreadPoolExecutor() as pool,
            tqdm(total=left, desc=f"decoding {paths[0].name}", leave=False) as bar,
        ):
            for path in paths:
                first = 0
                for table in pq.ParquetFile(path).iter_batches(1024, columns=[self.image_column, self.label_column]):
                    table = table.slice(0, left)
                    if len(table) == 0:
                        break
                    encoded = table.column(self.image_column).to_pylist()
                    numbers = range(first, first + len(encoded))
                    size = size or _decode_one(path, first, encoded[0], 0).shape[0]
                    images.extend(pool.map(_decode_one, [path] * len(encoded), numbers, encoded, [size] * len(encoded)))
                    labels.append(_labels(path, first, table.column(self.label_column)))
                    left -= len(encoded)
                    first += len(encoded)
                    bar.update(len(encoded))
        if not images:
            raise InputError(f"{paths[0]} holds no rows: give files with images")
        return np.stack(images), np.concatenate(labels)


def _columns(path: Path) -> tuple[str, str, tuple[str, ...]]:
    """The image column, the label column and the class names (empty if not given)."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        schema = pq.read_schema(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"{path} is not a readable parquet file ({error}): fetch it again") from None

    def is_image(kind: Any) -> bool:
        return (
            (pa.types.is_struct(kind) and any(kind.field(i).name == "bytes" for i in range(kind.num_fields)))
            or pa.types.is_binary(kind)
            or pa.types.is_large_binary(kind)
        )

    image = [field.name for field in schema if is_image(field.type)]
    label = [field.name for field in schema if pa.types.is_integer(field.type)]
    if not image:
        raise InputError(f"{path} lacks an image column (a struct with `bytes`, or binary): it has {schema.names}")
    if not label:
        raise InputError(f"{path} lacks a label column (an integer): it has {schema.names}")
    chosen = next((name for name in label if name in ("label", "fine_label")), label[0])
    names: tuple[str, ...] = ()
    described = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
    feature = described.get("info", {}).get("features", {}).get(chosen, {})
    if isinstance(feature.get("names"), list):
        names = tuple(map(str, feature["names"]))
    return image[0], chosen, names


def _decode_one(path: Path, row: int, encoded: Any, size: int) -> np.ndarray:
    """(size, size, 3) uint8; size 0 keeps the image's own, which must be square."""
    data = encoded["bytes"] if isinstance(encoded, dict) else encoded
    try:
        with Image.open(io.BytesIO(data)) as image:
            rgb = image.convert("RGB")
    except Exception as error:  # PIL raises many kinds for damaged bytes
        raise InputError(f"{path}, row {row}: bytes are no whole image ({error}): remove or replace the row") from None
    if size == 0 and rgb.width != rgb.height:
        raise InputError(f"{path}, row {row}: image of {rgb.width} x {rgb.height} is not square: set size=")
    if size and rgb.size != (size, size):
        rgb = rgb.resize((size, size), Image.Resampling.BOX if size < rgb.width else Image.Resampling.BICUBIC)
    return np.asarray(rgb)


def _labels(path: Path, first: int, column: Any) -> np.ndarray:
    if column.null_count:
        raise InputError(f"{path}, rows from {first}: a label is missing: remove or label the row")
    return column.to_numpy(zero_copy_only=False).astype(np.int64)
