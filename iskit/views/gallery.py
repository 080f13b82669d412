"""Figures of what augmentations do to real images: before, after, and the targets that mixing leaves."""

from base64 import b64encode
from collections.abc import Sequence
from io import BytesIO

import numpy as np
import plotly.graph_objects as go
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from iskit.augment import Pipeline, augments
from iskit.augment.ops import STRENGTHS
from iskit.augment.randaugment import study
from iskit.augment.tables import tables
from iskit.data import Dataset
from iskit.errors import InputError

CELL = 64  # screen pixels that an image takes at least,
CAPTION = 96  # and where something is written under it
GAP = 14
LINE = 14  # of text
LABEL = 160  # left of the images


UNITS = {
    "Rotate": "{:.3g}°",
    "Posterize": "{:.2g} bits, at least 1",
    "Solarize": "from {:.3g}",
    "SolarizeAdd": "+{:.3g}",
    **dict.fromkeys(("Color", "Contrast", "Brightness", "Sharpness"), "factor {:.2g}"),
    **dict.fromkeys(("ShearX", "ShearY"), "slope {:.2g}"),
    **dict.fromkeys(("Cutout", "TranslateX", "TranslateY"), "{:.3g} pixels"),
}

Row = tuple[str, Tensor, Sequence[str]]  # label, images (count, H, W, C) uint8, text under each or none


def before_and_after(
    data: Dataset, specs: Sequence[str] = (), *, first: int = 0, count: int = 8, seed: int = 1, number: int = 0
) -> go.Figure:
    """A batch as it is, then under each augmentation, with its soft targets where they are mixed.

    specs: pipelines as in `augment=`, all augmentations by themselves if none are given; first, count: which training
    examples; number: of the epoch and the batch, for other draws. InputError for an unknown augmentation or
    examples that are not there.
    """
    image, label = _batch(data, first, count)
    names = data.classes
    rows: list[Row] = [("as it is", image, [_short(names[int(one)]) for one in label])]
    index = torch.arange(first, first + count)
    for spec in specs or [name for name in augments if name != "none"]:
        pipeline = Pipeline.parse(spec)
        pipeline.bind(seed=seed, pad=data.pad, flip=data.flip, mean=data.mean)
        hard = F.one_hot(label, len(names)).float()
        changed = pipeline.image(image, index, number)
        mixed, target = pipeline.mix(data.normalise(changed), hard, number)
        label_text = spec.replace("|", "<br>| ").replace("(", "(<br>").replace(", ", ",<br>")
        if target is hard:
            rows.append((label_text, changed, []))
        else:
            rows.append((label_text, denormalised(data, mixed), [shares(names, one) for one in target]))
    return sheet(rows, "Augmentations: a batch before and after")


def operations(data: Dataset, m: int = 4, *, first: int = 0, count: int = 8) -> go.Figure:
    """The 16 operations of RandAugment at strength m, each on the same images. InputError if m is not 0 to 30."""
    if not 0 <= m < STRENGTHS:
        raise InputError(f"m={m} must be a strength between 0 and {STRENGTHS - 1}")
    image, _ = _batch(data, first, count)
    _, height, width, _ = image.shape
    settings = study(m, height, width)
    batched = tables(settings, height, width, image.device)
    x, y = (torch.full((count,), side / 2, dtype=torch.float64) for side in (width, height))
    rows: list[Row] = [("as it is", image, [])]
    for place in range(0, len(settings), 2):
        op, value = settings[place]
        changed = batched.apply(image, (torch.full((count,), place), x, y))
        rows.append((f"{op}<br>{UNITS.get(op, '').format(value)}", changed, []))
    return sheet(rows, f"RandAugment's operations at m = {m}")


def _batch(data: Dataset, first: int, count: int) -> tuple[Tensor, Tensor]:
    if first < 0 or count < 1 or first + count > len(data):
        raise InputError(f"first={first}, count={count} must lie within the {len(data)} training examples")
    return data.image[first : first + count].cpu(), data.label[first : first + count].cpu()


def denormalised(data: Dataset, image: Tensor) -> Tensor:
    """(b, C, H, W) as networks see them -> (b, H, W, C) uint8."""
    pixels = image.permute(0, 2, 3, 1) * torch.tensor(data.std) + torch.tensor(data.mean)
    return (255 * pixels).round().clamp(0, 255).byte()


def _short(name: str, most: int = 14) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"


def shares(names: Sequence[str], target: Tensor) -> str:
    """A line a class, `77% dog`, the largest first; shares below half a percent are left out."""
    percent = (100 * target).round().int().tolist()
    order = sorted(range(len(names)), key=lambda label: -percent[label])
    return "<br>".join(f"{percent[label]}% {_short(names[label], 11)}" for label in order if percent[label])


def sheet(rows: Sequence[Row], title: str) -> go.Figure:
    """Rows of images below each other. All in one image, a screen pixel a pixel of it, so that nothing is resampled;
    the text lies on its white."""
    count, size, width, _ = rows[0][1].shape
    scale = -(-(CAPTION if any(texts for _, _, texts in rows) else CELL) // width)
    high, wide = scale * size, scale * width
    step = wide + GAP
    heights = [
        GAP + max(high + max(map(_lines, texts), default=0) * LINE, _lines(label) * (LINE + 2))
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
                _write(figure, texts[column], left + wide / 2, top + high, 11, xanchor="center", yanchor="top")
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
