r"""Draws more often what the model is undecided about.

cite: Chang, Learned-Miller & McCallum 2017, "Active Bias" (c-SGD, as in Arazo et al. 2021)
changes: which examples, once an epoch
passes: none extra
rule: as p, with s = m (1 - m): largest at m = 1/2; of the never trained, m is the current maximum, so s is small
formula: m_i = \text{mean of } 1 - p_i \text{ when trained}, \quad s_i = m_i (1 - m_i), \quad P_i = \frac{s_i + \bar
  s}{\sum_j (s_j + \bar s)}
when: as p, where labels may be wrong: what the model surely misses is drawn as seldom as what it surely knows
differs: as p, also with official=True and under ricap(official=True)
neutral: budget=1
"""

from torch import Tensor

from iskit.samplers.base import samplers
from iskit.samplers.p import P


@samplers.register("c", "c-SGD")
class C(P):
    def score(self, mean_error: Tensor) -> Tensor:
        return mean_error * (1 - mean_error)
