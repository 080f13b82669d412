r"""Learns from the q largest losses of each batch only, and from fewer as training goes well.

cite: Kawaguchi & Lu 2020, "Ordered SGD: A New Stochastic Optimization Framework for Empirical Risk Minimization"
changes: which rows of the batch, once a backward pass
passes: none extra, none saved: all b rows go forward and backward, and are charged
rule: loss = mean of the q largest of the batch; q = b, then b/2, b/4, b/8, b/16 once the training accuracy of the
  previous epoch has reached 80, 90, 95, 99.5 %; q never grows back
formula: L = \frac{1}{q} \sum_{i \in \text{top-}q} \ell_i, \quad q = b, \frac{b}{2}, \frac{b}{4}, \frac{b}{8},
  \frac{b}{16}
when: the worst-off rows matter most, as rare classes may; it saves no passes
differs: from the official code: the accuracy is the epoch's running one, against a mixed row's heaviest class, not of
  an extra pass; the learning rate is not cut at 99.5 %: the official code does so for plain SGD too, so that cut is a
  matter of the schedule, not of the method
neutral: ladder=()
"""

import torch
from torch import Tensor

from iskit.budget import Budget
from iskit.errors import InputError
from iskit.samplers.base import Outcome, Sampler, samplers
from iskit.samplers.draw import permuted


@samplers.register("ordered", "OSGD")
class Ordered(Sampler):
    """ladder: training accuracies in percent, rising, at each of which q is halved;
    control: permute the losses among the rows before ranking them."""

    needs_labels = True

    def __init__(self, *, ladder: tuple = (80, 90, 95, 99.5), control: bool = False):
        if not all(isinstance(step, int | float) and 0 < step <= 100 for step in ladder) or list(ladder) != sorted(
            ladder
        ):
            raise InputError(f"sampler option ladder={ladder!r} must hold rising percentages above 0 and up to 100")
        self.ladder, self.control = ladder, control

    def bind(self, *, label: Tensor, budget: Budget, epochs: int, batch_size: int, seed: int) -> None:
        super().bind(label=label, budget=budget, epochs=epochs, batch_size=batch_size, seed=seed)
        self.halvings = torch.zeros((), dtype=torch.int64)  # of q; stays on the host, as does the number of steps
        self.steps = torch.zeros((), dtype=torch.int64)
        self.hits = torch.zeros((), dtype=torch.int64, device=self.device)  # since the last epoch began
        self.rows = torch.zeros((), dtype=torch.int64)

    def plan(self, t: float, epoch: int, size: int) -> None:
        accuracy = 100 * int(self.hits) / max(int(self.rows), 1)
        self.halvings.clamp_(min=sum(accuracy >= step for step in self.ladder))
        self.hits.zero_()
        self.rows.zero_()

    def reduce(self, loss: Tensor, weight: Tensor) -> Tensor:
        q = max(1, len(loss) >> int(self.halvings))
        if q == len(loss):
            return super().reduce(loss, weight)
        self.tell(1 - q / len(loss))
        rank = permuted(loss.detach(), self.seed, int(self.steps)) if self.control else loss.detach()
        rows = rank.topk(q).indices
        return super().reduce(loss[rows], weight[rows])  # the mean over q: divided by b, the step would shrink

    def frozen(self) -> int | None:
        return None if self.control else int(self.halvings)  # the control's order is new at each step

    def numbers(self) -> dict[str, Tensor | float]:
        return {"q": max(1, self.batch_size >> int(self.halvings))}

    def update(self, outcome: Outcome) -> None:
        self.hits += (outcome.logits.argmax(1) == outcome.batch.target.argmax(1)).sum()
        self.rows += len(outcome.batch)
        self.steps += 1
