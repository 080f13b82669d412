"""Every example once an epoch: the full run that all others are measured against.

cite: Robbins & Monro 1951, "A stochastic approximation method"
changes: nothing
passes: none extra
rule: each epoch, all N examples in a fresh random order
differs: an epoch's last partial batch is carried into the next epoch, not dropped
neutral: always
"""

from iskit.errors import InputError
from iskit.samplers.base import Sampler, samplers


@samplers.register("sgd", "SGD")
class SGD(Sampler):
    def check(self, *, budget: float, unit: str, epochs: int, batch_size: int) -> None:
        if unit == "seconds" or budget < 1:
            raise InputError(f"sampler='sgd' is the full run, budget={budget:g} {unit} cuts it: use scan")
