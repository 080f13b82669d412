"""The README's two pictures, drawn from the quickstart's runs: the question in images, and accuracy by budget."""

from base64 import b64encode
from collections.abc import Sequence
from functools import partial
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import plotly.io as pio
import torch
import torch.nn.functional as F
from PIL import Image

from iskit import files
from iskit.augment import Pipeline
from iskit.errors import InputError
from iskit.runs.parts import load
from iskit.study.archive import counts_of, results
from iskit.views import gallery, plots
from iskit.views.gallery import Row

CELL = 96  # screen pixels that an image takes at least,
GAP = 14
LINE = 14  # of text
LABEL = 160  # left of the images
COUNT = 3  # images a row: so narrow a picture stays readable on a phone
DRAW = 3  # of mixup: one that gives each image another partner than itself, and enough of it to be seen


def write_pictures(folder: Path) -> None:
    """Writes question.png and accuracy.png. InputError if the quickstart's runs are not there."""
    frame = results("quickstart")
    if frame.empty or "p" not in set(frame["sampler"]):
        raise InputError("study='quickstart' has no finished runs of sampler='p' to draw: run `make demo` first")
    images = question(frame)
    width, height = images.layout.width, images.layout.height
    for name, figure in {"question.png": images, "accuracy.png": accuracy(frame)}.items():
        drawn = pio.to_image(figure, "png", width=width, height=height, scale=2)
        files.write(folder / name, partial(Path.write_bytes, data=drawn))


def question(frame: pd.DataFrame) -> go.Figure:
    """The images that p trained most and least over all its runs; and those it trained most, mixed."""
    runs = frame[frame["sampler"] == "p"]
    one = runs.iloc[0]
    data = load(
        one["dataset"], files.root() / one["data_dir"], int(one["validation"]), torch.device("cpu"), int(one["seed"])
    )
    trained = np.sum([counts_of(path) for path in runs["path"]], axis=0)
    order = np.argsort(-trained, kind="stable")
    most, least = order[:COUNT], order[-COUNT:]
    pipeline = Pipeline.parse("mixup(alpha=1)")
    pipeline.bind(seed=1, pad=data.pad, flip=data.flip, mean=data.mean)
    batch = np.concatenate([most, least])
    hard = F.one_hot(data.label[batch], len(data.classes)).float()
    mixed, target = pipeline.mix(data.normalise(data.image[batch]), hard, DRAW)
    rows: list[Row] = [
        ("<b>Which?</b><br>trained most<br>by p-SGD", data.image[most], [f"{n:,}×" for n in trained[most]]),
        ("trained least<br>by p-SGD", data.image[least], [f"{n:,}×" for n in trained[least]]),
        (
            "<b>How they look?</b><br>mixup, with<br>soft targets",
            gallery.denormalised(data, mixed)[:COUNT],
            [gallery.shares(data.classes, row) for row in target[:COUNT]],
        ),
    ]
    figure = sheet(rows, "Which images, or how they look?")
    figure.for_each_annotation(lambda text: text.update(font_size=text.font.size + 2))  # the README shows it smaller
    return figure.update_layout(title={"x": 0.03, "y": 0.95})


def accuracy(frame: pd.DataFrame) -> go.Figure:
    """The notebook's figure of accuracy against budget, on as little room."""
    figure = plots.accuracy_by_budget(frame)
    figure.update_xaxes(tickfont_size=13).update_yaxes(tickfont_size=13)
    figure.update_layout(margin={"l": 50, "r": 10, "t": 90, "b": 95}, title={"x": 0.03, "xref": "container", "y": 0.95})
    return figure.update_layout(legend={"orientation": "h", "y": -0.2, "x": 0, "font_size": 13})


def sheet(rows: Sequence[Row], title: str) -> go.Figure:
    """Rows of images below each other. All in one image, a screen pixel a pixel of it, so that nothing is resampled;
    the text lies on its white."""
    count, size, width, _ = rows[0][1].shape
    scale = -(-CELL // width)
    high, wide = scale * size, scale * width
    step = wide + GAP
    heights = [
        GAP + max(high + max((text.count("\n") + 1 for text in texts), default=0) * LINE, _lines(label) * (LINE + 2))
        for label, _, texts in rows
    ]
    sheet = np.full((sum(heights), LABEL + count * step, 3), 255, dtype=np.uint8)
    figure = go.Figure()
    top = 0
    for (label, image, texts), height in zip(rows, heights, strict=True):
        large = image.expand(-1, -1, -1, 3).numpy().repeat(scale, axis=1).repeat(scale, axis=2)
        for column, pixels in enumerate(large):
            left = LABEL + column * step
            sheet[top : top + high, left : left + wide] = pixels
            if texts:
                _write(
                    figure,
                    texts[column].replace("\n", "<br>"),
                    left + wide / 2,
                    top + high,
                    11,
                    xanchor="center",
                    yanchor="top",
                )
        _write(figure, label, LABEL - GAP, top, 12, xanchor="right", yanchor="top", align="right")
        top += height
    figure.add_image(source=_png(sheet), hoverinfo="skip")
    figure.update_xaxes(visible=False, range=[0, sheet.shape[1]])
    figure.update_yaxes(visible=False, range=[len(sheet), 0])
    return figure.update_layout(
        template="plotly_white",
        title={"text": title, "x": LABEL / sheet.shape[1], "font_size": 17},
        width=sheet.shape[1],
        height=60 + len(sheet),
        margin={"l": 0, "r": 0, "t": 60, "b": 0},
    )


def _png(sheet: np.ndarray) -> str:
    """As a data URI, lossless; its numbers would make every notebook megabytes larger."""
    file = BytesIO()
    Image.fromarray(sheet).save(file, "png", optimize=True)
    return "data:image/png;base64," + b64encode(file.getvalue()).decode()


def _lines(text: str) -> int:
    return text.count("<br>") + 1


def _write(figure: go.Figure, text: str, x: float, y: float, size: int, **place: str) -> None:
    figure.add_annotation(text=text, x=x, y=y, showarrow=False, font_size=size, borderpad=1, **place)
