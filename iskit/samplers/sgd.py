r"""Every example once an epoch: the full run that all others are measured against.

cite: Robbins & Monro 1951, "A stochastic approximation method"
changes: nothing
passes: none extra
rule: each epoch, all N examples in a fresh random order
formula: \theta \leftarrow \theta - \eta \frac{1}{b} \sum_{i \in \text{batch}} \nabla \ell_i(\theta), \quad \text{each
  } i \text{ once an epoch}
when: to know what the full run reaches, and so what a budget costs
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
