"""The parquet loader: which columns, which split, which images; and the decoding that all image files go through."""

import io
import json
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from published_files import encoded, load, pixels, png16, write

from iskit.data import datasets
from iskit.data.images import decode_all
from iskit.errors import InputError


def table(folder, image=None, label=(0, 1), **columns):
    image = [encoded(one) for one in pixels(2, 8)] if image is None else image
    for split in ("train", "validation"):
        pq.write_table(pa.table({"picture": image, "kind": pa.array(label), **columns}), folder / f"{split}.parquet")
    return f"parquet(path='{folder}')"


def naming(*classes):
    """Metadata as Hugging Face writes it."""
    return {"huggingface": json.dumps({"info": {"features": {"label": {"names": classes, "_type": "ClassLabel"}}}})}


def ppm(kind, highest, values, side=8):
    return b"%s %d %d %d\n%s" % (kind, side, side, highest, values)


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
    names = naming("cat", "dog", "emu")
    for split in ("train", "test"):
        write(tmp_path / f"{split}.parquet", pixels(3, 8), [0, 1, 1], names)
    spec = f"parquet(path='{tmp_path}')"
    assert load(spec, tmp_path).classes == ("cat", "dog", "emu")
    for split in ("train", "test"):
        write(tmp_path / f"{split}.parquet", pixels(30, 8), [0] * 26 + [1, 2, 3, 4])
    assert len(load(spec, tmp_path, limit=1).classes) == 5


@pytest.mark.parametrize("odd", ["train-1", "test"])
@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (["cat", "emu", "dog"], "class 1 is 'emu', in that of train-0.parquet 'dog': number and name"),
        (["cat", "dog"], "class 2 is None, in that of train-0.parquet 'emu'"),
        (["cat", "dog", "emu", "fox"], "class 3 is 'fox', in that of train-0.parquet None"),
    ],
)
def test_parquet_refuses_files_that_name_the_classes_differently(odd, classes, message, tmp_path):
    for name in ("train-0", "train-1", "test"):
        names = naming(*classes) if name == odd else naming("cat", "dog", "emu")
        write(tmp_path / f"{name}.parquet", pixels(3, 8), [0, 1, 1], names)
    with pytest.raises(InputError, match=rf"{odd}\.parquet: .*{message}"):
        load(f"parquet(path='{tmp_path}')", tmp_path)


@pytest.mark.parametrize("nameless", ["train-0", "train-1", "test"])
def test_parquet_takes_class_names_from_the_files_that_have_them(nameless, tmp_path):
    for name in ("train-0", "train-1", "test"):
        write(tmp_path / f"{name}.parquet", pixels(3, 8), [0, 1, 1], None if name == nameless else naming("cat", "dog"))
    assert load(f"parquet(path='{tmp_path}')", tmp_path).classes == ("cat", "dog")


@pytest.mark.parametrize(
    "odd",
    [
        "null",
        "[]",
        "7",
        '"text"',
        "",
        "{no JSON",
        b"\xff\xfe\xff",
        '{"info": null}',
        '{"info": {"features": []}}',
        '{"info": {"features": {"label": "int64"}}}',
        '{"info": {"features": {"label": {"names": {"0": "cat"}}}}}',
    ],
)
def test_parquet_numbers_the_classes_if_the_metadata_is_of_another_shape(odd, tmp_path):
    for split in ("train", "test"):
        write(tmp_path / f"{split}.parquet", pixels(3, 8), [0, 1, 1], {"huggingface": odd})
    assert load(f"parquet(path='{tmp_path}')", tmp_path).classes == ("0", "1")


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ([0, None], "row 1: the label is missing"),
        ([0, -1], r"train\.parquet, row 1: the label -1 is out of range"),
        ([0, 10**9], "the labels go up to 1000000000, but no training example is of class 1: number the"),
        ([1, 2], "the labels go up to 2, but no training example is of class 0: number the"),
        ([0.5, 1.5], "no column to read as label"),
    ],
)
def test_parquet_refuses_labels_that_are_none(label, message, tmp_path):
    with pytest.raises(InputError, match=message):
        load(table(tmp_path, [b"no", b"image"], label=label), tmp_path)  # found before anything is decoded


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
        (lambda good: ppm(b"P6", 65535, bytes(384)), r"row 1: more than 8 bits a channel \(mode RGB\)"),
        (lambda good: ppm(b"P6", 256, bytes(384)), r"row 1: more than 8 bits a channel \(mode RGB\)"),
        (lambda good: ppm(b"P3", 1023, b"7 " * 192), r"row 1: more than 8 bits a channel \(mode RGB\)"),
        (lambda good: ppm(b"P5", 65535, bytes(128)), r"row 1: more than 8 bits a channel \(mode I\)"),
        (lambda good: encoded(Image.new("LAB", (8, 8)), "TIFF"), "row 1: images of mode LAB cannot be used: convert"),
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
    one = encoded(pixels(1, 8)[0])
    pq.write_table(pa.table({"picture": [one], "kind": ["cat"]}), tmp_path / "train2.parquet")
    with pytest.raises(InputError, match=r"train2.parquet lacks the column 'kind' \(int64\)"):
        load(spec, tmp_path)


def test_an_error_names_the_row_of_its_own_file(tmp_path):
    write(tmp_path / "train-0.parquet", pixels(3, 2), [0] * 3)
    write(tmp_path / "train-1.parquet", [*pixels(1100, 2), b"bad"], [0] * 1101)
    write(tmp_path / "test.parquet", pixels(3, 2), [0] * 3)
    with pytest.raises(InputError, match=r"train-1\.parquet, row 1100: no image"):
        load(f"parquet(path='{tmp_path}')", tmp_path)


# --- Decoding ---

MODES = ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"]


@pytest.mark.parametrize("mode", MODES)
def test_eight_bit_images_of_any_mode_become_rgb(mode):
    original = Image.fromarray(pixels(1, 8)[0]).convert(mode)
    form = "TIFF" if mode == "CMYK" else "PNG"
    colour = encoded(pixels(1, 8)[0])
    out = decode_all([(encoded(original, form), "a"), (colour, "b")], 2, 0, "test")
    assert np.array_equal(out[0], np.asarray(original.convert("RGB")))


@pytest.mark.parametrize("highest", [100, 255])
def test_ppm_files_of_eight_bits_are_read(highest):
    colour = pixels(1, 8)[0] // 3
    plain = b" ".join(b"%d" % value for value in colour.ravel())
    files = [ppm(b"P6", highest, colour.tobytes()), ppm(b"P3", highest, plain), b"P1 8 8\n" + b"1 " * 64]
    binary, text, bits = decode_all([(one, "a") for one in files], 3, 0, "test")
    assert np.array_equal(binary, np.rint(colour / highest * 255))
    assert np.array_equal(text, binary)
    assert not bits.any()


def test_a_palette_with_transparency_is_read_without_a_warning():
    image = Image.fromarray(pixels(1, 8)[0]).convert("P")
    data = encoded(image, "PNG", transparency=bytes([0, 128, 255]))
    out = decode_all([(data, "a")], 1, 0, "test")
    assert np.array_equal(out[0], np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("announced", [1, 3])
def test_another_number_of_images_than_announced_is_refused(announced):
    two = [(encoded(np.zeros((4, 4, 3), np.uint8), "png"), name) for name in "ab"]
    with pytest.raises(InputError, match=f"images where {announced} are announced"):
        decode_all(two, announced, 0, "test")


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


def test_many_images_are_decoded_in_order():
    image = pixels(2100, 2)  # more than two chunks
    out = decode_all(((encoded(one), "x") for one in image), len(image), 0, "test")
    assert np.array_equal(out, image)
