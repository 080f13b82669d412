"""MNIST: 60,000 + 10,000 grey images of handwritten digits, 28 x 28 pixels (LeCun et al. 1998)."""

from iskit.data.downloaded import Download, Downloaded
from iskit.data.loader import About, Split, datasets


@datasets.register("mnist")
class Mnist(Downloaded):
    """A mirrored digit is no longer of its class."""

    original = "MNIST"

    def about(self) -> About:
        return About(tuple("0123456789"), mean=(0.1307,), std=(0.3081,), flip=False)

    def downloads(self) -> list[Download]:
        folder = self.data_dir / self.original / "raw"
        mirror = self.torchvision.mirrors[0]
        return [Download(mirror + name, folder / name, md5) for name, md5 in self.torchvision.resources]

    def open(self) -> tuple[Split, Split]:
        packed = [file.path for file in self.downloads()]
        if all(path.exists() for path in packed):
            # torchvision verifies the packed files alone and trusts what is unpacked: have it unpacked anew.
            for path in packed:
                path.with_suffix("").unlink(missing_ok=True)
        train, test = (self.torchvision(self.data_dir, train=train, download=True) for train in (True, False))
        train, test = (Split.of(part.data.numpy()[..., None], part.targets.numpy()) for part in (train, test))
        return train, test
