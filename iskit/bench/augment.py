"""How fast images are augmented, against the usual ways, in one run on one machine: `loading()`, `randaugment()`."""

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from PIL import Image
from torch.utils.data import DataLoader

from iskit.augment import Pipeline, augments
from iskit.augment.ops import Setting, apply
from iskit.augment.randaugment import study
from iskit.augment.tables import Tables
from iskit.budget import Budget, Meter
from iskit.data import Dataset
from iskit.randomness import Stream, words
from iskit.samplers import samplers
from iskit.training.feed import Feed
from iskit.training.probe import keep_memory

BATCH = 128
M = 4  # RandAugment's strength


def pictures(n: int, size: int) -> torch.Tensor:
    """(n, size, size, 3) uint8: waves of colour and noise, from dark to bright."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[:size, :size] / size
    phase = random.uniform(0, 20, (n, 1, 1, 3)).astype(np.float32)
    wave = np.sin(phase * x[..., None].astype(np.float32) + phase[..., ::-1] * y[..., None].astype(np.float32))
    return torch.from_numpy((128 + 100 * wave + random.normal(0, 8, (n, size, size, 3))).clip(0, 255).astype(np.uint8))


class PerImage(torch.utils.data.Dataset):
    """The usual way: each image is fetched, made an object and transformed by itself."""

    def __init__(self, image: torch.Tensor, library: str):
        from torchvision.transforms import v2

        self.image, self.library = image, library
        mean, std = (0.49, 0.48, 0.45), (0.2, 0.2, 0.2)
        crop: list[Callable[..., Any]] = [v2.RandomCrop(image.shape[1], padding=4), v2.RandomHorizontalFlip()]
        to_float: list[Callable[..., Any]] = [v2.ToDtype(torch.float32, scale=True), v2.Normalize(mean, std)]
        if library == "PIL":
            from torchvision import transforms as v1

            crop = [Image.fromarray, v1.RandomCrop(image.shape[1], padding=4), v1.RandomHorizontalFlip()]
            to_float = [v1.ToTensor(), v1.Normalize(mean, std)]
        self.transforms = crop + to_float

    def __len__(self) -> int:
        return len(self.image)

    def __getitem__(self, number: int) -> tuple[torch.Tensor, int]:
        image: Any = self.image[number].numpy() if self.library == "PIL" else self.image[number].permute(2, 0, 1)
        for transform in self.transforms:
            image = transform(image)
        return image, number % 10


def loading(augment: str = "standard|mixup|ricap", n: int = 20_000, size: int = 32, threads: int = 4) -> pd.DataFrame:
    """Images a second, ready to train: cropped, flipped, normalised, mixed, in batches. Best of three turns each.

    augment: what the kit does, on one and on all threads; the others do the crop and flip an image, in `threads` worker
    processes, and mix batches by the kit's own functions.
    """
    keep_memory()
    torch.set_num_threads(threads)
    image = pictures(n, size)
    label = torch.arange(n) % 10
    data = Dataset(image, label, image[:1], label[:1], (0.49, 0.48, 0.45), (0.2, 0.2, 0.2), tuple("0123456789"))
    budget = Budget(1.0, "backward", full=100 * n)
    sampler = samplers.create("unif")
    sampler.bind(label=label, budget=budget, epochs=100, batch_size=BATCH, seed=1)
    pipeline = Pipeline.parse(augment)
    pipeline.bind(seed=1, pad=4, flip=True)
    feed = Feed(data, sampler, pipeline, budget, Meter(), BATCH, seed=1)

    score: Any = None  # uniform sampling asks for none

    def kit(count: int) -> Callable[[], None]:
        def run() -> None:
            torch.set_num_threads(count)
            for _ in range(n // BATCH):
                feed.batch(0.0, score)

        return run

    def loader(library: str) -> Callable[[], None]:
        batches = DataLoader(PerImage(image, library), BATCH, True, num_workers=threads, persistent_workers=True)

        def walk() -> None:
            torch.set_num_threads(threads)
            for number, (batch, labels) in enumerate(batches):
                pipeline.mix(batch, F.one_hot(labels, 10).float(), number)

        return walk

    ways = {
        f"PIL, DataLoader, {threads} workers": (loader("PIL"), n),
        f"torchvision v2, DataLoader, {threads} workers": (loader("v2"), n),
        "kit, 1 thread": (kit(1), n),
        f"kit, {threads} threads": (kit(threads), n),
    }
    return _rates(ways, size=size)


def randaugment(n: int = 20_000, size: int = 32, threads: int = 4) -> pd.DataFrame:
    """Images a second through RandAugment: the kit and PIL on one core; the kit on all, in one run or as many at once
    as a sweep would train; PIL in as many processes, as a DataLoader has."""
    keep_memory()
    here = _augmenters(n, size)

    def on(count: int) -> Callable[[], None]:
        def run() -> None:
            torch.set_num_threads(count)
            here["kit"]()

        return run

    with ProcessPoolExecutor(threads, get_context("spawn"), _start, (n, size)) as team:

        def together(name: str) -> Callable[[], object]:
            return lambda: list(team.map(_augment, [name] * threads))

        ways = {
            "PIL": (here["PIL"], n),
            f"PIL, {threads} processes": (together("PIL"), threads * n),
            "kit, 1 thread": (on(1), n),
            f"kit, {threads} threads": (on(threads), n),
            f"kit, {threads} processes": (together("kit"), threads * n),
        }
        return _rates(ways, size=size)


def _augmenters(n: int, size: int) -> dict[str, Callable[[], None]]:
    """What augments n images once, by the same draws."""
    image, index = pictures(n, size), torch.arange(n)
    stage = augments.create(f"randaugment(m={M})")
    stage.bind(seed=1, place=0, pad=4, flip=True)
    settings = study(M, size, size)
    draws = words(1, Stream.OPS, 0, index, 8).view(n, 2, 4).double() / 2**32
    number = (2 * (16 * draws[..., 0]).long() + (draws[..., 1] >= 0.5)).tolist()
    places = (draws[..., 2:] * size).tolist()

    def kit() -> None:
        stage.image(image, index, 0)

    def pil() -> None:
        for pixels, numbers, place in zip(image.numpy(), number, places, strict=True):
            picture = Image.fromarray(pixels)
            for one, (x, y) in zip(numbers, place, strict=True):
                picture = apply(picture, settings[one], x, y)
            np.asarray(picture)

    return {"kit": kit, "PIL": pil}


_ready: dict[str, Callable[[], None]] = {}  # of this process


def _start(n: int, size: int) -> None:
    torch.set_num_threads(1)
    keep_memory()
    _ready.update(_augmenters(n, size))


def _augment(name: str) -> None:
    _ready[name]()


def operations(n: int = 512, size: int = 32) -> pd.DataFrame:
    """Microseconds an image of each of RandAugment's operations, on one thread: by tables, and by PIL."""
    torch.set_num_threads(1)
    image = pictures(n, size)
    settings = study(M, size, size)
    batched = Tables(settings, size, size, image.device, by_rows=True)
    middle = torch.full((n,), size / 2, dtype=torch.float64)

    def one_by_one(setting: Setting) -> None:
        for pixels in image.numpy():
            np.asarray(apply(Image.fromarray(pixels), setting, size / 2, size / 2))

    rows = []
    for number in range(0, len(settings), 2):
        chosen = torch.full((n,), number)
        seconds = [
            _best(lambda chosen=chosen: batched.apply(image, (chosen, middle, middle))),  # type: ignore[misc]
            _best(lambda number=number: one_by_one(settings[number])),  # type: ignore[misc]
        ]
        kit, pil = (1e6 * second / n for second in seconds)
        rows.append({"operation": settings[number].op, "size": size, "kit_us": kit, "pil_us": pil, "ratio": pil / kit})
    return pd.DataFrame(rows)


def _rates(ways: Mapping[str, tuple[Callable[[], object], int]], **also: int) -> pd.DataFrame:
    """ways: what to do, and how many images that is; times_first: faster than the first of them."""
    for way, _ in ways.values():
        way()  # starts workers, makes tables
    # In turns, so that what else the machine does meets all of them.
    seconds = np.min([[_best(way, 1) for way, _ in ways.values()] for _ in range(3)], axis=0)
    rate = np.array([images for _, images in ways.values()]) / seconds
    return pd.DataFrame({"way": list(ways), **also, "images_per_second": rate.round(), "times_first": rate / rate[0]})


def _best(work: Callable[[], object], turns: int = 3) -> float:
    seconds = []
    for _ in range(turns):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)
