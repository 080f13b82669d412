"""Every data set, read from small files in its real format; the options all share; the cache; what is refused."""

import gzip
import hashlib
import io
import os
import pickle
import resource
import struct
import subprocess
import sys
import tarfile
import urllib.error
import zlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.io
import torch
import torchvision.datasets as published
from PIL import Image

from iskit.data import cache, datasets, loader, mini_imagenet
from iskit.data.images import decode_all
from iskit.errors import InputError

RANDOM = np.random.RandomState(0)
TRAIN, TEST = 20, 8  # examples in the small files


def pixels(count, side, channels=3):
    return RANDOM.randint(0, 256, (count, side, side, channels), dtype=np.uint8)


def labels(count, classes):
    return np.arange(count) * 7 % classes


def md5(path):
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def encoded(array, form="PNG", **options):
    file = io.BytesIO()
    (array if isinstance(array, Image.Image) else Image.fromarray(array.squeeze())).save(file, form, **options)
    return file.getvalue()


def png16(side=4):
    """A PNG with 16 bits for each of red, green and blue: PIL can read but not write it."""
    rows = b"".join(b"\0" + bytes(6 * side) for _ in range(side))
    chunks = {b"IHDR": struct.pack(">IIBBBBB", side, side, 16, 2, 0, 0, 0), b"IDAT": zlib.compress(rows), b"IEND": b""}
    body = [struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks.items()]
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


# --- The files as they are published, but small. Each returns what should come out: the spec and the two sets. ---


def cifar(folder, patch, kind, classes, batches, key):
    def entries(path, label, table):
        count, image = len(label), pixels(len(label), 32)
        with path.open("wb") as file:
            pickle.dump({"data": image.transpose(0, 3, 1, 2).reshape(count, -1), key: label.tolist()}, file)
        table.append([path.name, md5(path)])
        return image, label

    base = folder / kind.base_folder
    base.mkdir()
    tables = {"train_list": [], "test_list": []}
    shares = np.split(labels(TRAIN, classes), len(batches))
    train = [entries(base / name, share, tables["train_list"]) for name, share in zip(batches, shares, strict=True)]
    test = entries(base / kind.test_list[0][0], labels(TEST, classes), tables["test_list"])
    meta = base / kind.meta["filename"]
    meta.write_bytes(pickle.dumps({kind.meta["key"]: [str(c) for c in range(classes)]}))
    for name, table in tables.items():
        patch.setattr(kind, name, table)
    patch.setattr(kind, "meta", {**kind.meta, "md5": md5(meta)})
    return (*(np.concatenate(part) for part in zip(*train, strict=True)), *test)


def cifar10(folder, patch):
    batches = [f"data_batch_{i}" for i in range(1, 6)]
    return "cifar10", *cifar(folder, patch, published.CIFAR10, 10, batches, "labels")


def cifar100(folder, patch):
    return "cifar100", *cifar(folder, patch, published.CIFAR100, 100, ["train"], "fine_labels")


def svhn(folder, patch):
    out, table = [], {}
    for split, count in (("train", TRAIN), ("test", TEST)):
        path = folder / f"{split}_32x32.mat"
        image, label = pixels(count, 32), labels(count, 10)
        scipy.io.savemat(path, {"X": image.transpose(1, 2, 3, 0), "y": np.where(label == 0, 10, label)[:, None]})
        table[split] = [f"http://nowhere/{path.name}", path.name, md5(path)]
        out += [image, label]
    patch.setattr(published.SVHN, "split_list", table)
    return "svhn", *out


def idx(folder, patch, kind):
    raw = folder / kind.__name__ / "raw"
    raw.mkdir(parents=True)
    out, table = [], []
    for split, count in (("train", TRAIN), ("t10k", TEST)):
        image, label = pixels(count, 28, 1), labels(count, 10)
        for name, shape, data in (("images-idx3", image.shape[:3], image), ("labels-idx1", (count,), label)):
            path = raw / f"{split}-{name}-ubyte.gz"
            head = bytes([0, 0, 8, len(shape)]) + struct.pack(f">{len(shape)}I", *shape)
            path.write_bytes(gzip.compress(head + data.astype(np.uint8).tobytes()))
            table.append((path.name, md5(path)))
        out += [image, label]
    patch.setattr(kind, "resources", table)
    return out


def mnist(folder, patch):
    return "mnist", *idx(folder, patch, published.MNIST)


def fashion_mnist(folder, patch):
    return "fashion-mnist", *idx(folder, patch, published.FashionMNIST)


def mini(folder, patch):
    """Grey patches, each of its own level, so that a row can be told by its image."""
    patch.setattr(mini_imagenet, "TOTAL", TRAIN + TEST)
    patch.setattr(mini_imagenet, "TRAIN", TRAIN)
    base = folder / "mini-imagenet"
    (base / "images").mkdir(parents=True)
    image = np.repeat(np.arange(TRAIN + TEST, dtype=np.uint8) * 9, 84 * 84 * 3).reshape(-1, 84, 84, 3)
    word = [f"n{90 - c:02}" for c in labels(len(image), 4)]  # sorted labels run against the order of appearance
    for part, rows in (("train", range(0, 15)), ("val", range(15, 20)), ("test", range(20, 28))):
        lines = [f"{row}.jpg,{word[row]}" for row in rows]
        (base / f"{part}.csv").write_text("filename,label\n" + "\n".join(lines) + "\n")
    for row, one in enumerate(image):
        (base / "images" / f"{row}.jpg").write_bytes(encoded(one, "JPEG", quality=100))
    order = np.random.RandomState(42).permutation(TRAIN + TEST)
    image, label = image[order], 3 - labels(len(order), 4)[order]
    return "mini-imagenet", image[:TRAIN], label[:TRAIN], image[TRAIN:], label[TRAIN:]


def imagefolder(folder, patch):
    out = []
    for split, count in (("train", TRAIN), ("val", TEST)):
        image, label = pixels(count, 32), np.sort(labels(count, 3))
        for row in range(count):
            path = folder / "pictures" / split / "abc"[label[row]] / f"{row:03}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encoded(image[row]))
        out += [image, label]
    (folder / "pictures" / "train" / "a" / "Thumbs.db").touch()
    return f"imagefolder(path='{folder / 'pictures'}')", *out


def parquet(folder, patch):
    """Two files of training rows, the images a struct, the label beside another integer column."""
    base = folder / "rows"
    base.mkdir()
    image, label = pixels(TRAIN, 32), labels(TRAIN, 5)
    test_image, test_label = pixels(TEST, 32), labels(TEST, 5)
    write(base / "train-0.parquet", image[:13], label[:13])
    write(base / "train-1.parquet", image[13:], label[13:])
    write(base / "test-0.parquet", test_image, test_label)
    return f"parquet(path='{base}')", image, label, test_image, test_label


def write(path, image, label, names=None):
    data = [one if one is None or isinstance(one, bytes) else encoded(one) for one in image]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    columns = {
        "id": pa.array(range(len(data))),
        "img": pa.array([{"bytes": one, "path": "x"} for one in data], kind),
        "label": pa.array(label),
    }
    pq.write_table(pa.table(columns).replace_schema_metadata(names), path)


def digits(folder, patch):
    """The real ones; the reference is read from scikit-learn: 0 to 16 become 0 to 255."""
    from sklearn.datasets import load_digits

    raw = load_digits()
    order = np.random.Generator(np.random.Philox(0)).permutation(1797)
    image = np.rint(raw.images[order] * 255 / 16).astype(np.uint8)[..., None]
    label = raw.target[order]
    return "digits", image[600:], label[600:], image[:600], label[:600]


MAKERS = {
    "cifar10": cifar10,
    "cifar100": cifar100,
    "svhn": svhn,
    "mnist": mnist,
    "fashion-mnist": fashion_mnist,
    "mini-imagenet": mini,
    "imagefolder": imagefolder,
    "parquet": parquet,
    "digits": digits,
}
DOWNLOADED = ["cifar10", "cifar100", "svhn", "mnist", "fashion-mnist"]


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*args, **options):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr("urllib.request.urlopen", refuse)


@pytest.fixture(params=list(MAKERS))
def made(request, tmp_path, monkeypatch):
    return MAKERS[request.param](tmp_path, monkeypatch)


def load(spec, folder, **options):
    """The spec with more options."""
    name, own = datasets.parse(spec)
    return datasets[name](folder, **{**own, **options}).load()


def same(image, expected):
    """Equal but for what JPEG does to a grey patch."""
    return image.shape == expected.shape and np.abs(image.numpy().astype(int) - expected).max() <= 1


# --- What holds for every data set ---


def test_registered_is_tested():
    assert set(MAKERS) == set(datasets)


def test_pixels_and_labels_come_out_as_they_were_written(made, tmp_path):
    spec, image, label, test_image, test_label = made
    data = load(spec, tmp_path)
    assert data.image.dtype == torch.uint8
    assert data.label.dtype == torch.int64
    assert same(data.image, image)
    assert same(data.test_image, test_image)
    assert data.label.tolist() == label.tolist()
    assert data.test_label.tolist() == test_label.tolist()
    assert data.flip == ("digits" not in spec and spec not in ("svhn", "mnist"))
    assert data.pad == min(4, data.size // 8)
    assert len(data.mean) == len(data.std) == data.channels
    assert len(set(data.classes)) == len(data.classes)


def test_a_second_load_reads_the_cache_alone(made, tmp_path, monkeypatch):
    spec = made[0]
    first = load(spec, tmp_path)
    if spec == "digits":
        assert not list(tmp_path.rglob("*.npz"))
        return
    monkeypatch.setattr(datasets[spec.partition("(")[0]], "read", None)
    second = load(spec, tmp_path)
    for name in ("image", "label", "test_image", "test_label"):
        assert torch.equal(getattr(first, name), getattr(second, name))
    assert first.classes == second.classes
    with pytest.raises(TypeError):
        load(spec, tmp_path, limit=3)


def test_limit_takes_a_fixed_nested_subset_of_the_training_set(made, tmp_path):
    spec = made[0]
    full, some, few = (load(spec, tmp_path, limit=limit) for limit in (0, 12, 5))

    def rows(data):
        return {(image.numpy().tobytes(), int(label)) for image, label in zip(data.image, data.label, strict=True)}

    assert len(rows(few)) == len(few) == 5
    assert rows(few) < rows(some) < rows(full)
    assert len(some.test_label) == len(full.test_label)
    assert some.label.tolist() != full.label[:12].tolist()  # not the first: sets sorted by class are common
    with pytest.raises(InputError, match=r"limit=.* more than"):
        load(spec, tmp_path, limit=len(full) + 1)


def test_size_shrinks_by_means_over_boxes(made, tmp_path):
    spec, image, *_ = made
    side = image.shape[1] // 2
    data = load(spec, tmp_path, size=side)
    boxes = image.astype(float).reshape(len(image), side, 2, side, 2, -1).mean((2, 4))
    assert np.abs(data.image.numpy() - boxes).max() <= 1
    assert data.test_image.shape[1:] == data.image.shape[1:]
    assert data.pad == min(4, side // 8)


def test_size_may_be_odd_or_larger(made, tmp_path):
    for side in (7, made[1].shape[1] + 3):
        data = load(made[0], tmp_path, size=side, limit=2)
        assert data.image.shape[1:3] == data.test_image.shape[1:3] == (side, side)


def test_noise_flips_exactly_its_share_to_other_classes(made, tmp_path):
    clean, some, more = (load(made[0], tmp_path, noise=share) for share in (0, 0.25, 0.5))
    for share, noisy in ((0.25, some), (0.5, more)):
        assert (noisy.label != clean.label).sum() == round(share * len(clean))
        assert noisy.label.min() >= 0
        assert noisy.label.max() < len(noisy.classes)
        assert torch.equal(noisy.test_label, clean.test_label)
        assert torch.equal(noisy.image, clean.image)
    changed = some.label != clean.label
    assert torch.equal(some.label[changed], more.label[changed])


def test_classes_are_kept_and_numbered_anew(made, tmp_path):
    spec, image, label, test_image, test_label = made
    low, high = sorted(set(label.tolist()) & set(test_label.tolist()))[:2]
    data = load(spec, tmp_path, classes=(high, low))
    full = load(spec, tmp_path)
    assert data.classes == (full.classes[high], full.classes[low])
    keep, test_keep = np.isin(label, (low, high)), np.isin(test_label, (low, high))
    assert data.label.tolist() == np.where(label == high, 0, 1)[keep].tolist()
    assert data.test_label.tolist() == np.where(test_label == high, 0, 1)[test_keep].tolist()
    assert same(data.image, image[keep])
    assert same(data.test_image, test_image[test_keep])
    assert len(load(spec, tmp_path, classes=(high, low), limit=2)) == 2


def test_a_chosen_class_without_examples_is_refused(tmp_path, monkeypatch):
    cifar100(tmp_path, monkeypatch)
    with pytest.raises(InputError, match=r"training set has no example of class 2 \(baby\)"):
        datasets.create("cifar100(classes=(0, 2))", tmp_path).load()


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("limit=-1", "limit=-1"),
        ("size=-8", "size=-8"),
        ("noise=1.5", "noise=1.5"),
        ("classes=(1, 1)", "different class numbers"),
        ("classes=(-1,)", "different class numbers"),
        ("classes=('a',)", "different class numbers"),
        ("classes=(3,), noise=0.1", "another class"),
        ("classes=(0, 10)", "classes 0 to 9"),
    ],
)
def test_options_that_cannot_work_are_refused(option, message, tmp_path):
    with pytest.raises(InputError, match=message.replace("(", r"\(")):
        datasets.create(f"digits({option})", tmp_path).load()


def test_noise_is_uniform_over_the_other_classes():
    label = torch.arange(40_000) % 4
    noisy = loader.flip_labels(label, 1.0, 4)
    counts = torch.zeros(4, 4).index_put_((label, noisy), torch.ones(len(label)), accumulate=True)
    assert counts.diagonal().sum() == 0
    share = counts[~torch.eye(4, dtype=torch.bool)] / 10_000
    assert (share - 1 / 3).abs().max() < 4 * (1 / 3 * 2 / 3 / 10_000) ** 0.5


def test_constants_are_the_study_s(tmp_path):
    """Arazo et al. 2021, their code: of these, two digits swapped would not show in any accuracy."""
    means = {
        "cifar10": ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
        "cifar100": ((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)),
        "svhn": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    }
    for name, (mean, std) in means.items():
        about = datasets.create(name, tmp_path).about()
        assert (about.mean, about.std) == (mean, std)
    names = datasets.create("cifar100", tmp_path).about().classes
    assert list(names) == sorted(set(names))
    assert len(names) == 100


def test_statistics_are_the_plain_mean_and_deviation():
    image = torch.from_numpy(pixels(5, 6))
    image[..., 1] = 77
    mean, std = loader.statistics(image)
    values = image.view(-1, 3).numpy() / 255
    assert mean == pytest.approx(values.mean(0))
    assert std == pytest.approx(
        [values[:, 0].std(), 1 / 255, values[:, 2].std()]
    )  # a constant channel: no division by 0


# --- Files that are missing or damaged ---


@pytest.mark.parametrize("name", DOWNLOADED)
def test_without_files_and_network_the_error_says_what_to_put_where(name, tmp_path):
    whole = datasets.create(name, tmp_path).downloads()
    with pytest.raises(InputError) as caught:
        datasets.create(name, tmp_path).load()
    message = str(caught.value)
    assert "no route to host" in message
    assert "\n" not in message
    for file in whole:
        assert file.url in message
        assert str(file.path) in message
        assert file.md5 in message
    assert not list(tmp_path.rglob("*.npz"))


@pytest.mark.parametrize("name", DOWNLOADED)
def test_a_wrong_checksum_is_refused(name, tmp_path, monkeypatch):
    MAKERS[name](tmp_path, monkeypatch)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    path = next(path for path in files if "train" in path.name or "data_batch_3" in path.name)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match=rf"{datasets[name].__name__} cannot be read"):
        datasets.create(name, tmp_path).load()


@pytest.mark.parametrize("name", DOWNLOADED)
def test_a_truncated_file_is_refused_even_if_its_checksum_is_right(name, tmp_path, monkeypatch):
    """A checksum is of what was published, and that can be cut as well."""
    monkeypatch.setattr(published.utils, "check_md5", lambda *args, **options: True)
    MAKERS[name](tmp_path, monkeypatch)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    path = next(path for path in files if "train" in path.name or "data_batch_3" in path.name)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(InputError, match=r"cannot be read: (its files .* are whole, but|.*pickle data was truncated)"):
        datasets.create(name, tmp_path).load()


@pytest.mark.parametrize("name", DOWNLOADED)
def test_a_missing_split_is_refused(name, tmp_path, monkeypatch):
    MAKERS[name](tmp_path, monkeypatch)
    for path in [*tmp_path.rglob("*test*"), *tmp_path.rglob("t10k*")]:
        path.unlink()
    with pytest.raises(InputError, match=r"download .*(cifar|test|t10k)"):
        datasets.create(name, tmp_path).load()


def test_a_packed_file_put_in_place_by_hand_is_found(tmp_path, monkeypatch):
    _, image, *_ = cifar10(tmp_path, monkeypatch)
    packed = tmp_path / published.CIFAR10.filename
    with tarfile.open(packed, "w:gz") as tar:
        tar.add(tmp_path / published.CIFAR10.base_folder, published.CIFAR10.base_folder)
    for path in (tmp_path / published.CIFAR10.base_folder).iterdir():
        path.unlink()
    monkeypatch.setattr(published.CIFAR10, "tgz_md5", md5(packed))
    assert same(datasets.create("cifar10", tmp_path).load().image, image)


def test_a_half_unpacked_file_is_unpacked_again(tmp_path, monkeypatch):
    """As a process killed while unpacking leaves it; torchvision would read it, having checked the packed file."""
    _, image, *_ = mnist(tmp_path, monkeypatch)
    packed = tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte.gz"
    whole = gzip.decompress(packed.read_bytes())
    packed.with_suffix("").write_bytes(whole[:16] + bytes(len(whole) - 16))
    assert same(datasets.create("mnist", tmp_path).load().image, image)


def test_a_download_shows_progress_and_a_wrong_one_is_refused(tmp_path, monkeypatch, capfd):
    *_, label, _, _ = svhn(tmp_path, monkeypatch)
    served = {path.name: path.read_bytes() for path in tmp_path.glob("*.mat")}

    class Response(io.BytesIO):
        def __init__(self, request):
            super().__init__(served[request.full_url.rpartition("/")[2]])
            self.url, self.length = request.full_url, 10**6

    monkeypatch.setattr("urllib.request.urlopen", Response)
    for path in tmp_path.glob("*.mat"):
        path.unlink()
    assert datasets.create("svhn", tmp_path).load().label.tolist() == label.tolist()
    assert "%" in capfd.readouterr().err
    (tmp_path / "test_32x32.mat").unlink()
    served["test_32x32.mat"] = b"an error page"
    with pytest.raises(InputError, match=r"test_32x32.mat \(the file there is damaged"):
        datasets.create("svhn(limit=5)", tmp_path).load()


def damage(path, text, new):
    path.write_text(path.read_text().replace(text, new))


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda base: (base / "val.csv").unlink(), r"val.csv cannot be opened .*images/.* into "),
        (lambda base: (base / "images" / "7.jpg").unlink(), r"7.jpg is named in a csv file but missing"),
        (lambda base: damage(base / "train.csv", "filename,label", "file,class"), "lacks the columns filename,label"),
        (lambda base: damage(base / "test.csv", "20.jpg,n90", "20.jpg,"), "row without filename or label"),
        (lambda base: damage(base / "train.csv", "3.jpg,n89\n", ""), "has 28 rows, the csv files in .* 27"),
        (lambda base: (base / "images" / "7.jpg").write_bytes(b"\xff\xd8 cut"), "7.jpg: no image"),
    ],
)
def test_a_damaged_mini_imagenet_is_refused(harm, message, tmp_path, monkeypatch):
    mini(tmp_path, monkeypatch)
    harm(tmp_path / "mini-imagenet")
    with pytest.raises(InputError, match=message):
        datasets.create("mini-imagenet", tmp_path).load()


def test_mini_imagenet_of_full_sized_images_comes_at_84_pixels(tmp_path, monkeypatch):
    mini(tmp_path, monkeypatch)
    (tmp_path / "mini-imagenet" / "images" / "3.jpg").write_bytes(encoded(np.full((200, 300, 3), 27, np.uint8), "JPEG"))
    assert load("mini-imagenet", tmp_path).image.shape == (TRAIN, 84, 84, 3)


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda base: [path.rename(base / "else") for path in [base / "val"]], r"has no folder test/"),
        (lambda base: (base / "train" / "d").mkdir(), r"train/d holds no images"),
        (lambda base: (base / "train" / "b").rename(base / "train" / "z"), "test class 'b' is not in train/"),
        (lambda base: (base / "train" / "b" / "007.png").write_bytes(png16()), "more than 8 bits"),
        (lambda base: (base / "val" / "c" / "x.png").write_bytes(encoded(pixels(1, 30)[0])), "others have 32 x 32"),
    ],
)
def test_a_damaged_image_folder_is_refused(harm, message, tmp_path, monkeypatch):
    spec, *_ = imagefolder(tmp_path, monkeypatch)
    harm(tmp_path / "pictures")
    with pytest.raises(InputError, match=message):
        datasets.create(spec, tmp_path).load()


# --- Parquet ---


def table(folder, image=None, label=(0, 1), **columns):
    image = [encoded(one) for one in pixels(2, 8)] if image is None else image
    for split in ("train", "validation"):
        pq.write_table(pa.table({"picture": image, "kind": pa.array(label), **columns}), folder / f"{split}.parquet")
    return f"parquet(path='{folder}')"


def test_parquet_finds_a_single_column_of_each_type_and_the_validation_split(tmp_path):
    data = load(table(tmp_path, name=["x", "y"], share=[0.5, 0.1]), tmp_path)
    assert data.image.shape == (2, 8, 8, 3)
    assert data.classes == ("0", "1")


def test_parquet_prefers_the_test_split(tmp_path):
    spec = table(tmp_path)
    pq.write_table(pa.table({"picture": [encoded(pixels(1, 8)[0])], "kind": [1]}), tmp_path / "test.parquet")
    assert load(spec, tmp_path).test_label.tolist() == [1]


def test_parquet_refuses_to_guess_between_columns(tmp_path):
    spec = table(tmp_path, number=[5, 6])
    with pytest.raises(InputError, match=r"columns \['kind', 'number'\] to read as label .*give label="):
        load(spec, tmp_path)
    assert load(spec, tmp_path, label="kind").label.tolist() == [0, 1]
    with pytest.raises(InputError, match="give image= the name"):
        load(spec, tmp_path, image="number", label="kind")


def test_parquet_names_classes_by_the_metadata_whatever_the_limit(tmp_path):
    names = {
        "huggingface": '{"info": {"features": {"label": {"names": ["cat", "dog", "emu"], "_type": "ClassLabel"}}}}'
    }
    for split in ("train", "test"):
        write(tmp_path / f"{split}.parquet", pixels(3, 8), [0, 1, 1], names)
    spec = f"parquet(path='{tmp_path}')"
    assert load(spec, tmp_path).classes == ("cat", "dog", "emu")
    for split in ("train", "test"):
        write(tmp_path / f"{split}.parquet", pixels(30, 8), [0] * 29 + [4])
    assert len(load(spec, tmp_path, limit=1).classes) == 5


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ([0, None], "row 1: the label is missing"),
        ([0, -1], r"train\.parquet, row 1: the label -1 is out of range"),
        ([0.5, 1.5], "no column to read as label"),
    ],
)
def test_parquet_refuses_labels_that_are_none(label, message, tmp_path):
    with pytest.raises(InputError, match=message):
        load(table(tmp_path, label=label), tmp_path)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (lambda good: good[: len(good) // 2], "row 1: no whole image"),
        (lambda good: b"", "row 1: no image of a known format"),
        (lambda good: None, "row 1: no image of a known format"),
        (lambda good: encoded(pixels(1, 8)[0][:6]), "row 1: 8 x 6 pixels are not square: set size="),
        (lambda good: encoded(pixels(1, 9)[0]), "row 1: 9 x 9 pixels, others have 8 x 8: set size="),
        (lambda good: png16(), r"row 1: more than 8 bits a channel \(mode RGB\)"),
        (lambda good: encoded(np.zeros((8, 8), np.uint16)), r"row 1: more than 8 bits a channel \(mode I;16\)"),
        (lambda good: encoded(np.zeros((8, 8), np.float32), "TIFF"), r"row 1: more than 8 bits a channel \(mode F\)"),
    ],
)
def test_parquet_refuses_images_that_cannot_be_used(bad, message, tmp_path):
    good = encoded(pixels(1, 8)[0])
    with pytest.raises(InputError, match=f"train.parquet, {message}"):
        load(table(tmp_path, [good, bad(good)]), tmp_path)


def test_a_huge_image_is_refused_before_it_fills_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 30)  # PIL refuses twice that
    with pytest.raises(InputError, match=r"row 0: no whole image .*decompression bomb"):
        load(table(tmp_path), tmp_path)


@pytest.mark.parametrize("cut", [20, 200])
def test_a_truncated_parquet_file_is_refused(cut, tmp_path):
    spec = table(tmp_path)
    path = tmp_path / "validation.parquet"
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(InputError, match=r"validation.parquet is not a whole parquet file"):
        load(spec, tmp_path)


def test_damaged_pages_of_a_parquet_file_are_refused(tmp_path):
    spec = table(tmp_path)
    data = bytearray((tmp_path / "train.parquet").read_bytes())
    data[4:60] = bytes(56)  # the head of the first page; the footer stays whole
    (tmp_path / "train.parquet").write_bytes(data)
    with pytest.raises(InputError, match=r"train.parquet is not a whole parquet file"):
        load(spec, tmp_path)


def test_a_missing_parquet_folder_split_or_path_is_refused(tmp_path):
    with pytest.raises(InputError, match="is no folder"):
        load(f"parquet(path='{tmp_path / 'none'}')", tmp_path)
    with pytest.raises(InputError, match=r"holds no train\*.parquet"):
        load(f"parquet(path='{tmp_path}')", tmp_path)
    with pytest.raises(InputError, match="needs path"):
        datasets.create("parquet", tmp_path)
    spec = table(tmp_path)
    pq.write_table(pa.table({"kind": [1]}), tmp_path / "train2.parquet")
    with pytest.raises(InputError, match=r"train2.parquet lacks the column 'picture'"):
        load(spec, tmp_path)


# --- Decoding ---

MODES = ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"]


@pytest.mark.parametrize("mode", MODES)
def test_eight_bit_images_of_any_mode_become_rgb(mode):
    original = Image.fromarray(pixels(1, 8)[0]).convert(mode)
    form = "TIFF" if mode == "CMYK" else "PNG"
    colour = encoded(pixels(1, 8)[0])
    out = decode_all([(encoded(original, form), "a"), (colour, "b")], 2, 0, "test")
    assert np.array_equal(out[0], np.asarray(original.convert("RGB")))


def test_a_palette_with_transparency_is_read_without_a_warning():
    image = Image.fromarray(pixels(1, 8)[0]).convert("P")
    data = encoded(image, "PNG", transparency=bytes([0, 128, 255]))
    out = decode_all([(data, "a")], 1, 0, "test")
    assert np.array_equal(out[0], np.asarray(image.convert("RGB")))


def test_a_set_stays_grey_only_if_every_image_is(tmp_path):
    grey, colour = [encoded(one) for one in pixels(2, 8, 1)], [encoded(one) for one in pixels(2, 8)]
    spec = table(tmp_path, grey)
    assert load(spec, tmp_path).image.shape == (2, 8, 8, 1)
    pq.write_table(pa.table({"picture": colour, "kind": [0, 1]}), tmp_path / "validation.parquet")
    data = load(spec, tmp_path)
    assert data.image.shape == data.test_image.shape == (2, 8, 8, 3)
    assert torch.equal(data.image[..., 0], data.image[..., 2])
    assert load(table(tmp_path, [grey[0], colour[0]]), tmp_path).channels == 3


def test_the_bar_shows_in_a_terminal_and_nowhere_else(monkeypatch):
    one = [(encoded(pixels(1, 8)[0]), "a")]

    class Screen(io.StringIO):
        def isatty(self):
            return self.terminal

    for terminal in (True, False):
        screen = Screen()
        screen.terminal = terminal
        monkeypatch.setattr(sys, "stderr", screen)
        decode_all(one, 1, 0, "decoding")
        assert ("decoding" in screen.getvalue()) == terminal


# --- The cache ---


def arrays(value=1):
    return {"a": np.full((100, 100), value), "b": np.arange(3)}


@pytest.mark.parametrize(
    "harm",
    [
        lambda data: data[: len(data) // 2],
        lambda data: b"",
        lambda data: data[:500] + bytes([data[500] ^ 1]) + data[501:],
        lambda data: data[:-5] + b"\0" * 5,
    ],
)
def test_a_damaged_cache_is_made_anew(harm, tmp_path):
    cache.cached(tmp_path, {"k": 1}, arrays)
    (path,) = tmp_path.glob("*.npz")
    path.write_bytes(harm(path.read_bytes()))
    again = cache.cached(tmp_path, {"k": 1}, lambda: arrays(2))
    assert (again["a"] == 2).all()
    third = cache.cached(tmp_path, {"k": 1}, lambda: arrays(3))
    assert (third["a"] == 2).all()


def test_a_whole_file_with_other_arrays_is_not_believed(tmp_path):
    cache.cached(tmp_path, {"k": 1}, arrays)
    (path,) = tmp_path.glob("*.npz")
    with np.load(path) as stored:
        changed = {**stored, "a": stored["a"] + 1}
    np.savez(path, **changed)
    assert (cache.cached(tmp_path, {"k": 1}, lambda: arrays(2))["a"] == 2).all()


def test_the_key_holds_every_option_and_the_files(tmp_path, monkeypatch):
    spec, *_ = parquet(tmp_path, monkeypatch)
    count = 0
    for options in ({}, {"size": 8}, {"limit": 9}, {"classes": (0, 1)}, {"classes": (1, 0)}):
        load(spec, tmp_path, **options)
        count += 1
        assert len(list(tmp_path.glob("cache/*.npz"))) == count
    load(spec, tmp_path, noise=0.5)  # flips labels after the cache
    assert len(list(tmp_path.glob("cache/*.npz"))) == count
    path = tmp_path / "rows" / "test-0.parquet"
    os.utime(path, ns=(1, 1))
    load(spec, tmp_path)
    assert len(list(tmp_path.glob("cache/*.npz"))) == count + 1


def test_a_full_disk_is_a_clear_error_and_leaves_nothing_half_written(tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        with pytest.raises(InputError, match=r"cannot be written \(.*\): free space there"):
            cache.cached(tmp_path, {"k": 1}, arrays)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [path.suffix for path in tmp_path.iterdir() if path.suffix != ".lock"] == []
    assert (cache.cached(tmp_path, {"k": 1}, arrays)["a"] == 1).all()


def test_a_folder_that_cannot_be_written_is_a_clear_error(tmp_path):
    (tmp_path / "data").write_text("a file in the way")
    with pytest.raises(InputError, match="data cannot be written"):
        cache.cached(tmp_path / "data", {"k": 1}, arrays)


def test_of_two_processes_one_makes_the_cache_and_the_other_waits(tmp_path):
    code = """
import sys, time, numpy as np
from pathlib import Path
from iskit.data.cache import cached
folder = Path(sys.argv[1])
def make():
    (folder / f"made-{sys.argv[2]}").touch()
    time.sleep(1)
    return {"a": np.arange(1000)}
print(cached(folder, {"k": 1}, make)["a"].sum())
"""
    both = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path), name], stdout=subprocess.PIPE, text=True)
        for name in "xy"
    ]
    assert [one.communicate(timeout=60)[0].strip() for one in both] == ["499500", "499500"]
    assert len(list(tmp_path.glob("made-*"))) == 1
    assert len(list(tmp_path.glob("*.npz"))) == 1


def test_the_fingerprint_changes_with_name_size_and_time(tmp_path):
    path = tmp_path / "a"
    seen = set()
    for text, time, name in (("x", 1, "a"), ("xy", 1, "a"), ("x", 2, "a"), ("x", 1, "b")):
        path = path.rename(tmp_path / name) if path.exists() else tmp_path / name
        path.write_text(text)
        os.utime(path, ns=(time, time))
        seen.add(cache.fingerprint([path]))
    assert len(seen) == 4


def test_many_images_are_decoded_in_order():
    image = pixels(2100, 2)  # more than two chunks
    out = decode_all(((encoded(one), "x") for one in image), len(image), 0, "test")
    assert np.array_equal(out, image)
