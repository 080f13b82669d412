r"""Trains on one fixed subset for the whole run: random, or a core-set chosen with a proxy model.

cite: by=forgetting Toneva et al. 2019, kcenter Sener & Savarese 2018, herding Welling 2009, confidence, entropy and
  margin Coleman et al. 2020, el2n Paul et al. 2021, aum Pleiss et al. 2020, dynunc He et al. 2024, dual Cho et al.
  2025, tdds Zhang et al. 2024; strata and hardest Zheng et al. 2023
changes: which examples, once a run
passes: none extra in the run; the proxy's stand in the meter's own line, apart from the budget
rule: random: N x keep examples, all equally likely; else those of the highest score, ties at random: times forgotten
  over the proxy's epochs (infinite if never learnt), 1 - highest probability, entropy, 1 - margin of the two highest
  probabilities; kcenter: always the one farthest from the kept; herding: always the one that brings the mean feature
  of the kept nearest to that of all. With p the true class's probability in each epoch: el2n: norm of the prediction's
  error at a tenth of the epochs; aum: the lowest mean of p less the highest other one; dynunc: mean over windows of
  std(p); dual: of std(p) (1 - mean(p)); tdds: how unevenly the prediction changes within windows, the last one counting
  most. strata=k: equal parts of k intervals of the score, first the least filled. No weights
formula: P_i = 1 \text{ for the } N \cdot \text{keep of highest score}, \quad 0 \text{ for all others}
when: few examples can be stored or labelled; or as the control of all that draw anew: it has the least variety
differs: one proxy run of proxy_epochs, kept on disk, serves all scores, each of which reads it up to epoch `until`; its
  predictions are those it was trained with, augmented, where the published codes evaluate it at checkpoints; not
  balanced by class. el2n averages 10 models in the paper (seeds=10), dual's results at small keep draw by a density of
  mean p (beta), tdds varies epochs and window with keep. Published code counts never learnt as never forgotten, herds
  by argmax, keeps the high end of aum: not so here. Core-set papers train the full run's steps: keep=.1 at budget=1
neutral: budget=1
"""

from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from iskit.budget import Budget
from iskit.errors import InputError
from iskit.models import models
from iskit.randomness import Stream, permutation, uniform_all
from iskit.samplers.base import Proxy, ProxyRun, Sampler, samplers
from iskit.samplers.coreset import SCORES, aum, beta_density, stratified
from iskit.samplers.draw import permuted, ranking, successive

By = Literal[
    "random", "forgetting", "kcenter", "herding", "confidence", "entropy", "margin",
    "el2n", "aum", "dynunc", "dual", "tdds",
]  # fmt: skip
WINDOWED = ("dynunc", "dual", "tdds")


@samplers.register("subset")
class Subset(Sampler):
    """by: what decides; keep: share of the examples, the budget if not given, so that the run has all its epochs;
    proxy: the model that is asked; proxy_epochs: how long it is trained; until: how many of its epochs are read, a
    tenth for el2n and else all if not given; window: epochs in a window, of dynunc, dual and tdds; seeds: models whose
    scores are averaged, of el2n; logits: the margin of logits, not of probabilities, for aum; beta: draws by dual times
    a density that moves to easy examples as less is kept, with this power of the share left out; strata: intervals of
    the score to draw from alike, 0 takes the highest scores; hardest: share of all examples, of the lowest aum and so
    perhaps mislabelled, left out beforehand; control: permute the scores among the examples."""

    def __init__(
        self,
        *,
        by: By = "random",
        keep: float | None = None,
        proxy: str = "resnet8",
        proxy_epochs: int = 10,
        until: int | None = None,
        window: int = 10,
        seeds: int = 1,
        logits: bool = False,
        beta: float | None = None,
        strata: int = 0,
        hardest: float = 0.0,
        control: bool = False,
    ):
        if keep is not None and not 0 < keep <= 1:
            raise InputError(f"sampler option keep={keep!r} must be a share above 0 and at most 1")
        if proxy_epochs < 2:
            raise InputError(f"sampler option proxy_epochs={proxy_epochs} must be at least 2, to see what is forgotten")
        models.parse(proxy)
        given = {"window": window != 10, "seeds": seeds != 1, "logits": logits, "beta": beta is not None,
                 "strata": strata != 0, "hardest": hardest != 0, "until": until is not None}  # fmt: skip
        known = {"window": WINDOWED, "seeds": ("el2n",), "logits": ("aum",), "beta": ("dual",)}
        for name in given:
            takers = known.get(name, tuple(SCORES))
            if given[name] and by not in takers:
                raise InputError(f"sampler option {name} has no meaning with by={by!r}: give by={' or '.join(takers)}")
        read = (max(1, proxy_epochs // 10) if by == "el2n" else proxy_epochs) if until is None else until
        if not 1 <= read <= proxy_epochs:
            raise InputError(f"sampler option until={until} must be from 1 to proxy_epochs={proxy_epochs}")
        if by in WINDOWED and not 3 <= window <= read:
            raise InputError(
                f"sampler option window={window} must be from 3 to the {read} epochs that are read: "
                "lower it, or raise proxy_epochs"
            )
        for name, value, least in (("seeds", seeds, 1), ("strata", strata, 0)):
            if value < least:
                raise InputError(f"sampler option {name}={value} must be at least {least}")
        if not 0 <= hardest < 1:
            raise InputError(f"sampler option hardest={hardest!r} must be a share of at least 0 and below 1")
        if beta is not None and (strata or not beta > 0):
            raise InputError(f"sampler option beta={beta!r} must be above 0, and draws by itself: leave strata out")
        self.by, self.keep, self.proxy, self.proxy_epochs, self.control = by, keep, proxy, proxy_epochs, control
        self.read, self.seeds, self.beta, self.strata, self.hardest = read, seeds, beta, strata, hardest
        options = {"window": window} if by in WINDOWED else {"logits": True} if logits else {}
        self.score: Callable[..., Tensor] | None = None if by == "random" else partial(SCORES[by], **options)
        self.needs_labels = by != "random"

    def check(self, *, budget: float, unit: str, epochs: int, batch_size: int) -> None:
        if unit == "seconds" and self.keep is None:
            raise InputError(f"sampler='subset' with budget={budget:g} seconds has no share to keep: set keep=")

    def bind(self, *, label: Tensor, budget: Budget, epochs: int, batch_size: int, seed: int) -> None:
        super().bind(label=label, budget=budget, epochs=epochs, batch_size=batch_size, seed=seed)
        keep = budget.amount if self.keep is None else self.keep
        self.count = round(keep * self.n)
        if self.count == 0:
            raise InputError(f"sampler option keep={keep:g} of {self.n} examples keeps none: raise it")
        self.dropped = 0 if self.count == self.n else round(self.hardest * self.n)
        if self.dropped + self.count > self.n:
            raise InputError(
                f"sampler option hardest={self.hardest:g} leaves {self.n - self.dropped} of {self.n} examples, fewer "
                f"than keep={keep:g}: lower one of them"
            )
        if self.strata > self.count:
            raise InputError(
                f"sampler option strata={self.strata} is more than the {self.count} examples kept, so that some strata "
                f"would have no member: set it to at most {self.count}"
            )
        self.kept = torch.zeros(self.n, device=self.device)

    def prepare(self, proxy: Proxy) -> None:
        if self.count == self.n:
            return
        shuffled = permutation(self.seed, Stream.TIES, 0, self.n).to(self.device)
        chosen = shuffled[: self.count] if self.score is None else self.coreset(proxy, shuffled)
        self.kept.zero_()[chosen] = 1

    def coreset(self, proxy: Proxy, shuffled: Tensor) -> Tensor:
        """(count,) int64: the examples kept. shuffled (N,) int64: a random order of them."""
        assert self.score is not None
        runs = [self.asked(proxy, number) for number in range(self.seeds)]
        score = torch.stack([self.score(run, self.count) for run in runs]).mean(0)
        if self.beta is not None:
            density = beta_density(runs[0].prob, score, 1 - self.count / self.n, self.beta)
            score = (score * density).clamp(min=1e-300)
        score = self.permuted(score)
        if self.dropped:
            wrong = torch.zeros(self.n, dtype=torch.bool, device=self.device)
            wrong[ranking(self.permuted(aum(runs[0], self.count)), shuffled)[: self.dropped]] = True
            shuffled = shuffled[~wrong[shuffled]]
        if self.strata:
            return shuffled[stratified(score[shuffled], self.strata, self.count)]
        if self.beta is not None:
            draws = uniform_all(self.seed, Stream.CHOICE, 0, self.n, self.device)
            return shuffled[successive(score[shuffled], self.count, draws[shuffled])]
        return ranking(score, shuffled)[: self.count]

    def asked(self, proxy: Proxy, number: int) -> ProxyRun:
        everyone = torch.arange(self.n, device=self.device)
        return proxy(self.proxy, self.proxy_epochs, everyone, None, number).first(self.read)

    def permuted(self, score: Tensor) -> Tensor:
        """The scores, of the control in another order, the same for all."""
        return permuted(score, self.seed, 0) if self.control else score

    def plan(self, t: float, epoch: int, size: int) -> Tensor | None:
        if self.count == self.n:
            return None
        if self.by != "random":
            self.tell(1 - self.count / self.n)
        return self.kept
