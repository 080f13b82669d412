"""What the sets share that torchvision downloads, verifies and reads."""

import errno
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from iskit.data.cache import locked
from iskit.data.loader import Loader, Split
from iskit.errors import InputError
from iskit.inputs import reason


class Download(NamedTuple):
    url: str
    path: Path  # where torchvision looks for it
    md5: str


class NotRead(InputError):
    """Names four files at most, each with its address, its place and its checksum."""

    longest = 2000


class Downloaded(Loader):
    """The files lie in data_dir where torchvision puts them, so a folder it has filled before serves as it is.

    original: name of the class in torchvision.datasets.
    """

    original: ClassVar[str]

    @cached_property
    def torchvision(self) -> Any:
        import torchvision.datasets  # only here: importing it takes most of a second

        return getattr(torchvision.datasets, self.original)

    def downloads(self) -> list[Download]:
        """What is fetched, as the tables in torchvision's class say."""
        raise NotImplementedError

    def open(self) -> tuple[Split, Split]:
        """Fetches what is missing, verifies the checksums, and reads."""
        raise NotImplementedError

    def source(self) -> Any:
        return [file.md5 for file in self.downloads()]

    def read(self) -> tuple[Split, Split]:
        with locked(self.data_dir / f".{type(self).__name__}.lock"):
            try:
                return self.open()
            except Exception as error:  # urllib, tarfile, pickle, scipy and torchvision raise many kinds
                raise NotRead(f"{self.original} cannot be read: {self._remedy(error)} [{reason(error)}]") from error

    def _remedy(self, error: Exception) -> str:
        from torchvision.datasets.utils import check_integrity

        if _is_full(error):
            return f"the disk of data_dir, {self.data_dir}, is full: free space there or change data_dir"
        todo = [
            f"{file.url} to {file.path} ({'the file there is damaged, ' if file.path.exists() else ''}md5 {file.md5})"
            for file in self.downloads()
            if not check_integrity(file.path, file.md5)
        ]
        if not todo:
            return f"its files in {self.data_dir} are whole, but not what was unpacked from them: delete that"
        return "where there is a network, download " + "; ".join(todo)


def _is_full(error: BaseException | None) -> bool:
    """Whether a full disk is behind the error: torchvision tries again when a download fails, and fails otherwise."""
    while error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        error = error.__cause__ or error.__context__
    return False
