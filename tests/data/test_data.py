"""A data set in memory, the digits, and parquet files as people have them: what is read, what is refused and how."""

import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from iskit.data import Dataset, datasets, images
from iskit.errors import InputError

# --- Dataset ---


def a_set(n: int = 60, classes: int = 3, **changes) -> Dataset:
    numbers = np.random.default_rng(0)
    image = torch.from_numpy(numbers.integers(0, 256, (n + 20, 6, 6, 3), dtype=np.uint8))
    label = torch.arange(n + 20) % classes
    settings = {
        "image": image[:n], "label": label[:n], "test_image": image[n:], "test_label": label[n:],
        "mean": (0.4, 0.5, 0.6), "std": (0.2, 0.25, 0.3), "classes": tuple("abc"[:classes]),
    }  # fmt: skip
    return Dataset(**(settings | changes))


def test_normalise_is_torchvision_s():
    data = a_set()
    got = data.normalise(data.image)
    scaled = v2.functional.to_dtype(data.image.permute(0, 3, 1, 2), torch.float32, scale=True)
    assert torch.allclose(got, v2.functional.normalize(scaled, list(data.mean), list(data.std)), atol=1e-5)
    assert got.dtype == torch.float32
    assert got.is_contiguous(memory_format=torch.channels_last)


def test_a_set_knows_its_size():
    data = a_set()
    assert (len(data), data.channels, data.size) == (60, 3, 6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label": torch.full((60,), 3)}, "the training set has the label 3, out of range: labels must be 0 to 2"),
        ({"label": torch.arange(60) - 1}, "the training set has the label -1, out of range"),
        ({"test_label": torch.full((20,), 7)}, "the test set has the label 7, out of range"),
        ({"label": torch.zeros(59, dtype=torch.int64)}, "60 images and 59 labels"),
        ({"test_image": torch.zeros(0, 6, 6, 3), "test_label": torch.zeros(0)}, "the test set .* at least one|not 0"),
    ],
)
def test_a_set_that_cannot_be_is_refused(changes, message):
    if message.startswith("the training set has the label 3"):
        message += "$"
    with pytest.raises(InputError, match=message):
        a_set(**changes)


# --- validation ---


@pytest.mark.parametrize("count", [3, 30, 31, 32, 57])
def test_validation_is_class_balanced_disjoint_and_in_place_of_the_test_set(count):
    data = a_set()
    held = data.with_validation(count)
    sizes = torch.bincount(held.test_label, minlength=3)
    assert sizes.sum() == count
    assert sizes.max() - sizes.min() <= 1
    rows = {one.numpy().tobytes(): int(label) for one, label in zip(data.image, data.label, strict=True)}
    assert len(rows) == 60  # every image is one of its kind
    train, test = ([one.numpy().tobytes() for one in part] for part in (held.image, held.test_image))
    assert sorted(train + test) == sorted(rows)
    assert [rows[one] for one in train] == held.label.tolist()
    assert [rows[one] for one in test] == held.test_label.tolist()
    assert (held.mean, held.std, held.classes, held.flip, held.pad) == (
        data.mean, data.std, data.classes, data.flip, data.pad,
    )  # fmt: skip


def test_validation_repeats_itself_and_is_drawn():
    data = a_set()
    one, same = data.with_validation(30), data.with_validation(30)
    assert torch.equal(one.test_image, same.test_image)
    assert torch.equal(one.image, same.image)
    first = torch.cat([data.image[data.label == c][:10] for c in range(3)])
    assert sorted(i.numpy().tobytes() for i in one.test_image) != sorted(i.numpy().tobytes() for i in first)
    # RandomState(42), class by class: numpy's own promise never to change it
    members = np.random.RandomState(42).permutation(np.flatnonzero(data.label.numpy() == 0))[:10]
    assert torch.equal(one.test_image[one.test_label == 0], data.image[np.sort(members)])


def test_no_validation_keeps_the_test_set():
    data = a_set()
    assert data.with_validation(0) is data


@pytest.mark.parametrize("count", [58, 60, 61, 10_000])
def test_a_validation_set_that_leaves_a_class_without_examples_is_refused(count):
    with pytest.raises(InputError, match=rf"validation={count} takes \d+ examples of class 'a', which has 20"):
        a_set().with_validation(count)


def test_a_class_without_training_examples_does_not_stand_in_the_way():
    data = a_set(label=torch.arange(60) % 2)  # no example of class c
    assert data.with_validation(2).test_label.sort().values.tolist() == [0, 1]
    with pytest.raises(InputError, match="validation=3 takes 1 examples of class 'c', which has 0"):
        data.with_validation(3)


# --- digits ---


def test_digits_are_scikit_learn_s_real_ones(digits):
    from sklearn.datasets import load_digits

    raw = load_digits()
    assert (len(digits.image), len(digits.test_image)) == (1197, 600)
    ours = torch.cat([digits.test_image, digits.image])[..., 0].flatten(1)
    label = torch.cat([digits.test_label, digits.label])
    # Each real image is there exactly once, with its label: so training and test set are disjoint.
    expected = np.round(raw.data * 255 / 16).astype(np.uint8)
    theirs = sorted((row.tobytes(), int(of)) for row, of in zip(expected, raw.target, strict=True))
    assert sorted((row.numpy().tobytes(), int(of)) for row, of in zip(ours, label, strict=True)) == theirs
    assert digits.image.max() == 255


def test_digits_are_mixed_evenly_and_never_flipped(digits):
    assert not digits.flip
    assert digits.pad == 1
    for label, least in ((digits.label, 90), (digits.test_label, 45)):
        assert torch.bincount(label, minlength=10).min() > least
    normalised = digits.normalise(digits.image)
    assert normalised.shape == (1197, 1, 8, 8)
    assert normalised.mean().item() == pytest.approx(0, abs=1e-4)
    assert normalised.std().item() == pytest.approx(1, abs=1e-3)


def test_limit_leaves_the_test_set_alone(tmp_path, digits):
    fewer = datasets.create("digits(limit=100)", tmp_path).load()
    assert len(fewer) == 100
    assert torch.equal(fewer.test_image, digits.test_image)
    with pytest.raises(InputError, match="limit=-1"):
        datasets.create("digits(limit=-1)", tmp_path)


# --- parquet ---


def encoded(number: int) -> bytes:
    buffer = io.BytesIO()
    picture = np.full((8, 8, 3), (number * 5 % 256, 90, 255 - number), np.uint8)
    Image.fromarray(picture).save(buffer, "PNG")
    return buffer.getvalue()


def write(path: Path, rows: list[dict], names: list[str] | None = None) -> None:
    """A file as image data sets are published: a struct of bytes and path, a label, names in the metadata."""
    columns = {key: [row[key] for row in rows] for key in rows[0]}
    table = pa.table(columns)
    if names is not None:
        features = {"label": {"names": names, "_type": "ClassLabel"}, "img": {"_type": "Image"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, path)


def rows(count: int, first: int = 0) -> list[dict]:
    return [
        {"img": {"bytes": encoded(first + n), "path": None}, "label": (first + n) % 3} for n in range(count)
    ]  # fmt: skip


@pytest.fixture
def folder(tmp_path) -> Path:
    """Two training files and a test file, whole."""
    path = tmp_path / "set"
    path.mkdir()
    write(path / "train-0.parquet", rows(7), ["ant", "bee", "cat"])
    write(path / "train-1.parquet", rows(4, 7), ["ant", "bee", "cat"])
    write(path / "test-0.parquet", rows(5, 20), ["ant", "bee", "cat"])
    return path


def load(folder: Path) -> Dataset:
    return datasets.create(f"parquet(path={str(folder)!r})", folder.parent / "data").load()


def test_parquet_is_read_as_written(folder):
    data = load(folder)
    assert data.classes == ("ant", "bee", "cat")
    assert data.label.tolist() == [n % 3 for n in range(11)]
    assert data.test_label.tolist() == [(20 + n) % 3 for n in range(5)]
    for number, image in enumerate(data.image):
        assert torch.equal(image, torch.tensor([number * 5, 90, 255 - number], dtype=torch.uint8).expand(8, 8, 3))
    scaled = data.image.double().flatten(0, 2) / 255
    assert data.mean == pytest.approx(scaled.mean(0).tolist())
    assert data.std[0] == pytest.approx(scaled.std(0)[0].item(), rel=1e-2)


def harm(folder: Path, name: str, change) -> None:
    table = pq.read_table(folder / name)
    pq.write_table(change(table), folder / name)


def replaced(table: pa.Table, column: str, row: int, value) -> pa.Table:
    values = table.column(column).to_pylist()
    values[row] = value
    place = table.column_names.index(column)
    return table.set_column(place, column, pa.array(values, table.schema.field(column).type))


HARMS = {
    "truncated image": (
        "train-1.parquet",
        lambda t: replaced(t, "img", 2, {"bytes": encoded(9)[:45], "path": None}),
        ["train-1.parquet, row 2", "remove or replace"],
    ),
    "bytes that are no image": (
        "test-0.parquet",
        lambda t: replaced(t, "img", 0, {"bytes": b"<html>", "path": None}),
        ["test-0.parquet, row 0", "remove or replace"],
    ),
    "no bytes": (
        "train-0.parquet",
        lambda t: replaced(t, "img", 1, None),
        ["train-0.parquet, row 1", "remove or replace"],
    ),
    "no image column": (
        "train-0.parquet",
        lambda t: t.drop_columns(["img"]),
        ["train-0.parquet", "image", "['label']"],
    ),
    "no label column": (
        "train-0.parquet",
        lambda t: t.drop_columns(["label"]),
        ["train-0.parquet", "label", "['img']"],
    ),
    "other columns in the test file": (
        "test-0.parquet",
        lambda t: t.rename_columns(["picture", "label"]),
        ["test-0.parquet", "lacks the column"],
    ),
    "other columns in a later file": (
        "train-1.parquet",
        lambda t: t.rename_columns(["img", "class"]),
        ["train-1.parquet", "lacks the column"],
    ),
    "a label that is missing": (
        "train-0.parquet",
        lambda t: replaced(t, "label", 3, None),
        ["train-0.parquet, row", "remove or label the row"],
    ),
    "a label too high": (
        "train-1.parquet",
        lambda t: replaced(t, "label", 1, 3),
        ["train-1.parquet, row 1", "label 3", "0 to 2"],
    ),
    "a negative label": (
        "test-0.parquet",
        lambda t: replaced(t, "label", 4, -1),
        ["test-0.parquet, row 4", "label -1", "0 to 2"],
    ),
}


@pytest.mark.parametrize("what", HARMS)
def test_a_damaged_set_is_refused_by_file_and_remedy(folder, what):
    name, change, words = HARMS[what]
    harm(folder, name, change)
    with pytest.raises(InputError) as error:
        load(folder)
    assert [word for word in words if word not in str(error.value)] == []
    assert "\n" not in str(error.value)
    assert not list((folder.parent / "data").rglob("*.npz"))  # nothing that is wrong is kept


def test_a_missing_or_empty_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"path='.*absent' is no folder"):
        load(tmp_path / "absent")
    with pytest.raises(InputError, match=r"holds no train\*.parquet: name the files train-\.\.\. and test-\.\.\."):
        load(tmp_path)


def test_the_cache_is_used_the_second_time_and_rebuilt_when_damaged(folder, monkeypatch):
    first = load(folder)
    decode, calls = images.decode, []
    monkeypatch.setattr(images, "decode", lambda *args: calls.append(args[1]) or decode(*args))
    again = load(folder)
    assert calls == []
    for key in ("image", "label", "test_image", "test_label"):
        assert torch.equal(getattr(first, key), getattr(again, key))
    (cache,) = (folder.parent / "data").rglob("*.npz")
    content = bytearray(cache.read_bytes())
    content[content.index(first.image.numpy().tobytes()) + 100] ^= 1  # one bit of one pixel
    cache.write_bytes(content)
    rebuilt = load(folder)
    assert len(calls) == 16
    assert torch.equal(rebuilt.image, first.image)
    calls.clear()
    load(folder)
    assert calls == []  # and whole again


def test_other_files_are_decoded_anew(folder):
    load(folder)
    write(folder / "train-1.parquet", rows(4, 30), ["ant", "bee", "cat"])
    assert load(folder).image[7, 0, 0].tolist() == [150, 90, 225]


# --- real images ---

CIFAR = Path(__file__).resolve().parents[2] / "../shared/data/cifar10-jpeg"


@pytest.mark.skipif(not CIFAR.is_dir(), reason="real images are not there: ../shared/data/cifar10-jpeg")
def test_real_images_are_read(tmp_path):
    name = "test-00000-of-00001.parquet"  # small enough for a test: its first rows in both roles
    head = pq.read_table(CIFAR / name).slice(0, 300)
    folder = tmp_path / "cifar"
    folder.mkdir()
    pq.write_table(head, folder / "train.parquet")
    pq.write_table(head.slice(0, 50), folder / "test.parquet")
    data = load(folder)
    assert data.classes[:3] == ("airplane", "automobile", "bird")
    assert len(data.classes) == 10
    assert (data.size, data.channels, len(data)) == (32, 3, 300)
    assert torch.bincount(data.label, minlength=10).min() > 10
    assert data.mean == pytest.approx((0.4914, 0.4822, 0.4465), abs=0.03)
    assert data.std == pytest.approx((0.2023, 0.1994, 0.2010), abs=0.06)
    first = np.asarray(Image.open(io.BytesIO(head.column("img")[0].as_py()["bytes"])).convert("RGB"))
    assert np.array_equal(data.image[0], first)
