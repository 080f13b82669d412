"""Trains on one fixed subset for the whole run: random, or a core-set chosen with a proxy model.

cite: by=forgetting Toneva et al. 2019, kcenter Sener & Savarese 2018, herding Welling 2009, confidence, entropy and
  margin Coleman et al. 2020, "Selection via Proxy"
changes: which examples, once a run
passes: none extra in the run; the proxy's stand in the meter's own line, apart from the budget
rule: random: N x keep examples, all equally likely; else those of the highest score, ties at random: times forgotten
  over the proxy's epochs (infinite if never learnt), 1 - highest probability, entropy, 1 - margin of the two highest
  probabilities; kcenter: always the one farthest from the kept; herding: always the one that brings the mean feature
  of the kept nearest to that of all. No weights
differs: one proxy recipe for all scores; not balanced by class. Published code counts never learnt as never forgotten
  and herds by argmax: not so here
neutral: budget=1
"""

from typing import Literal

import torch
from torch import Tensor

from iskit.budget import Budget
from iskit.errors import InputError
from iskit.models import models
from iskit.randomness import Stream, permutation
from iskit.samplers.base import Proxy, Sampler, samplers
from iskit.samplers.coreset import SCORES
from iskit.samplers.draw import permuted, ranking

By = Literal["random", "forgetting", "kcenter", "herding", "confidence", "entropy", "margin"]


@samplers.register("subset")
class Subset(Sampler):
    """by: what decides; keep: share of the examples, the budget if not given, so that the run has all its epochs;
    proxy: the model that is asked; proxy_epochs: how long it is trained; control: permute the scores among the
    examples."""

    def __init__(
        self,
        *,
        by: By = "random",
        keep: float | None = None,
        proxy: str = "resnet8",
        proxy_epochs: int = 10,
        control: bool = False,
    ):
        if keep is not None and not 0 < keep <= 1:
            raise InputError(f"sampler option keep={keep!r} must be a share above 0 and at most 1")
        if proxy_epochs < 2:
            raise InputError(f"sampler option proxy_epochs={proxy_epochs} must be at least 2, to see what is forgotten")
        models.parse(proxy)
        self.by, self.keep, self.proxy, self.proxy_epochs, self.control = by, keep, proxy, proxy_epochs, control

    def check(self, *, budget: float, unit: str, epochs: int, batch_size: int) -> None:
        if unit == "seconds" and self.keep is None:
            raise InputError(f"sampler='subset' with budget={budget:g} seconds has no share to keep: set keep=")

    def bind(self, *, label: Tensor, budget: Budget, epochs: int, batch_size: int, seed: int) -> None:
        super().bind(label=label, budget=budget, epochs=epochs, batch_size=batch_size, seed=seed)
        keep = budget.amount if self.keep is None else self.keep
        self.count = round(keep * self.n)
        if self.count == 0:
            raise InputError(f"sampler option keep={keep:g} of {self.n} examples keeps none: raise it")
        self.kept = torch.zeros(self.n, device=self.device)

    def prepare(self, proxy: Proxy) -> None:
        if self.count == self.n:
            return
        score = torch.zeros(self.n, device=self.device)
        if self.by != "random":
            run = proxy(self.proxy, self.proxy_epochs, torch.arange(self.n, device=self.device))
            score = SCORES[self.by](run, self.count)
        if self.control:
            score = permuted(score, self.seed, 0)
        shuffled = permutation(self.seed, Stream.TIES, 0, self.n).to(self.device)
        self.kept.zero_()[ranking(score, shuffled)[: self.count]] = 1

    def plan(self, t: float, epoch: int, size: int) -> Tensor | None:
        if self.count == self.n:
            return None
        if self.by != "random":
            self.tell(1 - self.count / self.n)
        return self.kept
