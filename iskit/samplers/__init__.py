"""Which examples are trained: one method a file, found by itself. `from iskit.samplers import samplers`."""

from importlib import import_module
from pkgutil import iter_modules

from iskit.samplers.base import Batch, Outcome, Proxy, ProxyRun, Sampler, Score, samplers

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = ["Batch", "Outcome", "Proxy", "ProxyRun", "Sampler", "Score", "samplers"]
