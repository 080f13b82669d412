"""Data sets from outside: whatever bytes lie in a folder, a loader gives a Dataset or one InputError of one line."""

import io
import json
import os
import warnings
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from campaign import campaign, result_or_one_line
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from iskit import inputs
from iskit.data import datasets
from iskit.errors import InputError
from iskit.models import models


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        root = tmp_path_factory.mktemp("project")
        patch.setenv("ISKIT_ROOT", str(root))
        yield root


def png(value: int = 0, side: int = 8) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((side, side, 3), value, np.uint8)).save(file, "png")
    return file.getvalue()


def load(spec: str, root: Path) -> object:
    def whole() -> object:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, of damaged images
            return datasets.create(spec, root / "data").load()

    return result_or_one_line(whole)


def table(images: list, labels: list, **metadata: object) -> pa.Table:
    kind = pa.struct([("bytes", pa.binary())])
    rows = pa.table(
        {"image": pa.array([{"bytes": one} for one in images], kind), "label": pa.array(labels, pa.int64())}
    )
    return rows.replace_schema_metadata({key: json.dumps(value) for key, value in metadata.items()})


def written(rows: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(rows, sink)
    return sink.getvalue()


def put(root: Path, name: str, content: bytes) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


WHOLE = written(table([png(value) for value in range(6)], [0, 1] * 3))
NAMED = written(table([png()] * 2, [0, 1], huggingface={"info": {"features": {"label": {"names": ["a", "b"]}}}}))
DEEP = written(table([png()] * 2, [0, 1]).replace_schema_metadata({"huggingface": "[" * 100_000}))
TWO = pa.table([pa.array([b"x"]), pa.array([0]), pa.array([1])], names=["image", "label", "label"])

FOUND_PARQUET = {
    "whole": (WHOLE, None),
    "named": (NAMED, None),
    "deep metadata": (DEEP, None),
    "two columns of one name": (written(TWO), "has two columns 'label'"),
    "a name that is no UTF-8": (WHOLE.replace(b"label", b"la\xffel"), "not a whole parquet file|no column"),
    "empty": (b"", "not a whole parquet file"),
    "cut": (WHOLE[: len(WHOLE) // 2], "not a whole parquet file"),
    "no rows": (written(table([], [])), "is empty|no training example"),
    "null": (written(table([None, png()], [0, 1])), "no image of a known format"),
    "labels of 64 bits": (written(table([png()], [2**63 - 1])), "but no training example is of class 0"),
    "names that are none": (
        written(table([png()] * 2, [0, 1], huggingface={"info": {"features": {"label": {"names": [[], {}]}}}})),
        None,
    ),
}


@pytest.mark.parametrize(("content", "message"), FOUND_PARQUET.values(), ids=FOUND_PARQUET.keys())
def test_found_parquet_files_are_a_set_or_one_line(content, message, project, tmp_path):
    for name in ("train", "test"):
        put(tmp_path, f"{name}.parquet", content)
    spec = f"parquet(path={str(tmp_path)!r})"
    if message is None:
        assert load(spec, project) is not None
    else:
        assert load(spec, project) is None
        with pytest.raises(InputError, match=message):
            datasets.create(spec, project / "data").load()


damages = st.tuples(st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=6), st.booleans())


def damaged(content: bytes, where: float, given: bytes, cut: bool) -> bytes:
    place = int(where * len(content))
    return content[:place] + given + (b"" if cut else content[place + len(given) :])


@campaign
@given(st.sampled_from([WHOLE, NAMED]), damages)
@example(WHOLE, (0.3373639047524424, b"\x00", False))  # announces images and holds none
@example(NAMED, (0.3373639047524424, b"\x00", False))
def test_any_parquet_file_is_a_set_or_one_line(project, content, damage):
    folder = project / "parquet"
    put(folder, "test.parquet", WHOLE)
    put(folder, "train.parquet", damaged(content, *damage))
    load(f"parquet(path={str(folder)!r})", project)


names = st.builds(
    "{}/{}/{}".format,
    st.sampled_from(["train", "test", "val", "x"]),
    st.sampled_from(["a", "b", "ü", ".c", "a\nb"]),
    st.sampled_from(["1.png", "2.jpg", "3.gif", "notes.txt", "[4].png"]),
)
contents = st.one_of(
    st.binary(max_size=20), st.just(png()), st.just(png(9, 4)), damages.map(lambda one: damaged(png(), *one))
)
OPTIONS = ["", ", size=8", ", size=20000", ", limit=1", ", classes=(0,)", ", noise=0.5"]


@campaign
@given(st.dictionaries(names, contents, max_size=6), st.sampled_from(OPTIONS))
def test_any_image_folder_is_a_set_or_one_line(project, tmp_path_factory, found, option):
    folder = tmp_path_factory.mktemp("images")
    put(folder, "train/a/0.png", png())
    put(folder, "test/a/0.png", png())
    for name, content in found.items():
        put(folder, name, content)
    load(f"imagefolder(path={str(folder)!r}{option})", project)


def test_a_pipe_among_images_is_refused_and_not_waited_for(project, tmp_path):
    for split in ("train", "test"):
        put(tmp_path, f"{split}/a/0.png", png())
    os.mkfifo(tmp_path / "train/a/1.png")
    with pytest.raises(InputError, match=r"1.png cannot be opened \(it is no regular file\)"):
        datasets.create(f"imagefolder(path={str(tmp_path)!r})", project / "data").load()


@pytest.mark.parametrize("name", ["train.parquet", "train.csv"])
def test_a_pipe_in_place_of_a_table_is_refused(name, project, tmp_path):
    put(tmp_path, "test.parquet", WHOLE)
    os.mkfifo(tmp_path / name)
    kind = "parquet" if name.endswith("parquet") else "mini-imagenet"
    with pytest.raises(InputError, match=rf"{name} cannot be opened \(.*no regular file\)"):
        datasets.create(f"{kind}(path={str(tmp_path)!r})", project / "data")


@pytest.mark.parametrize("size", [5000, 10_000])
def test_digits_that_the_memory_does_not_hold_are_refused_before_they_are_scaled(size, monkeypatch, tmp_path):
    monkeypatch.setattr(inputs, "free_memory", lambda: 8 * 10**9)
    monkeypatch.setattr(Image.Image, "resize", lambda *_: pytest.fail("it was about to work"))
    with pytest.raises(InputError, match=r"takes [\d.]+ GB of memory, 8.0 GB are free: set a smaller size="):
        datasets.create(f"digits(size={size})", tmp_path).load()


def test_a_side_that_no_image_has_is_refused_at_once(tmp_path):
    with pytest.raises(InputError, match="at most 16384 pixels a side"):
        datasets.create("digits(size=99999999999)", tmp_path)


def test_images_of_a_folder_are_counted_when_the_first_is_known(monkeypatch, project, tmp_path):
    for split in ("train", "test"):
        for number in range(9):
            put(tmp_path, f"{split}/a/{number}.png", png(0, 32))
    monkeypatch.setattr(inputs, "free_memory", lambda: 10_000)
    opened = []
    was = Image.open
    monkeypatch.setattr(Image, "open", lambda *args: opened.append(args) or was(*args))
    with pytest.raises(InputError, match=r"9 images of 32 x 32 x 3 bytes takes 0\.0 GB"):
        datasets.create(f"imagefolder(path={str(tmp_path)!r})", project / "data").load()
    assert len(opened) == 1


@pytest.mark.parametrize(
    "spec",
    ["cnn(width=100000)", "wrn(depth=100000)", "wrn(depth=16,width=4000)", "mlp(width=900000)", "lstm(width=500000)"],
)
def test_a_network_that_the_memory_does_not_hold_is_refused_before_it_is_drawn(spec, monkeypatch):
    """wrn(depth=100000) by the number of its tensors, the others by their bytes with gradients and momentum."""
    import torch

    drawn = []
    for name in ("kaiming_uniform_", "uniform_"):
        was = getattr(torch.nn.init, name)
        monkeypatch.setattr(
            torch.nn.init, name, lambda tensor, *a, was=was, **k: drawn.append(tensor.nbytes) or was(tensor, *a, **k)
        )
    monkeypatch.setattr("iskit.models.base.free_memory", lambda: 10**9)
    with pytest.raises(InputError, match=r"GB are free: lower width|more than 10000 tensors|does not fit in memory"):
        models.create(spec, 10, 3, 8)
    assert all(size < 10**9 / 3 for size in drawn)
    models.create("cnn", 10, 3, 8)  # the count is over
