r"""Draws the batch from a larger pool by an upper bound of each gradient's norm, once that pays, and weights it back.

cite: Katharopoulos & Fleuret 2018, "Not All Samples Are Created Equal: Deep Learning with Importance Sampling"
changes: which candidates and with what weights, once a step
passes: one forward a candidate while it is on: presample a trained row; none while it is off
rule: s_i = ||softmax(z_i) - target_i||_2, the norm of d loss_i / d logits; g = s / sum(s) over n = presample x b
  candidates; b rows drawn by g with replacement, weight_i = 1 / (n g_i): unbiased. On while tau > tau_min,
  tau = sqrt(n sum(g^2)) smoothed by 0.9 tau + 0.1 tau_new from 0, else uniform batches, whose own scores feed tau.
  tau_min = (presample + 3) / 3. Under mixing the score is that of the mixed row
formula: g_i = \frac{\| p_i - y_i \|}{\sum_{j \le n} \| p_j - y_j \|}, \quad w_i = \frac{1}{n g_i}, \quad \tau =
  \sqrt{n \textstyle\sum_i g_i^2}
when: the gradient must stay unbiased and a few examples have most of its length: where tau is large
differs: presample 3 and its tau_min where the paper's CIFAR runs take 5 and 1.5; while off, score="full" feeds tau from
  the bound, for exact norms cost a backward pass. form and smooth: the authors' library; k: arXiv 1706.00043, biased on
  purpose
neutral: presample=1
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from iskit.budget import Budget
from iskit.errors import InputError
from iskit.randomness import Stream, generator
from iskit.samplers.base import Batch, Outcome, Sampler, Score, samplers
from iskit.samplers.draw import permuted


class Form(NamedTuple):
    """tau_min (presample): where it begins to pay; sizes (tau, b, presample): candidates scored, rows trained."""

    tau_min: Callable[[int], float]
    sizes: Callable[[float, int, int], tuple[int, int]]


def presampled(tau: float, b: int, presample: int) -> tuple[int, int]:
    return presample * b, b


def constant_time(tau: float, b: int, presample: int) -> tuple[int, int]:
    """A step costs what a uniform one costs, 3 b forward passes: more to choose from, fewer trained."""
    a = max(0.2 * b, b / tau)
    scored = int(b + (2 * b - 3 * a) / 2)
    return scored, max(1, int((3 * b - scored) / 3))


def constant_variance(tau: float, b: int, presample: int) -> tuple[int, int]:
    """A step's gradient varies as a uniform one's, at less cost: as many to choose from, fewer trained."""
    return b, max(1, int((1 / tau + 0.2) * b))


FORMS = {
    "presample": Form(lambda presample: (presample + 3) / 3, presampled),
    "constant_time": Form(lambda presample: 2.0, constant_time),
    "constant_variance": Form(lambda presample: 1 / (2 / 3 - 0.2), constant_variance),
}


@samplers.register("gnorm")
class GradientNorm(Sampler):
    """presample: candidates a row; tau_min: where to switch on, None as the form says; score: the bound, the loss
    or the exact norm (small models); form: what a step holds constant; k: exponent of the weights, 1 is unbiased,
    below it the hard rows count more; smooth: added to the scores before they are normalised, the more the nearer to
    uniform; control: permute the scores among the candidates."""

    needs_labels = True

    def __init__(
        self,
        *,
        presample: int = 3,
        tau_min: float | None = None,
        score: Literal["gnorm", "loss", "full"] = "gnorm",
        form: Literal["presample", "constant_time", "constant_variance"] = "presample",
        k: float = 1.0,
        smooth: float = 0.0,
        control: bool = False,
    ):
        if not smooth >= 0:
            raise InputError(f"sampler option smooth={smooth!r} must be 0 (as scored) or above")
        if presample < 1:
            raise InputError(f"sampler option presample={presample} must be 1 (no choice) or above")
        if tau_min is not None and not tau_min >= 0:
            raise InputError(f"sampler option tau_min={tau_min!r} must be 0 (on at once) or above")
        if not 0 <= k <= 1:
            raise InputError(f"sampler option k={k!r} must be between 0 (equal weights) and 1 (unbiased)")
        self.presample, self.form, self.k, self.control = presample, FORMS[form], k, control
        self.smooth = smooth
        self.exact, self.by_logits = score == "full", cross_entropy if score == "loss" else bound
        self.tau_min = self.form.tau_min(presample) if tau_min is None else tau_min
        self.price = 3 if self.exact else 1
        self.whole_batches = form == "presample"

    def bind(self, *, label: Tensor, budget: Budget, epochs: int, batch_size: int, seed: int) -> None:
        super().bind(label=label, budget=budget, epochs=epochs, batch_size=batch_size, seed=seed)
        most, _ = self.form.sizes(float("inf"), batch_size, self.presample)
        if most > self.n:
            raise InputError(
                f"sampler draws from pools of {most} candidates, more than the {self.n} training examples: "
                f"lower presample={self.presample} or batch_size={batch_size}"
            )
        self.tau = torch.zeros((), device=self.device)
        self.pools = torch.zeros((), dtype=torch.int64)  # drawn from so far; on the host
        # Of the step at hand; on the host. A run in the user's own loop may be saved amid a step.
        self.scored, self.trained = torch.tensor(batch_size), torch.tensor(batch_size)

    @property
    def on(self) -> bool:
        return int(self.scored) > int(self.trained)

    def candidates(self) -> int:
        tau = self.tau.item()  # the step's only wait for a GPU
        scored = trained = self.batch_size
        if tau > self.tau_min:
            scored, trained = self.form.sizes(tau, self.batch_size, self.presample)
            if scored <= trained:
                scored = trained = self.batch_size
        self.scored.fill_(scored)
        self.trained.fill_(trained)
        return scored

    def size(self, waiting: int) -> int:
        return int(self.trained)

    def select(self, pool: Batch, score: Score) -> tuple[Tensor, Tensor] | None:
        if not self.on:
            return None
        s = score.gradient_norm(pool) if self.exact else self.by_logits(score(pool), pool.target)
        if self.control:
            s = permuted(s, self.seed, int(self.pools))
        g = self.distribution(s)
        self.tell(g)
        draws = torch.from_numpy(generator(self.seed, Stream.CHOICE, int(self.pools)).random(int(self.trained)))
        self.pools += 1
        rows = with_replacement(g, draws.to(self.device, non_blocking=True))
        return rows, self.weight(g[rows], len(g)).float()

    def weight(self, g: Tensor, n: int) -> Tensor:
        """(b,) weights of rows drawn with probabilities g (b,) from n: 1 / (n g), or biased towards equal ones."""
        w = 1 / (n * g)
        return w**self.k * (w @ g) / (w**self.k @ g)

    def distribution(self, s: Tensor) -> Tensor:
        """(n,) float64 probabilities g from scores (n,), whose tau enters the running one."""
        g = probability(s + self.smooth)
        self.tau.lerp_(tau(g).float(), 0.1)
        return g

    def numbers(self) -> dict[str, Tensor | float]:
        return {"tau": self.tau, "on": float(self.on)}

    def update(self, outcome: Outcome) -> None:
        if not self.on:
            self.distribution(self.by_logits(outcome.logits.float(), outcome.batch.target))


def bound(logits: Tensor, target: Tensor) -> Tensor:
    """(m,) norm of each row's d loss / d logits, in closed form; logits (m, K), soft targets (m, K)."""
    return (logits.softmax(1) - target).norm(dim=1)


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(logits, target, reduction="none")


def probability(s: Tensor) -> Tensor:
    """(n,) float64 g = s / sum(s). Without the division by the sum, tau would grow with the scores."""
    s = s.double().clamp(min=1e-10)
    return s / s.sum()


def tau(g: Tensor) -> Tensor:
    """(1 - sum (g - 1/n)^2 / sum g^2) ** -1/2, simplified: 1 for equal probabilities g (n,), at most sqrt(n)."""
    return (len(g) * g.square().sum()).sqrt()


def with_replacement(g: Tensor, uniform: Tensor) -> Tensor:
    """Row numbers (b,) drawn by g (n,), which sums to 1, from uniforms (b,): the inverse distribution function."""
    return torch.searchsorted(g.cumsum(0), uniform, right=True).clamp(max=len(g) - 1)
