r"""Plain SGD that stops when the budget is spent, the schedule fitted to it.

cite: Arazo et al. 2021, "How Important is Importance Sampling for Deep Budgeted Training?" (scan-SGD)
changes: how many epochs: T x B instead of T
passes: none extra
rule: each epoch, all N examples in a fresh random order, until B x T x N are trained
formula: \text{epochs} = T B, \quad \text{each } i \text{ once in each}
when: as the first baseline: the budget spent on whole epochs
differs: ends at the first step at or past the budget, also within an epoch
neutral: budget=1
"""

from iskit.samplers.base import Sampler, samplers


@samplers.register("scan", "scan-SGD")
class Scan(Sampler):
    pass
