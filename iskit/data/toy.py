"""A toy: 1,000 + 1,000 points in the plane, each a pixel's red and green; most are easy and some a coin's throw.

For `model=logistic`: what the best sampling distribution is, and what it gains, is known in closed form. The easy
points lie left or right by their class. The hard ones lie on the line between, in pairs of one place and both classes:
nothing can be learnt of them, and the best parameters give them the probability 1/2. Their gradients never vanish,
those of the easy ones do, though these are the larger ones at first. Beside it, `corners`: what samplers are tried on.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from iskit.data.base import Dataset
from iskit.data.loader import About, Loader, Split, datasets
from iskit.errors import InputError

EXAMPLES = 1000
ZERO, UNIT = 128, 32  # levels of a pixel: of coordinate 0, and to 1 from there


@datasets.register("toy")
@dataclass(kw_only=True)
class Toy(Loader):
    """hard: share of the points that are hard."""

    hard: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.hard <= 1:
            raise InputError(f"dataset option hard={self.hard!r} must be a share of the points between 0 and 1")

    def about(self) -> About:
        zero, unit = ZERO / 255, UNIT / 255
        return About(("left", "right"), mean=(zero, zero, 0.0), std=(unit, unit, 1.0), flip=False)

    def source(self) -> Any:
        return None

    def read(self) -> tuple[Split, Split]:
        train, test = (Split.of(*points(self.hard, seed)) for seed in (0, 1))
        return train, test


def points(hard: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(EXAMPLES, 1, 1, 3) uint8 and (EXAMPLES,) int64, in a fixed order without meaning."""
    random = np.random.Generator(np.random.Philox(seed))
    pairs = round(hard * EXAMPLES / 2)
    label = np.arange(EXAMPLES) % 2
    across = np.where(label == 1, 3, -3) * UNIT  # the easy ones, three units to the side
    along = random.integers(-2 * UNIT, 2 * UNIT, EXAMPLES)
    across[: 2 * pairs] = 0
    along[: 2 * pairs] = np.repeat(random.integers(-UNIT // 2, UNIT // 2, pairs), 2)
    image = np.stack([ZERO + across, ZERO + along, np.zeros(EXAMPLES, int)], axis=1).astype(np.uint8)
    order = random.permutation(EXAMPLES)
    return image[order, None, None, :], label[order]


def corners() -> Dataset:
    """200 + 80 grey 8 x 8 images of 4 classes: a bright quarter each, in noise, so that a few epochs learn them."""
    draws = torch.Generator().manual_seed(0)
    label = torch.randint(4, (280,), generator=draws)
    corner = torch.stack([label // 2, label % 2], dim=1) * 4
    image = torch.randint(0, 100, (280, 8, 8, 1), generator=draws)
    for number, (row, column) in enumerate(corner.tolist()):
        image[number, row : row + 4, column : column + 4] += 80
    image = image.to(torch.uint8)
    sets = (image[:200], label[:200], image[200:], label[200:])
    return Dataset(*sets, mean=(0.27,), std=(0.18,), classes=("a", "b", "c", "d"), flip=False, pad=1)
