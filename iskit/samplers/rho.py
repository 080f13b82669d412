r"""Trains what is not yet learnt but can be: the highest loss above that of a model that never trained the example.

cite: Mindermann et al. 2022, "Prioritized Training on Points that are Learnable, Worth Learning, and Not Yet Learnt"
changes: which of a pool of candidates, once a step
passes: presample forward passes for each example trained; the small models' stand in the meter's own line
rule: of presample x b uniform candidates the b of the highest loss_i - irreducible_i, plain mean: biased on purpose;
  irreducible_i: cross-entropy of i without augmentation under a small model trained on other examples, at the epoch
  of its lowest held-out loss. Under mixing loss_i is that of the mixed row, irreducible_i that of the row's own image
formula: \text{train the } b \text{ largest of } \ell_i - \ell_i^{\text{irreducible}} \text{ among } n =
  \text{presample} \cdot b
when: labels are wrong or examples hopeless, and small models can be trained beforehand
differs: two small models, each for the half (odd, even) that it did not train, so that the run keeps all examples;
  official=True: one model trained on the odd examples, the run on the even ones alone
neutral: presample=1
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from iskit.budget import Budget
from iskit.errors import InputError
from iskit.models import models
from iskit.samplers.base import Batch, Proxy, Sampler, Score, samplers
from iskit.samplers.draw import permuted


@samplers.register("rho", "rho-loss")
class Rho(Sampler):
    """presample: candidates for each example trained; proxy: the small model; proxy_epochs: how long it is trained;
    official: the published split; control: permute the scores among the candidates."""

    needs_labels = True

    def __init__(
        self,
        *,
        presample: int = 10,
        proxy: str = "resnet8",
        proxy_epochs: int = 10,
        official: bool = False,
        control: bool = False,
    ):
        for name, value in {"presample": presample, "proxy_epochs": proxy_epochs}.items():
            if value < 1:
                raise InputError(f"sampler option {name}={value} must be at least 1")
        models.parse(proxy)
        self.presample, self.proxy, self.proxy_epochs = presample, proxy, proxy_epochs
        self.official, self.control = official, control

    def bind(self, *, label: Tensor, budget: Budget, epochs: int, batch_size: int, seed: int) -> None:
        super().bind(label=label, budget=budget, epochs=epochs, batch_size=batch_size, seed=seed)
        trained = (self.n + 1) // 2 if self.official else self.n
        if self.candidates() > trained:
            raise InputError(
                f"sampler option presample={self.presample} x batch_size={batch_size} is more than the {trained} "
                f"examples to choose from: set presample to at most {trained // batch_size}"
            )
        self.irreducible = torch.zeros(self.n, device=self.device)
        self.half = torch.arange(self.n, device=self.device) % 2
        self.pools = torch.zeros((), dtype=torch.int64)  # seen so far; kept on the host, where it is read

    def prepare(self, proxy: Proxy) -> None:
        self.half.copy_(proxy.origin % 2)  # a copy stays with its original: neither model has seen what it scores
        if self.presample == 1:
            return
        even, odd = ((self.half == side).nonzero().squeeze(1) for side in (0, 1))
        for held, train in ((even, odd),) if self.official else ((even, odd), (odd, even)):
            self.irreducible[held] = proxy(self.proxy, self.proxy_epochs, train, held).loss

    def plan(self, t: float, epoch: int, size: int) -> Tensor | None:
        return (self.half == 0).float() if self.official else None

    def candidates(self) -> int:
        return self.presample * self.batch_size

    def select(self, pool: Batch, score: Score) -> tuple[Tensor, Tensor] | None:
        if self.presample == 1:
            return None
        loss = F.cross_entropy(score(pool), pool.target, reduction="none")
        reducible = loss - self.irreducible[pool.index]
        if self.control:
            reducible = permuted(reducible, self.seed, int(self.pools))
        self.pools += 1
        self.tell(1 - self.batch_size / len(pool))
        rows = reducible.topk(self.batch_size).indices
        return rows, pool.weight[rows]
