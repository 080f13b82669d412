"""scikit-learn's handwritten digits: 1,797 real 8 x 8 images, embedded, no download."""

from pathlib import Path

import numpy as np
import torch

from iskit.data.base import Dataset, Loader, datasets
from iskit.errors import InputError


@datasets.register("digits")
class Digits(Loader):
    """limit: first examples of the training set to use, 0 for all 1,197; 600 are for testing.

    Source: Alpaydin & Kaynak 1998, UCI "Optical Recognition of Handwritten Digits", as shipped with scikit-learn.
    """

    TEST = 600

    def __init__(self, data_dir: Path, *, limit: int = 0):
        super().__init__(data_dir)
        if limit < 0:
            raise InputError(f"dataset option limit={limit} must be a number of examples, or 0 for all")
        self.limit = limit

    def load(self) -> Dataset:
        from sklearn.datasets import load_digits  # not needed by, nor installed for, other data sets

        raw = load_digits()
        order = np.random.Generator(np.random.Philox(0)).permutation(len(raw.target))
        image = torch.from_numpy(np.round(raw.images[order] * (255 / 16)).astype(np.uint8))[..., None]
        label = torch.from_numpy(raw.target[order].astype(np.int64))
        train = slice(self.TEST, self.TEST + self.limit if self.limit else None)
        scaled = image[train].double() / 255
        return Dataset(
            image=image[train],
            label=label[train],
            test_image=image[: self.TEST],
            test_label=label[: self.TEST],
            mean=(scaled.mean().item(),),
            std=(scaled.std().item(),),
            classes=tuple("0123456789"),
            flip=False,
            pad=1,
        )
