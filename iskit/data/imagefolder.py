"""A folder of images: path/train/<class>/*.jpg and path/test/<class>/*.jpg (or val...), any format PIL reads."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from iskit.data.cache import fingerprint
from iskit.data.images import decode_all
from iskit.data.loader import About, Loader, Split, datasets, reading
from iskit.errors import InputError
from iskit.files import located

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")


@datasets.register("imagefolder")
@dataclass(kw_only=True)
class ImageFolder(Loader):
    """path: the folder, in data_dir or else relative to the project; flip: whether a mirrored image is still of its
    class.

    Classes are the names of the folders in train/, sorted; files that are no images by their names are passed over.
    Mean and deviation are computed. Raises InputError for a missing folder, an empty class, a test class that is
    not trained.
    """

    path: str
    flip: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self.folder = located(self.path, self.data_dir)
        with reading(self.folder):
            self.train_folder = _split_folder(self.folder, "train")
            self.test_folder = _split_folder(self.folder, "test", "val")

    @cached_property
    def found(self) -> tuple[dict[str, list[Path]], dict[str, list[Path]]]:
        """Of training and test set: class name -> its image files."""
        with reading(self.folder):
            train, test = _find(self.train_folder), _find(self.test_folder)
        unknown = sorted(test.keys() - train.keys())
        if unknown:
            raise InputError(f"{self.folder}: the test class {unknown[0]!r} is not in train/: add or remove its folder")
        return train, test

    def about(self) -> About:
        return About(tuple(self.found[0]), flip=self.flip)

    def source(self) -> Any:
        return fingerprint(path for classes in self.found for paths in classes.values() for path in paths)

    def read(self) -> tuple[Split, Split]:
        train, test = self.found
        return self._split(train), self._split(test)

    def _split(self, found: dict[str, list[Path]]) -> Split:
        number = {name: i for i, name in enumerate(self.found[0])}
        paths = [path for group in found.values() for path in group]
        label = np.repeat([number[name] for name in found], [len(group) for group in found.values()])

        def image(rows: np.ndarray, size: int) -> np.ndarray:
            chosen = [paths[row] for row in rows]
            return decode_all(((path, str(path)) for path in chosen), len(chosen), size, f"decoding {self.folder.name}")

        return Split(label, image)


def _split_folder(folder: Path, *prefixes: str) -> Path:
    for prefix in prefixes:
        if found := sorted(path for path in folder.glob(f"{prefix}*") if path.is_dir()):
            return found[0]
    raise InputError(
        f"dataset option path: {folder} has no folder {prefixes[0]}/: it must hold train/ and test/ (or val/)"
    )


def _find(split: Path) -> dict[str, list[Path]]:
    """Class name -> its image files, both sorted."""
    found = {
        folder.name: sorted(path for path in folder.rglob("*") if path.suffix.lower() in EXTENSIONS)
        for folder in sorted(split.iterdir())
        if folder.is_dir() and not folder.name.startswith(".")
    }
    empty = [name for name, paths in found.items() if not paths]
    if empty or not found:
        raise InputError(f"{split / empty[0] if empty else split} holds no images: add some, or remove the folder")
    return found
