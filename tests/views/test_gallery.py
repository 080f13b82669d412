"""The figures of augmentations: what they show is what the augmentations give, and no text lies on another."""

import re
from base64 import b64decode
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

from iskit.augment import Pipeline
from iskit.data import Dataset
from iskit.errors import InputError
from iskit.views import gallery

SPECS = ["standard", "randaugment(m=9)|standard", "ricap(alpha=1)", "standard|mixup(alpha=1)"]


@pytest.fixture(params=[(3, 32), (1, 8)], ids=["colour", "grey"])
def data(request):
    channels, size = request.param
    random = np.random.default_rng(0)
    image = torch.from_numpy(random.integers(0, 256, (40, size, size, channels), dtype=np.uint8))
    label = torch.arange(40) % 5
    names = ("ant", "a class with a long name", "cat", "dog", "emu")
    return Dataset(image, label, image, label, (0.4,) * channels, (0.2,) * channels, names)


def sheet_of(figure):
    """The picture that lies under the texts, decoded."""
    kind, _, code = figure.data[0].source.partition(",")
    assert kind == "data:image/png;base64"
    return np.asarray(Image.open(BytesIO(b64decode(code))))


def shown(figure, row, column, size):
    """The image at a row and column, back at its own size: every pixel must be a block of one colour."""
    sheet = sheet_of(figure)
    tops = sorted({note.y for note in figure.layout.annotations if note.xanchor == "right"})
    scale = -(-(gallery.CAPTION if has_captions(figure) else gallery.CELL) // size)
    top, left = int(tops[row]), gallery.LABEL + column * (scale * size + gallery.GAP)
    large = sheet[top : top + scale * size, left : left + scale * size]
    small = large[::scale, ::scale]
    np.testing.assert_array_equal(large, small.repeat(scale, 0).repeat(scale, 1))
    return small


def has_captions(figure):
    return any(note.xanchor == "center" for note in figure.layout.annotations)


def test_rows_show_the_images_before_and_after(data):
    figure = gallery.before_and_after(data, SPECS, first=3, count=6, seed=2, number=7)
    index, image = torch.arange(3, 9), data.image[3:9]
    for row, spec in enumerate(["none", *SPECS]):
        pipeline = Pipeline.parse(spec)
        pipeline.bind(seed=2, pad=data.pad, flip=data.flip, mean=data.mean)
        after = pipeline.image(image, index, 7)
        target = torch.eye(5)[data.label[3:9]]
        mixed, soft = pipeline.mix(data.normalise(after), target, 7)
        expected = (mixed.permute(0, 2, 3, 1) * 0.2 + 0.4) * 255
        for column in range(6):
            ours = shown(figure, row, column, data.size)
            assert np.abs(ours - expected[column].numpy()).max() <= 0.51
        if spec.endswith(")") and soft is not target:
            captions = [note.text for note in figure.layout.annotations if note.xanchor == "center"]
            best = soft.argmax(1)
            for column in range(6):
                line = f"{round(100 * soft[column].max().item())}% {data.classes[best[column]][:10]}"
                assert any(caption.startswith(line) for caption in captions)


def test_a_pixel_of_the_picture_is_one_of_the_screen_and_takes_few_bytes(data):
    figure = gallery.before_and_after(data, SPECS)
    sheet = sheet_of(figure)
    high, wide, _ = sheet.shape
    assert (*figure.layout.xaxis.range, *figure.layout.yaxis.range) == (0, wide, high, 0)
    assert (figure.layout.width, figure.layout.height - figure.layout.margin.t) == (wide, high)
    assert len(figure.to_json()) < sheet.size / 4


def test_captions_promise_all_of_the_image(data):
    figure = gallery.before_and_after(data, ["mixup(alpha=1)", "ricap(alpha=1)"], count=8)
    captions = [note.text for note in figure.layout.annotations if "%" in note.text]
    assert len(captions) == 16
    for caption in captions:
        assert abs(sum(map(int, re.findall(r"(\d+)%", caption))) - 100) <= 2


@pytest.mark.parametrize("long", [False, True])
def test_texts_keep_their_own_room(data, long):
    specs = ["|".join(["randaugment(n=3, m=20, policy='torchvision')"] * 3 + ["ricap", "mixup"])] if long else []
    figure = gallery.before_and_after(data, specs)
    notes = figure.layout.annotations
    boxes = []
    for note in notes:
        lines = note.text.split("<br>")
        wide, high = 0.5 * note.font.size * max(map(len, lines)), (note.font.size + 2) * len(lines)
        left = note.x - {"right": wide, "center": wide / 2}[note.xanchor]
        boxes.append((left, note.y, left + wide, note.y + high))
    sheet = sheet_of(figure)
    for left, top, right, bottom in boxes:
        assert (sheet[int(np.ceil(top)) : int(bottom) - 3, int(left) : int(right)] == 255).all()  # not on an image
    assert min(left for left, *_ in boxes) >= 0
    assert max(bottom for *_, bottom in boxes) <= figure.layout.height - figure.layout.margin.t
    for number, one in enumerate(boxes):
        for other in boxes[:number]:
            apart = one[0] >= other[2] or other[0] >= one[2] or one[1] >= other[3] or other[1] >= one[3]
            assert apart, (notes[number].text, one, other)


def test_operations_shows_all_sixteen(data):
    figure = gallery.operations(data, 4, count=5)
    labels = [note.text for note in figure.layout.annotations]
    assert len(labels) == 17
    assert "Posterize<br>0.53 bits, at least 1" in labels
    assert "TranslateX<br>13.3 pixels" in labels
    invert = labels.index("Invert<br>")
    np.testing.assert_array_equal(shown(figure, invert, 2, data.size), 255 - data.image[2].expand(-1, -1, 3).numpy())


def test_wrong_arguments_are_refused(data):
    with pytest.raises(InputError, match="m=31"):
        gallery.operations(data, 31)
    with pytest.raises(InputError, match="count=41"):
        gallery.before_and_after(data, count=41)
    with pytest.raises(InputError, match="blurr"):
        gallery.before_and_after(data, ["blurr"])
