"""An image data set in memory."""

from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from iskit.data.cache import digest
from iskit.errors import InputError


@dataclass(frozen=True)
class Dataset:
    """The whole set as tensors on one device.

    image (N, H, W, C) uint8 and label (N,) int64 of the training set; test_image, test_label of the test set;
    mean, std: per channel, on the scale 0 to 1; classes: their names; flip: whether a mirrored image is still of
    its class; pad: zeros the standard crop adds on each side.
    Of a view: row (N,) int64, the image that each example shows; flags, (N,) bool each: what was done to an example
    (`mislabelled`, `rare`, `copy`); whole: the set that it is a view of.
    """

    image: Tensor
    label: Tensor
    test_image: Tensor
    test_label: Tensor
    mean: tuple[float, ...]
    std: tuple[float, ...]
    classes: tuple[str, ...]
    flip: bool = True
    pad: int = 4
    row: Tensor | None = None
    flags: dict[str, Tensor] = field(default_factory=dict)
    whole: "Dataset | None" = None

    def __post_init__(self) -> None:
        for name, image, label in (
            ("training", self.image if self.row is None else self.row, self.label),
            ("test", self.test_image, self.test_label),
        ):
            if len(image) != len(label):
                raise InputError(f"the {name} set has {len(image)} images and {len(label)} labels: give as many")
            check_labels(name, label, len(self.classes))

    def __len__(self) -> int:
        return len(self.label)

    def images(self, index: Tensor) -> Tensor:
        """(m, H, W, C) uint8: what the training examples `index` (m,) show."""
        return self.image.index_select(0, index if self.row is None else self.row[index])

    @cached_property
    def origin(self) -> Tensor:
        """(N,) int64: a number for each example that it shares with its copies, consecutive from 0."""
        if self.row is None:
            return torch.arange(len(self), device=self.label.device)
        return self.row.unique(return_inverse=True)[1]

    def view(self, row: Tensor, label: Tensor, flags: dict[str, Tensor]) -> "Dataset":
        """The training set of other examples, of the same images in memory."""
        device = self.label.device
        flags = {name: flag.to(device) for name, flag in flags.items()}
        return replace(self, row=row.to(device), label=label.to(device), flags=flags, whole=self)

    @property
    def channels(self) -> int:
        return self.image.shape[-1]

    @property
    def size(self) -> int:
        return self.image.shape[1]

    @cached_property
    def digest(self) -> str:
        """Of images and labels: tells other data from the same in another place. A view has that of the whole set."""
        if self.whole is not None:
            return self.whole.digest
        return digest({name: value.cpu().numpy() for name, value in vars(self).items() if isinstance(value, Tensor)})

    def to(self, device: torch.device | str) -> "Dataset":
        tensors: dict[str, Any] = {
            key: value.to(device) for key, value in vars(self).items() if isinstance(value, Tensor)
        }
        return replace(self, **tensors, flags={name: flag.to(device) for name, flag in self.flags.items()})

    def normalise(self, image: Tensor) -> Tensor:
        """(n, H, W, C) uint8 -> (n, C, H, W) float32, zero mean and unit deviation, in channels-last memory."""
        shift, scale = _levels(self.mean, self.std, image.shape[1] * image.shape[2], image.device)
        return image.reshape(len(image), -1).float().sub_(shift).mul_(scale).view(image.shape).permute(0, 3, 1, 2)

    def with_validation(self, count: int) -> "Dataset":
        """Holds out `count` training examples, class-balanced, in place of the test set (RandomState(42)).

        Of the whole set: in a view, copies would lie on both sides.
        """
        if count == 0:
            return self
        if self.whole is not None:
            raise InputError(f"validation={count}: hold out examples of the whole set, before its conditions are drawn")
        random = np.random.RandomState(42)
        label = self.label.cpu().numpy()
        each, rest = divmod(count, len(self.classes))
        held: list[np.ndarray] = []
        for number, name in enumerate(self.classes):
            members = random.permutation(np.flatnonzero(label == number))
            wanted = each + (number < rest)
            if wanted and wanted >= len(members):
                raise InputError(
                    f"validation={count} takes {wanted} examples of class {name!r}, "
                    f"which has {len(members)}: give a smaller number"
                )
            held.append(members[:wanted])
        out = torch.from_numpy(np.sort(np.concatenate(held)))
        keep = torch.ones(len(label), dtype=torch.bool)
        keep[out] = False
        return replace(
            self,
            image=self.image[keep],
            label=self.label[keep],
            test_image=self.image[out],
            test_label=self.label[out],
        )


@lru_cache(maxsize=8)
def _levels(
    mean: tuple[float, ...], std: tuple[float, ...], pixels: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Shift and scale (pixels x C,) of whole images: a CPU is slow at repeating so short a row as the channels."""
    shift, scale = torch.tensor(mean, device=device) * 255, 1 / (torch.tensor(std, device=device) * 255)
    return shift.repeat(pixels), scale.repeat(pixels)


def check_labels(name: str, label: Tensor | np.ndarray, classes: int) -> None:
    """InputError if the set `name` is empty or has a label outside 0 .. classes - 1."""
    if len(label) == 0:
        raise InputError(f"the {name} set is empty: give at least one image")
    lowest, highest = int(label.min()), int(label.max())
    if lowest < 0 or highest >= classes:
        wrong = lowest if lowest < 0 else highest
        raise InputError(f"the {name} set has the label {wrong}, out of range: labels must be 0 to {classes - 1}")
