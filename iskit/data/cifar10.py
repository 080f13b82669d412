"""CIFAR-10: 50,000 + 10,000 colour images of 32 x 32 pixels, ten classes (Krizhevsky 2009)."""

import numpy as np

from iskit.data.downloaded import Download, Downloaded
from iskit.data.loader import About, Split, datasets

NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@datasets.register("cifar10", "CIFAR-10")
class Cifar10(Downloaded):
    """Mean and deviation: the study's."""

    original = "CIFAR10"

    def about(self) -> About:
        return About(NAMES, mean=(0.4914, 0.4822, 0.4465), std=(0.2023, 0.1994, 0.2010))

    def downloads(self) -> list[Download]:
        published = self.torchvision
        return [Download(published.url, self.data_dir / published.filename, published.tgz_md5)]

    def open(self) -> tuple[Split, Split]:
        train, test = (self.torchvision(self.data_dir, train=train, download=True) for train in (True, False))
        return Split.of(train.data, np.array(train.targets)), Split.of(test.data, np.array(test.targets))
