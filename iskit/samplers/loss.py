r"""As gnorm, with the loss itself as score: the baseline that the bound has to beat.

cite: Katharopoulos & Fleuret 2018, "Not All Samples Are Created Equal" (their baseline "loss")
changes: which candidates and with what weights, once a step
passes: as gnorm
rule: as gnorm, with s_i = cross-entropy of candidate i against its (soft) target. Beware of batch norm at high learning
  rates: a loss that is tiny in eval mode, as scored, but not in train mode, as trained, gets a huge weight
formula: g_i = \frac{\ell_i}{\sum_{j \le n} \ell_j}, \quad w_i = \frac{1}{n g_i}
when: as the baseline beside gnorm: what the bound is better for
differs: nothing
neutral: presample=1
"""

from typing import Literal

from iskit.samplers.base import samplers
from iskit.samplers.gnorm import GradientNorm


@samplers.register("loss")
class Loss(GradientNorm):
    """The options of gnorm, but for score."""

    def __init__(
        self,
        *,
        presample: int = 3,
        tau_min: float | None = None,
        form: Literal["presample", "constant_time", "constant_variance"] = "presample",
        k: float = 1.0,
        smooth: float = 0.0,
        control: bool = False,
    ):
        super().__init__(
            presample=presample, tau_min=tau_min, score="loss", form=form, k=k, smooth=smooth, control=control
        )
