"""Data sets: one a file, found by itself. `from iskit.data import datasets, Dataset`."""

from importlib import import_module
from pkgutil import iter_modules

from iskit.data.base import Dataset
from iskit.data.loader import CONDITIONS, Loader, datasets

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = ["CONDITIONS", "Dataset", "Loader", "datasets"]
