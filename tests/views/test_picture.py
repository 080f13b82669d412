"""The README's pictures show what they say, from runs that are there."""

from base64 import b64decode
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

import iskit
from iskit.data import datasets
from iskit.errors import InputError
from iskit.runs.run import Run
from iskit.views import picture

SETTINGS = {"study": "quickstart", "dataset": "digits(limit=100)", "model": "cnn(width=4)", "epochs": 4, "evals": 1}


@pytest.fixture
def frame(tmp_path, monkeypatch):
    monkeypatch.setenv("ISKIT_ROOT", str(tmp_path))
    for experiment in iskit.grid({**SETTINGS, "sampler": ["sgd", "p"], "budget": [0.5], "seeds": 2}):
        Run(experiment).train()
    return iskit.results("quickstart")


def test_the_question_shows_the_images_trained_most_and_least(frame, tmp_path):
    figure = picture.question(frame)
    total = sum(iskit.counts_of(path) for path in frame[frame["sampler"] == "p"]["path"])
    most, least = sorted(total)[: -picture.COUNT - 1 : -1], sorted(total)[picture.COUNT - 1 :: -1]
    texts = [note.text for note in figure.layout.annotations if "×" in note.text]
    assert texts == [f"{count}×" for count in (*most, *least)]

    sheet = np.asarray(Image.open(BytesIO(b64decode(figure.data[0].source.partition(",")[2]))))
    (top,) = {note.y for note in figure.layout.annotations if "trained most" in note.text}
    caption = next(note for note in figure.layout.annotations if note.text == texts[0])
    size = int(caption.y - top)
    left = int(caption.x - size / 2)
    data = datasets.create(SETTINGS["dataset"], tmp_path / "data").load()
    image = sheet[int(top) : int(top) + size : size // 8, left : left + size : size // 8, 0]
    first = np.argsort(-total, kind="stable")[0]
    assert torch.equal(torch.from_numpy(image.copy()), data.image[first, :, :, 0])


def test_mixed_images_are_of_two_classes_and_tell_their_shares(frame):
    shares = [note.text for note in picture.question(frame).layout.annotations if "%" in note.text]
    assert len(shares) == picture.COUNT
    for text in shares:
        percent = [int(line.split("%")[0]) for line in text.split("<br>")]
        assert 99 <= sum(percent) <= 101


def test_accuracy_is_the_notebook_s_figure(frame):
    names = {trace.name for trace in picture.accuracy(frame).data}
    assert names == {"sgd · SGD, full run", "p · p-SGD"}


def test_texts_keep_their_own_room_on_a_sheet():
    random = np.random.default_rng(0)
    images = torch.from_numpy(random.integers(0, 255, (3, 8, 8, 1), dtype=np.uint8))
    rows = [("one<br>two<br>three", images, ["1\n2\n3"] * 3), ("four", images, []), ("five", images, ["6"] * 3)]
    figure = picture.sheet(rows, "title")
    sheet = np.asarray(Image.open(BytesIO(b64decode(figure.data[0].source.partition(",")[2]))))
    boxes = []
    for note in figure.layout.annotations:
        text = note.text.split("<br>")
        wide, high = 0.5 * note.font.size * max(map(len, text)), (note.font.size + 2) * len(text)
        left = note.x - {"right": wide, "center": wide / 2}[note.xanchor]
        boxes.append((left, note.y, left + wide, note.y + high))
    for number, (left, top, right, bottom) in enumerate(boxes):
        assert (sheet[int(np.ceil(top)) : int(bottom) - 3, int(left) : int(right)] == 255).all()  # not on an image
        for other in boxes[:number]:
            assert left >= other[2] or other[0] >= right or top >= other[3] or other[1] >= bottom
    assert (figure.layout.width, figure.layout.height - figure.layout.margin.t) == sheet.shape[1::-1]


def test_without_the_quickstart_s_runs_it_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("ISKIT_ROOT", str(tmp_path))
    with pytest.raises(InputError, match="make demo"):
        picture.write_pictures(tmp_path)
    assert list(tmp_path.iterdir()) == []
