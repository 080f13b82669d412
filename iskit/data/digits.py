"""scikit-learn's handwritten digits: 1,197 + 600 real grey images of 8 x 8 pixels, embedded, no download."""

from typing import Any

import numpy as np

from iskit.data.loader import About, Loader, Split, datasets

TEST = 600


@datasets.register("digits")
class Digits(Loader):
    """Source: Alpaydin & Kaynak 1998, UCI "Optical Recognition of Handwritten Digits", as shipped with scikit-learn."""

    def about(self) -> About:
        return About(tuple("0123456789"), flip=False)

    def source(self) -> Any:
        return None

    def read(self) -> tuple[Split, Split]:
        from sklearn.datasets import load_digits  # not needed by, nor installed for, other data sets

        raw = load_digits()
        order = np.random.Generator(np.random.Philox(0)).permutation(len(raw.target))
        image = np.round(raw.images[order] * (255 / 16)).astype(np.uint8)[..., None]
        label = raw.target[order]
        return Split.of(image[TEST:], label[TEST:]), Split.of(image[:TEST], label[:TEST])
