"""Small files in the formats that data sets are published in, and what should come out of them."""

import gzip
import hashlib
import io
import pickle
import struct
import zlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import scipy.io
import torchvision.datasets as published
from PIL import Image

from iskit.data import datasets, mini_imagenet
from iskit.data.toy import points

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


def toy(folder, patch):
    """Easy: red 32 or 224, by class. Hard: red 128, each green with both classes."""
    sets = [*points(0.1, 0), *points(0.1, 1)]
    for image, label in (sets[:2], sets[2:]):
        red, green = image[:, 0, 0, 0], image[:, 0, 0, 1]
        assert sorted(set(red)) == [32, 128, 224]
        assert ((red == 224) == (label == 1))[red != 128].all()
        hard = [sorted(green[(red == 128) & (label == number)]) for number in (0, 1)]
        assert hard[0] == hard[1]
        assert len(hard[0]) == 50
    return "toy", *sets


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
    "toy": toy,
}
DOWNLOADED = ["cifar10", "cifar100", "svhn", "mnist", "fashion-mnist"]


def load(spec, folder, **options):
    """The spec with more options."""
    name, own = datasets.parse(spec)
    return datasets[name](folder, **{**own, **options}).load()
