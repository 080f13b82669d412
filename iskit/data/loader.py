"""What every loader is: it finds images and labels; the options that all data sets share are applied here."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import torch
from torch import Tensor

from iskit.data import images
from iskit.data.base import Dataset, check_labels
from iskit.data.cache import cached
from iskit.data.conditions import conditioned
from iskit.errors import InputError
from iskit.inputs import guard
from iskit.randomness import Stream, permutation
from iskit.registry import Registry

CONDITIONS = ("imbalance", "duplicates", "noise")  # options that leave the images as they are
SIDE = 1 << 14  # pixels: one such image takes 800 MB


@dataclass(frozen=True)
class About:
    """classes: names, in the order of the labels; mean, std: per channel on the scale 0 to 1, empty to compute
    them from the training images; flip: whether a mirrored image is still of its class."""

    classes: tuple[str, ...]
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    flip: bool = True


@dataclass(frozen=True)
class Split:
    """Training or test set before anything is decoded: label (N,), and image: sorted rows (n,) and a side length
    (0: as it comes) -> (n, side, side, 1 or 3) uint8."""

    label: np.ndarray
    image: Callable[[np.ndarray, int], np.ndarray]

    @classmethod
    def of(cls, image: np.ndarray, label: np.ndarray) -> "Split":
        """Of arrays in memory: image (N, H, W, C) uint8, label (N,)."""
        return cls(label, lambda rows, size: images.resize(image[rows], size))


@dataclass(kw_only=True)
class Loader:
    """One data set. Making a loader checks its options, at once and cheaply; `load` reads, from a cache if it can.

    The options of all data sets, applied in this order:
    classes: keep only these, numbered anew in the order given, e.g. (0, 1, 2); () for all.
    limit: a fixed random subset of so many training examples, 0 for all; a smaller one lies within a larger one.
    size: side length in pixels to scale to, nothing is cropped; 0 as it comes.
    Of the training examples that remain, drawn by the run's seed (`conditioned`; the test set, or what is held out in
    its place, stays clean):
    imbalance: the rarest class's size over the commonest's, 1 as it comes.
    duplicates: share of the examples that are copies of a tenth of the others.
    noise: share of the images whose label is another class's.
    """

    data_dir: Path = field(kw_only=False)
    classes: tuple[int, ...] = ()
    limit: int = 0
    size: int = 0
    imbalance: float = 1.0
    duplicates: float = 0.0
    noise: float = 0.0

    def __post_init__(self) -> None:
        for name in ("limit", "size"):
            if getattr(self, name) < 0:
                raise InputError(
                    f"dataset option {name}={getattr(self, name)} must not be negative; 0 means as it comes"
                )
        if self.size > SIDE:
            raise InputError(f"dataset option size={self.size} must be at most {SIDE} pixels a side")
        if not 0 <= self.noise <= 1:
            raise InputError(f"dataset option noise={self.noise!r} must be a share of the labels between 0 and 1")
        if not 0 < self.imbalance <= 1:
            raise InputError(
                f"dataset option imbalance={self.imbalance!r} must be above 0 and at most 1: the rarest class's size "
                "over the commonest's"
            )
        if not 0 <= self.duplicates < 1:
            raise InputError(
                f"dataset option duplicates={self.duplicates!r} must be at least 0 and below 1: some examples are "
                "no copies"
            )
        whole = all(isinstance(number, int) and number >= 0 for number in self.classes)
        if not whole or len(set(self.classes)) < len(self.classes):
            raise InputError(f"dataset option classes={self.classes!r} must be different class numbers, e.g. (0, 1, 2)")

    def about(self) -> About:
        """Cheap: called before the cache is asked."""
        raise NotImplementedError

    def source(self) -> Any:
        """JSON value that changes when the files do: part of the cache's key. None: reading is too cheap to cache."""
        raise NotImplementedError

    def read(self) -> tuple[Split, Split]:
        """Training and test set. Raises InputError for files that are missing or damaged: what to put where."""
        raise NotImplementedError

    def load(self) -> Dataset:
        """The whole set, clean."""
        about = self.about()
        if self.classes and max(self.classes) >= len(about.classes):
            raise InputError(
                f"dataset option classes={self.classes!r}: the set has classes 0 to {len(about.classes) - 1}"
            )
        source = self.source()
        key = {
            "loader": type(self).__name__,
            "source": source,
            "classes": self.classes,
            "limit": self.limit,
            "size": self.size,
            "version": images.VERSION,
            "pillow": PIL.__version__,  # decodes and scales
        }
        arrays = (
            self._arrays(about) if source is None else cached(self.data_dir / "cache", key, lambda: self._arrays(about))
        )
        image, label, test_image, test_label = (
            torch.from_numpy(arrays[name]) for name in ("image", "label", "test_image", "test_label")
        )
        names = tuple(about.classes[number] for number in self.classes) or about.classes
        mean, std = (about.mean, about.std) if about.mean else statistics(image)
        return Dataset(
            image=image,
            label=label,
            test_image=test_image,
            test_label=test_label,
            mean=mean,
            std=std,
            classes=names,
            flip=about.flip,
            pad=min(4, image.shape[1] // 7),  # the study's 4 from 28 pixels on; tiny images move less
        )

    def conditioned(self, data: Dataset, seed: int) -> Dataset:
        """What a run of this seed trains on of `data`, which `load` gave and validation may have shortened."""
        chosen = {name: getattr(self, name) for name in CONDITIONS}
        return conditioned(data, **chosen, seed=seed)

    def _arrays(self, about: About) -> dict[str, np.ndarray]:
        train, test = self.read()
        rows, label = self._rows("training", train.label, about, self.limit)
        test_rows, test_label = self._rows("test", test.label, about, 0)
        image = train.image(rows, self.size)
        test_image = test.image(test_rows, self.size)
        if image.shape[1:3] != test_image.shape[1:3]:
            raise InputError(
                f"the training images have {image.shape[1]} pixels a side, the test images {test_image.shape[1]}: "
                "set size= to scale all"
            )
        channels = max(image.shape[-1], test_image.shape[-1])  # grey beside colour becomes colour
        arrays = {
            "image": np.repeat(image, channels // image.shape[-1], axis=-1),
            "label": label,
            "test_image": np.repeat(test_image, channels // test_image.shape[-1], axis=-1),
            "test_label": test_label,
        }
        return {name: np.ascontiguousarray(array) for name, array in arrays.items()}

    def _rows(self, what: str, label: np.ndarray, about: About, limit: int) -> tuple[np.ndarray, np.ndarray]:
        """Which rows of a set to use, sorted, and their labels as numbered in the result."""
        check_labels(what, label, len(about.classes))  # here too: before anything is decoded
        label = label.astype(np.int64)
        rows = np.arange(len(label))
        if self.classes:
            number = np.full(len(about.classes), -1)
            number[list(self.classes)] = np.arange(len(self.classes))
            label = number[label]
            rows = np.flatnonzero(label >= 0)
            empty = [old for new, old in enumerate(self.classes) if not (label == new).any()]
            if empty:
                raise InputError(
                    f"dataset option classes={self.classes!r}: the {what} set has no example of class {empty[0]} "
                    f"({about.classes[empty[0]]}): leave it out"
                )
        if limit > len(rows):
            raise InputError(
                f"dataset option limit={limit} is more than the {len(rows)} training examples: 0 takes all"
            )
        if limit:
            # Not the first ones: files and folders sorted by class are common.
            rows = np.sort(rows[permutation(0, Stream.DATA, 0, len(rows))[:limit].numpy()])
        return rows, label[rows]


def statistics(image: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel of (N, H, W, C) uint8, on the scale 0 to 1."""
    level = torch.arange(256, dtype=torch.float64) / 255
    mean, std = [], []
    for channel in image.unbind(-1):
        # Counted, not cast: as float64 a large set would take eight times its memory.
        share = torch.bincount(channel.flatten(), minlength=256).double() / channel.numel()
        mean.append((share * level).sum())
        std.append((share * (level - mean[-1]) ** 2).sum().sqrt().clamp(min=1 / 255))  # a constant channel stays 0
    return tuple(map(float, mean)), tuple(map(float, std))


def reading(folder: Path) -> AbstractContextManager[None]:
    """Around what lists a data set's folder: InputError where the system refuses to."""
    return guard(f"dataset option path: {folder} cannot be read", "give path= a folder that can", OSError)


datasets: Registry[Loader] = Registry("dataset", revised={"noise": 2})  # 1: the same labels for all seeds
