"""Every data set, read from small files in its real format; the options all share; the cache; what is refused."""

import errno
import gzip
import io
import os
import tarfile
import urllib.error

import filelock
import numpy as np
import pytest
import torch
import torchvision.datasets as published
from published_files import (
    DOWNLOADED,
    MAKERS,
    TRAIN,
    cifar10,
    cifar100,
    encoded,
    imagefolder,
    load,
    md5,
    mini,
    mnist,
    pixels,
    png16,
    svhn,
)

from iskit.data import datasets, loader
from iskit.errors import InputError


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*args, **options):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr("urllib.request.urlopen", refuse)


@pytest.fixture(params=list(MAKERS))
def made(request, tmp_path, monkeypatch):
    return MAKERS[request.param](tmp_path, monkeypatch)


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
    assert data.flip == ("digits" not in spec and spec not in ("svhn", "mnist", "toy"))
    assert data.pad == min(4, data.size // 7)
    assert len(data.mean) == len(data.std) == data.channels
    assert len(set(data.classes)) == len(data.classes)


def test_a_second_load_reads_the_cache_alone(made, tmp_path, monkeypatch):
    spec = made[0]
    first = load(spec, tmp_path)
    if spec in ("digits", "toy"):
        assert not list(tmp_path.rglob("*.npz"))
        return
    monkeypatch.setattr(datasets[spec.partition("(")[0]], "read", None)
    second = load(spec, tmp_path)
    for name in ("image", "label", "test_image", "test_label"):
        assert torch.equal(getattr(first, name), getattr(second, name))
    assert first.classes == second.classes
    with pytest.raises(TypeError):
        load(spec, tmp_path, limit=3)


def test_a_cached_set_loads_from_a_read_only_disk(made, tmp_path, monkeypatch):
    def refuse(*args, **options):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    first = load(made[0], tmp_path)
    monkeypatch.setattr(filelock.FileLock, "acquire", refuse)
    assert torch.equal(load(made[0], tmp_path).image, first.image)


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
    if side == 0:  # a single pixel cannot shrink
        return
    data = load(spec, tmp_path, size=side)
    boxes = image.astype(float).reshape(len(image), side, 2, side, 2, -1).mean((2, 4))
    assert np.abs(data.image.numpy() - boxes).max() <= 1
    assert data.test_image.shape[1:] == data.image.shape[1:]
    assert data.pad == min(4, side // 7)


def test_size_may_be_odd_or_larger(made, tmp_path):
    for side in (7, made[1].shape[1] + 3):
        data = load(made[0], tmp_path, size=side, limit=2)
        assert data.image.shape[1:3] == data.test_image.shape[1:3] == (side, side)


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
        ("imbalance=0", "imbalance=0.0"),
        ("imbalance=1.5", "imbalance=1.5"),
        ("duplicates=1", "duplicates=1.0"),
        ("duplicates=-0.1", "duplicates=-0.1"),
        ("classes=(1, 1)", "different class numbers"),
        ("classes=(-1,)", "different class numbers"),
        ("classes=('a',)", "different class numbers"),
        ("classes=(0, 10)", "classes 0 to 9"),
    ],
)
def test_options_that_cannot_work_are_refused(option, message, tmp_path):
    with pytest.raises(InputError, match=message.replace("(", r"\(")):
        datasets.create(f"digits({option})", tmp_path).load()


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
    with pytest.raises(InputError, match=rf"{datasets[name].original} cannot be read"):
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
    for packed in (tmp_path / "MNIST" / "raw").glob("*.gz"):
        whole = gzip.decompress(packed.read_bytes())
        packed.with_suffix("").write_bytes(whole[:16] + bytes(len(whole) - 16))
    assert same(datasets.create("mnist", tmp_path).load().image, image)


def test_unpacked_files_serve_without_the_packed_ones(tmp_path, monkeypatch):
    _, image, *_ = mnist(tmp_path, monkeypatch)
    for packed in (tmp_path / "MNIST" / "raw").glob("*.gz"):
        packed.with_suffix("").write_bytes(gzip.decompress(packed.read_bytes()))
        packed.unlink()
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


def test_a_disk_that_fills_during_a_download_is_called_full(tmp_path, monkeypatch):
    """torchvision tries again without encryption, so the last error may be another."""
    tried = []

    def retrieve(url, path):
        tried.append(url)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) if len(tried) == 1 else urllib.error.URLError("refused")

    monkeypatch.setattr(published.utils, "_get_redirect_url", lambda url, **options: url)
    monkeypatch.setattr(published.utils, "_urlretrieve", retrieve)
    for name, attempts in (("cifar10", 2), ("svhn", 1)):
        tried.clear()
        with pytest.raises(InputError, match=rf"the disk of data_dir, {tmp_path}, is full: free space") as caught:
            datasets.create(name, tmp_path).load()
        assert "network" not in str(caught.value)
        assert len(tried) == attempts


def damage(path, text, new):
    path.write_text(path.read_text().replace(text, new))


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda base: (base / "val.csv").unlink(), r"val.csv cannot be opened .*images/.* into "),
        (lambda base: (base / "images" / "7.jpg").unlink(), r"7.jpg is named in a csv file but missing"),
        (lambda base: damage(base / "val.csv", "15.jpg", "sub/15.jpg"), r"images/sub/15.jpg is named in a csv file"),
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


def test_mini_imagenet_s_csv_files_may_begin_with_a_byte_order_mark(tmp_path, monkeypatch):
    _, image, *_ = mini(tmp_path, monkeypatch)
    path = tmp_path / "mini-imagenet" / "train.csv"
    path.write_text(path.read_text(), encoding="utf-8-sig")  # as spreadsheets write it
    assert same(load("mini-imagenet", tmp_path).image, image)


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
        (
            lambda base: (base / "val" / "c" / "x.png").symlink_to(base / "none"),
            r"x.png cannot be opened \(No such file",
        ),
    ],
)
def test_a_damaged_image_folder_is_refused(harm, message, tmp_path, monkeypatch):
    spec, *_ = imagefolder(tmp_path, monkeypatch)
    harm(tmp_path / "pictures")
    with pytest.raises(InputError, match=message):
        datasets.create(spec, tmp_path).load()


def test_an_image_folder_s_files_may_have_names_that_are_no_utf_8(tmp_path, monkeypatch):
    spec, image, *_ = imagefolder(tmp_path, monkeypatch)
    name = os.fsdecode(b"000\xe9.png")
    try:
        (tmp_path / "pictures" / "train" / "a" / "000.png").rename(tmp_path / "pictures" / "train" / "a" / name)
    except OSError:
        pytest.skip("platform: this file system takes names in UTF-8 alone")
    assert same(load(spec, tmp_path).image, image)


def test_training_and_test_images_of_different_sizes_are_refused_unless_scaled(tmp_path, monkeypatch):
    spec, *_ = imagefolder(tmp_path, monkeypatch)
    for path in (tmp_path / "pictures" / "val").rglob("*.png"):
        path.write_bytes(encoded(pixels(1, 30)[0]))
    with pytest.raises(InputError, match="training images have 32 pixels a side, the test images 30"):
        load(spec, tmp_path)
    assert load(spec, tmp_path, size=16).test_image.shape == (8, 16, 16, 3)
