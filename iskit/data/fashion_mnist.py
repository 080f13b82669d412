"""Fashion-MNIST: 60,000 + 10,000 grey images of clothes, 28 x 28 pixels, in MNIST's format (Xiao et al. 2017)."""

from iskit.data.loader import About, datasets
from iskit.data.mnist import Mnist

NAMES = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")


@datasets.register("fashion-mnist")
class FashionMnist(Mnist):
    """Clothes may be mirrored."""

    original = "FashionMNIST"

    def about(self) -> About:
        return About(NAMES, mean=(0.2860,), std=(0.3530,))
