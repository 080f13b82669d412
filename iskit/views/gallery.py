"""Images to look at, in pages that flow: what augmentations make of them, and which ones a sampler trained."""

from base64 import b64encode
from collections.abc import Sequence
from functools import cache
from html import escape
from io import BytesIO

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from IPython.display import HTML
from PIL import Image
from torch import Tensor

from iskit import files
from iskit.augment import Pipeline, augments
from iskit.augment.ops import STRENGTHS
from iskit.augment.randaugment import study
from iskit.augment.tables import tables
from iskit.data import Dataset
from iskit.errors import InputError, suggest
from iskit.runs.parts import load
from iskit.samplers import samplers
from iskit.study.archive import counts_of
from iskit.views.plots import label

SIDE = 96  # screen pixels of an image
PIXELS = 48  # of a photograph's cut-outs
# Where CIFAR-10's images may lie, from the project's root, and the data set that reads them.
CIFAR = {
    "data/cifar-10-batches-py": "cifar10",
    "data/cifar10-jpeg": "parquet(path='cifar10-jpeg', limit=1000)",
    "../shared/data/cifar10-jpeg": "parquet(path='../shared/data/cifar10-jpeg', limit=1000)",
}

UNITS = {
    "Rotate": "{:.3g}°",
    "Posterize": "{:.2g} bits, at least 1",
    "Solarize": "from {:.3g}",
    "SolarizeAdd": "+{:.3g}",
    **dict.fromkeys(("Color", "Contrast", "Brightness", "Sharpness"), "factor {:.2g}"),
    **dict.fromkeys(("ShearX", "ShearY"), "slope {:.2g}"),
    **dict.fromkeys(("Cutout", "TranslateX", "TranslateY"), "{:.3g} pixels"),
}

OPERATIONS = sorted(op for op, _ in study(0, 32, 32)[::2])  # of RandAugment

Row = tuple[str, Tensor, Sequence[str]]  # label, images (count, H, W, C) uint8, text under each or none


def pictures(dataset: str = "auto", seed: int = 1) -> tuple[str, Dataset]:
    """Images on which one sees something, and what they are: of a data set; auto: CIFAR-10's where its files lie, else
    cut-outs of two photographs. InputError for a data set that is not there."""
    chosen = next((spec for folder, spec in CIFAR.items() if (files.root() / folder).is_dir()), "")
    if dataset == "auto" and not chosen:
        return "cut-outs of scikit-learn's photographs", photographs()
    spec = chosen if dataset == "auto" else dataset
    return spec, load(spec, files.root() / "data", 0, torch.device("cpu"), seed)


@cache
def photographs() -> Dataset:
    """Square cut-outs, 48 pixels a side, of the two that scikit-learn ships (CC BY 2.0, see its datasets/images)."""
    from sklearn.datasets import load_sample_images

    names, cut = ("temple", "flower"), []
    for photograph in load_sample_images().images:
        high, wide, _ = photograph.shape
        side = high // 2
        for left in np.linspace(0, wide - side, 4).astype(int):
            for top in (0, high - side):
                part = Image.fromarray(photograph[top : top + side, left : left + side])
                cut.append(np.asarray(part.resize((PIXELS, PIXELS), Image.Resampling.LANCZOS)))
    image = torch.from_numpy(np.stack(cut))
    order = torch.arange(len(cut)).view(2, -1).T.reshape(-1)  # one of each in turn
    classes = torch.arange(2).repeat_interleave(len(cut) // 2)
    image, classes = image[order], classes[order]
    return Dataset(image, classes, image, classes, (0.45,) * 3, (0.25,) * 3, names)


def before_and_after(
    data: Dataset, specs: Sequence[str] = (), *, first: int = 0, count: int = 6, seed: int = 1, number: int = 0
) -> HTML:
    """A batch as it is, then under each augmentation, with its soft targets where they are mixed.

    specs: pipelines as in `augment=`, all augmentations by themselves if none are given; first, count: which training
    examples; number: of the epoch and the batch, for other draws. InputError for an unknown augmentation or
    examples that are not there.
    """
    image, classes = _batch(data, first, count)
    names = data.classes
    rows: list[Row] = [("as it is", image, [_short(names[int(one)]) for one in classes])]
    index = torch.arange(first, first + count)
    for spec in specs or [name for name in augments if name != "none"]:
        pipeline = Pipeline.parse(spec)
        pipeline.bind(seed=seed, pad=data.pad, flip=data.flip, mean=data.mean)
        hard = F.one_hot(classes, len(names)).float()
        changed = pipeline.image(image, index, number)
        mixed, target = pipeline.mix(data.normalise(changed), hard, number)
        if target is hard:
            rows.append((spec, changed, []))
        else:
            rows.append((spec, denormalised(data, mixed), [shares(names, one) for one in target]))
    return page("A batch before and after", rows)


def operations(data: Dataset, m: int = 4, *, which: int = 0) -> HTML:
    """The 16 operations of RandAugment at strength m, each on the training image `which`. InputError if m is not 0
    to 30, or there is no such image."""
    image, _ = _batch(data, which, 1)
    rows = [("as it is", image[0], "")]
    rows += [(op, _operated(data, image, op, m)[0], value) for op, value in _values(data, m).items()]
    images = torch.stack([one.expand(-1, -1, data.channels) for _, one, _ in rows])
    captions = [f"{name}\n{value}".strip() for name, _, value in rows]
    return page(f"RandAugment's operations at m = {m} of {STRENGTHS - 1}", [("", images, captions)])


def operation(data: Dataset, name: str, m: int = 4, *, first: int = 0, count: int = 6) -> HTML:
    """One operation of RandAugment at strength m on a few images. InputError as of `operations`, and for another."""
    image, _ = _batch(data, first, count)
    known = _values(data, m)
    if name not in known:
        raise InputError(f"operation={name!r} is unknown: {suggest(name, known)}")
    after = _operated(data, image, name, m)
    return page(f"{name} at m = {m}", [("as it is", image, []), (f"{name}\n{known[name]}".strip(), after, [])])


def _values(data: Dataset, m: int) -> dict[str, str]:
    """Each operation with what strength m means to it."""
    if not 0 <= m < STRENGTHS:
        raise InputError(f"m={m} must be a strength between 0 and {STRENGTHS - 1}")
    side = data.size
    one_sign = study(m, side, side)[::2]  # of those that go both ways
    return {op: UNITS.get(op, "").format(value) for op, value in one_sign}


def _operated(data: Dataset, image: Tensor, name: str, m: int) -> Tensor:
    count, side = len(image), data.size
    settings = study(m, side, side)
    place = [op for op, _ in settings].index(name)
    middle = torch.full((count,), side / 2, dtype=torch.float64)
    return tables(settings, side, side, image.device).apply(image, (torch.full((count,), place), middle, middle))


def _batch(data: Dataset, first: int, count: int) -> tuple[Tensor, Tensor]:
    if first < 0 or count < 1 or first + count > len(data):
        raise InputError(f"first={first}, count={count} must lie within the {len(data)} training examples")
    return data.images(torch.arange(first, first + count)).cpu(), data.label[first : first + count].cpu()


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
    return "\n".join(f"{percent[label]}% {_short(names[label], 11)}" for label in order if percent[label])


def choosers(frame: pd.DataFrame) -> list[str]:
    """The samplers of the frame that do not simply take all examples in turn, p first; all if there are no others."""
    trained = list(dict.fromkeys(frame["sampler"]))
    choosing = [spec for spec in trained if _method(spec) not in ("sgd", "scan")]
    return sorted(choosing or trained, key=lambda spec: spec != "p")


def _method(spec: str) -> str:
    try:
        return samplers.parse(spec)[0]
    except InputError:  # of a method that is known no more
        return spec


def trained(frame: pd.DataFrame, sampler: str, each: int = 6) -> HTML:
    """The images that a sampler trained most and least, over all runs of it in the frame.

    Of a frame with several data sets the first, and of conditions that each seed draws (noise, ...) the first seed:
    choose another by frame[frame["dataset"] == ...].
    """
    runs = frame[frame["sampler"] == sampler]
    one = runs.iloc[0]
    same = ["dataset", "data_dir", "validation"]
    data = load(
        one["dataset"], files.root() / one["data_dir"], int(one["validation"]), torch.device("cpu"), int(one["seed"])
    )
    if data.row is not None:  # each seed drew examples of its own
        same.append("seed")
    runs = runs[(runs[same] == one[same]).all(axis=1)]
    counts = [found for path in runs["path"] if (found := _counts(path)) is not None]
    if not counts:
        raise InputError(f"the runs of {sampler} keep only how many images were trained how often: train one again")
    runs_of = f"{len(counts)} run{'s' * (len(counts) > 1)} on {one['dataset']}"
    title = f"{label(sampler)}: the images trained most and least in {runs_of}"
    return most_and_least(data, np.sum(counts, axis=0), each, title)


def _counts(path: str) -> np.ndarray | None:
    """None of a packed run that keeps no more than their histogram."""
    try:
        return counts_of(path)
    except InputError:
        return None


def most_and_least(data: Dataset, times: np.ndarray, each: int = 6, title: str = "") -> HTML:
    """The most and the least trained images, with their class and how often each was trained; times: (N,)."""
    order = np.argsort(-times, kind="stable")
    rows: list[Row] = []
    for text, chosen in (("most", order[:each]), ("least", order[-each:])):
        names = [f"{data.classes[int(data.label[i])]} · {times[i]}×" for i in chosen]
        rows.append((text, data.images(torch.from_numpy(chosen)).cpu(), names))
    return page(title or "Most and least trained images", rows)


def page(title: str, rows: Sequence[Row]) -> HTML:
    """Rows of images with their captions, which wrap where there is little room. Alternative texts are the captions,
    or the row's label."""
    shown = []
    for name, images, captions in rows:
        figures = [
            _figure(one, captions[place] if captions else "", " ".join(f"{name} {place + 1}".split()))
            for place, one in enumerate(images)
        ]
        head = f'<div style="flex: 0 0 130px; overflow-wrap: anywhere">{_lines(name)}</div>' if name else ""
        flow = f"display: flex; flex: 1 1 {3 * SIDE + 16}px; flex-wrap: wrap; gap: 8px"
        many = f'<div style="{flow}">{"".join(figures)}</div>'
        shown.append(f'<div style="display: flex; flex-wrap: wrap; gap: 4px 12px; margin: 10px 0">{head}{many}</div>')
    return HTML(f'<div role="group" aria-label="{escape(title)}"><p><b>{escape(title)}</b></p>{"".join(shown)}</div>')


def _figure(pixels: Tensor, caption: str, name: str) -> str:
    file = BytesIO()
    array = pixels.numpy()
    Image.fromarray(array[..., 0] if array.shape[-1] == 1 else array).save(file, "png", optimize=True)
    source = "data:image/png;base64," + b64encode(file.getvalue()).decode()
    name = escape(" ".join(caption.split()) or name)
    shown = f"width: {SIDE}px; height: {SIDE}px; image-rendering: pixelated"
    below = "font-size: 11px; line-height: 1.25; text-align: center; overflow-wrap: anywhere"
    return (
        f'<figure style="margin: 0; width: {SIDE}px"><img src="{source}" alt="{name}" style="{shown}">'
        f'<figcaption style="{below}">{_lines(caption)}</figcaption></figure>'
    )


def _lines(text: str) -> str:
    return escape(text).replace("\n", "<br>")
