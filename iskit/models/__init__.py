"""Networks, found by themselves. `from iskit.models import models`."""

from importlib import import_module
from pkgutil import iter_modules

from iskit.models.base import models, weights, with_located_weights

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = ["models", "weights", "with_located_weights"]
