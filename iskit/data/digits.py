"""scikit-learn's handwritten digits: 1,197 + 600 real grey images of 8 x 8 pixels, embedded, no download."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from iskit.data.loader import About, Loader, Split, datasets
from iskit.errors import InputError

TEST = 600


@datasets.register("digits")
class Digits(Loader):
    """Source: Alpaydin & Kaynak 1998, UCI "Optical Recognition of Handwritten Digits", as shipped with scikit-learn."""

    def about(self) -> About:
        return About(tuple("0123456789"), flip=False)

    def source(self) -> Any:
        return None

    def read(self) -> tuple[Split, Split]:
        # Of load_digits the file alone: all of scikit-learn takes a second to import, in every process that trains.
        found = find_spec("sklearn")
        if found is None or found.origin is None:
            raise InputError("dataset='digits' comes with scikit-learn: pip install scikit-learn")
        raw = np.loadtxt(Path(found.origin).parent / "datasets" / "data" / "digits.csv.gz", delimiter=",")
        order = np.random.Generator(np.random.Philox(0)).permutation(len(raw))
        image = np.round(raw[order, :-1].reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)[..., None]
        label = raw[order, -1].astype(np.int64)
        return Split.of(image[TEST:], label[TEST:]), Split.of(image[:TEST], label[:TEST])
