"""What is measured: tiny to larger networks for a CPU, on real images where they are at hand."""

import io
from pathlib import Path

import numpy as np

from iskit import files
from iskit.runs.experiment import Experiment

NOISE = 5000  # images that stand in; half as many to test


def tasks(folder: str, smoke: bool = False) -> tuple[list[Experiment], str]:
    """The experiments of `iskit bench`, and what their images are.

    folder: parquet files of 32 x 32 colour images (params/cifar10-jpeg.yaml), relative to the project; if it is not
    there, random pixels stand in: as fast to train, but nothing can be learnt from them. smoke: sizes for seconds.
    """
    if (files.root() / folder).is_dir():
        path, said = folder, f"images: {Path(folder).name}"
    else:
        path, said = noise(), f"images: random pixels, for {folder} is not there"
    limit = 256 if smoke else 10_000 if path == folder else 0
    tiny = {"dataset": "digits(limit=256)" if smoke else "digits", "model": "mlp(width=64)", "batch_size": 32}
    digits = {**tiny, "model": "cnn(width=16)"}
    small = {"dataset": f"parquet(path={path!r}, size=16, limit={limit})", "model": "resnet8", "batch_size": 128}
    large = {"dataset": f"parquet(path={path!r}, limit={limit})", "model": "resnet18(width=16)", "batch_size": 128}
    return [Experiment.parse({**settings, "lr": 0.05}) for settings in (tiny, digits, small, large)], said


def noise() -> str:
    """A folder of random images under data/, made if need be, relative to the project."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from PIL import Image

    folder = files.root() / "data" / "random-pixels"
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.Generator(np.random.Philox(0))
    for name, count in (("train", NOISE), ("test", NOISE // 2)):
        if (folder / f"{name}.parquet").exists():
            continue
        encoded = []
        for pixels in random.integers(256, size=(count, 32, 32, 3), dtype=np.uint8):
            buffer = io.BytesIO()
            Image.fromarray(pixels).save(buffer, "BMP")
            encoded.append({"bytes": buffer.getvalue()})
        table = pa.table({"image": encoded, "label": [number % 10 for number in range(count)]})
        files.write(folder / f"{name}.parquet", lambda path, table=table: pq.write_table(table, path))  # type: ignore[misc]
    return str(folder.relative_to(files.root()))
