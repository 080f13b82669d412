"""SVHN: 73,257 + 26,032 colour images of 32 x 32 pixels, the digits of house numbers (Netzer et al. 2011)."""

import numpy as np

from iskit.data.downloaded import Download, Downloaded
from iskit.data.loader import About, Split, datasets


@datasets.register("svhn")
class Svhn(Downloaded):
    """Mean and deviation: the study's. A mirrored digit is no longer of its class."""

    original = "SVHN"

    def about(self) -> About:
        return About(tuple("0123456789"), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), flip=False)

    def downloads(self) -> list[Download]:
        files = (self.torchvision.split_list[split] for split in ("train", "test"))
        return [Download(url, self.data_dir / name, md5) for url, name, md5 in files]

    def open(self) -> tuple[Split, Split]:
        train, test = (self.torchvision(self.data_dir, split, download=True) for split in ("train", "test"))
        # torchvision gives (N, C, H, W); the files' label 10, which is the digit 0, it has made 0.
        train, test = (Split.of(np.moveaxis(part.data, 1, -1), part.labels) for part in (train, test))
        return train, test
