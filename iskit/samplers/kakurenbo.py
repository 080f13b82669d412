r"""Hides the examples of lowest loss, unless they are wrong or unsure, and steps further for it.

cite: Nguyen et al. 2023, "KAKURENBO: Adaptively Hiding Samples in Deep Neural Network Training"
changes: which examples, once an epoch, and the learning rate
passes: one forward a hidden example and epoch
rule: each epoch the F N examples of lowest last loss are hidden, but those that were predicted wrong or with a highest
  probability below `confidence`; F = hide x (1, .8, .6, .4), the next from .3, .6, .8 of the run on. The learning rate
  is divided by 1 - the share really hidden, which InfoBatch's published weights do in silence. No other weights. Under
  mixing loss and prediction are those of the mixed row, kept under its own example and class
formula: \text{hide the } F N \text{ lowest } \ell_i \text{ that are right and sure}, \quad \eta' = \frac{\eta}{1 -
  \text{share hidden}}
when: a part of the data is surely known, and forward passes over it can be paid for
differs: hidden examples are scored at their place in the epoch's order, not after it, and in eval mode; in the official
  code in train mode, so that batch norm's statistics move. official=True: as there the confidence is a softmax over the
  rows of the batch, not over the classes, and the learning rate is divided by 1 - F, whatever is hidden
neutral: hide=0
"""

from collections.abc import Callable

import torch
from torch import Tensor

from iskit.budget import Budget
from iskit.errors import InputError
from iskit.randomness import Stream, permutation
from iskit.samplers.base import Batch, samplers
from iskit.samplers.draw import permuted, ranking
from iskit.samplers.left_out import LeftOut

FALLS = ((0.8, 0.4), (0.6, 0.6), (0.3, 0.8), (0.0, 1.0))  # from which t on, the factor of `hide`


@samplers.register("kakurenbo")
class Kakurenbo(LeftOut):
    """hide: share of the examples that may be hidden, at first; confidence: below which an example moves back;
    official: confidence and learning rate as published; control: permute losses and predictions among the examples."""

    def __init__(self, *, hide: float = 0.3, confidence: float = 0.7, official: bool = False, control: bool = False):
        if not 0 <= hide < 1:
            raise InputError(f"sampler option hide={hide!r} must be a share of at least 0 and below 1")
        if not 0 <= confidence < 1:
            raise InputError(
                f"sampler option confidence={confidence!r} must be at least 0 and below 1, which keeps all examples"
            )
        self.hide, self.confidence, self.official, self.control = hide, confidence, official, control

    def bind(self, *, label: Tensor, budget: Budget, epochs: int, batch_size: int, seed: int) -> None:
        super().bind(label=label, budget=budget, epochs=epochs, batch_size=batch_size, seed=seed)
        self.loss = torch.full((self.n,), torch.inf, device=self.device)
        self.sure = torch.zeros(self.n, dtype=torch.bool, device=self.device)  # right, and confident
        self.further = torch.ones((), dtype=torch.float64)  # factor of the learning rate; on the host

    def plan(self, t: float, epoch: int, size: int) -> Tensor | None:
        share = self.hide * next(factor for start, factor in FALLS if t >= start)
        loss, sure = self.loss, self.sure
        if self.control:
            loss, sure = permuted(loss, self.seed, epoch), permuted(sure, self.seed, epoch)
        shuffled = permutation(self.seed, Stream.TIES, epoch, self.n).to(self.device)
        lowest = torch.zeros(self.n, dtype=torch.bool, device=self.device)
        lowest[ranking(-loss, shuffled)[: round(share * self.n)]] = True
        weight = self.leave_out(epoch, lowest & sure)
        hidden = float(self.share[epoch % 2])
        if self.official:
            hidden = share if epoch else 0.0
        self.further.fill_(1 / (1 - hidden))
        return weight

    def rate(self, t: float, schedule: Callable[[float], float]) -> float:
        return schedule(t) * float(self.further)

    def learn(self, rows: Batch, logits: Tensor, loss: Tensor) -> None:
        confidence = logits.float().softmax(0 if self.official else 1).amax(1)
        self.loss[rows.index] = loss.float()
        self.sure[rows.index] = (logits.argmax(1) == rows.label) & (confidence >= self.confidence)
