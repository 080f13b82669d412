"""How examples look: one augmentation a file, found by itself. `from iskit.augment import augments, Pipeline`."""

from importlib import import_module
from pkgutil import iter_modules

from iskit.augment.base import Augment, Pipeline, augments, blend

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = ["Augment", "Pipeline", "augments", "blend"]
