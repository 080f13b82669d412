"""What every sampler is: plain SGD, plus the few hooks a method overrides.

Importance sampling is nothing but weights, and there are three places to put them: over the training set once
an epoch (`plan`), over candidates once a step (`select`), over the batch once a backward pass (`reduce`).
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import Tensor

from iskit.budget import Budget, Volume
from iskit.registry import Registry


@dataclass
class Batch:
    """Examples as augmented and mixed, row by row.

    index (b,) int64: which training examples; epoch (b,) int64: in which walk; label (b,) int64: their own true
    classes; image (b, C, H, W): normalised; target (b, K): soft rows, mixed as the image is; weight (b,): how
    much each row counts in the loss.
    Of mixed rows, for a sampler that needs them: parts (b, k, K), the targets that were mixed, and share (b, k), how
    much of each.
    """

    index: Tensor
    epoch: Tensor
    label: Tensor
    image: Tensor
    target: Tensor
    weight: Tensor
    parts: Tensor | None = None
    share: Tensor | None = None

    def __len__(self) -> int:
        return len(self.index)

    def take(self, rows: Tensor | slice) -> "Batch":
        return Batch(**{name: column[rows] for name, column in self.columns().items()})

    def columns(self) -> dict[str, Tensor]:
        """What there is of the fields, by name."""
        return {name: column for name, column in vars(self).items() if column is not None}

    @staticmethod
    def cat(batches: list["Batch"]) -> "Batch":
        if len(batches) == 1:
            return batches[0]
        names = batches[0].columns()
        return Batch(**{name: torch.cat([getattr(batch, name) for batch in batches]) for name in names})


@dataclass
class Outcome:
    """What a training step showed of its rows: logits (b, K) and per-example loss (b,), without gradient.

    Under mixing a row reports under its own index and label, though other images shine through.
    """

    batch: Batch
    logits: Tensor
    loss: Tensor

    @cached_property
    def prob(self) -> Tensor:
        """(b,) float32: predicted probability of the row's own true class."""
        return self.logits.float().softmax(1).gather(1, self.batch.label[:, None]).squeeze(1)


class Score(Protocol):
    """What a sampler may ask about (a part of) a pool: in eval mode, without a trace in the model, for a charge."""

    def __call__(self, pool: Batch) -> Tensor:
        """Logits (m, K)."""

    def feature(self, pool: Batch) -> tuple[Tensor, Tensor]:
        """Logits (m, K), and what the last linear layer is given, (m, D); for the same price."""

    def gradient_norm(self, pool: Batch) -> Tensor:
        """(m,): norm of each row's own gradient; three times the price, for small models."""


@dataclass
class ProxyRun:
    """What a small model showed that was trained before the run.

    correct (epochs, m) bool: whether it got each of the m examples it trained right, as it trained them;
    loss (k,), logits (k, K), feature (k, D) float32: of the k examples it was asked about, as they are, without
    augmentation; loss is the cross-entropy, feature what the last linear layer is given.
    Of each epoch and example, as it trained them, (epochs, m) float32, p the probabilities and y the true class:
    prob p_y; margin and logit_margin: p_y less the highest other one, and so of the logits; error ||p - one_hot(y)||_2;
    change: sum over classes |p (log p - log p')|, p' the example's of the epoch before, 0 in the first.
    """

    correct: Tensor
    loss: Tensor
    logits: Tensor
    feature: Tensor
    prob: Tensor
    margin: Tensor
    logit_margin: Tensor
    error: Tensor
    change: Tensor

    def first(self, epochs: int) -> "ProxyRun":
        """The same run as it had trained for so many epochs; loss, logits and feature stay those of its end."""
        traces = ("correct", "prob", "margin", "logit_margin", "error", "change")
        return replace(self, **{name: getattr(self, name)[:epochs] for name in traces})


class Proxy(Protocol):
    """Trains a small model for `epochs` on the examples `train` (m,), and counts its cost apart from the budget.

    origin (N,) int64: a number that an example shares with its copies, consecutive from 0.
    It is asked about the examples `held` (k,), at the epoch of their lowest mean loss, or else at its end about those
    it trained. number: of the model, each trained from a seed of its own.
    """

    @property
    def origin(self) -> Tensor: ...

    def __call__(
        self, model: str, epochs: int, train: Tensor, held: Tensor | None = None, number: int = 0
    ) -> ProxyRun: ...


class Sampler:
    """Plain SGD: every example once an epoch, every batch as it comes, the mean of the losses.

    A method overrides only what it changes. Attributes that are tensors are its state and go into checkpoints;
    they are made in `bind` and changed in place.
    """

    needs_labels = False  # True if a hook reads labels, targets or probabilities: then data without classes is refused
    epochs_apart = False  # True if examples of two epochs are not to be mixed with each other
    whole_batches = True  # False if a step may train fewer than batch_size: their number is not known beforehand
    price = 1  # forward passes that scoring a candidate costs, if `select` scores any
    needs_parts = False  # True if `finish` reads what mixed rows are made of: then batches carry their parts
    volume: Volume = "constant"  # how `size` goes over the epochs; of those that heed it, an option
    told: tuple[Tensor | float, ...] = ()  # in a tuple: what is told is no state
    n: int
    label: Tensor
    budget: Budget

    def check(self, *, budget: float, unit: str, epochs: int, batch_size: int) -> None:
        """Raises InputError for settings that cannot work; called before any data is loaded."""

    def bind(self, *, label: Tensor, budget: Budget, epochs: int, batch_size: int, seed: int) -> None:
        """Meets the training set: label (N,) int64 on the device that the state should live on.

        In a user's own loop labels are -1 if they are not known before the examples are read.
        """
        self.n = len(label)
        self.device = label.device
        self.budget = budget
        self.epochs = epochs
        self.batch_size = batch_size
        self.seed = seed

    def prepare(self, proxy: Proxy) -> None:
        """Once, before the first step of a fresh run (a resumed one has its results among the state)."""

    def plan(self, t: float, epoch: int, size: int) -> Tensor | None:
        """Once an epoch, at progress t: weights (N,) of the examples, 0 leaves one out; None takes all as they are.

        size: how many examples this epoch may train if the budget is to last for all epochs.
        """
        return None

    def trained_before(self, epoch: int) -> int:
        """How many of the walks before this one train; the others only score."""
        return epoch

    def candidates(self) -> int:
        """How many augmented candidates the next `select` wants to see."""
        return self.batch_size

    def size(self, waiting: int) -> int:
        """How many rows the next step trains, at least 1; kept ones, now `waiting`, wait until there are so many."""
        return self.batch_size

    def select(self, pool: Batch, score: Score) -> tuple[Tensor, Tensor] | None:
        """Once a step: the rows of the pool to train and their weights; None takes the pool as it is.

        score: gives the model's logits (m, K) for (a part of) the pool, and charges for it.
        """
        return None

    def finish(self, batch: Batch) -> Batch:
        """Once a step: the full batch, about to be trained."""
        return batch

    def rate(self, t: float, schedule: Callable[[float], float]) -> float:
        """Once a step, for the batch about to be trained, at progress t: the factor of the highest learning rate.

        schedule: gives it for a share of the run in [0, 1]. A method with a clock of its own asks it for another share
        than t, one that steps further or less far multiplies what it says.
        """
        return schedule(t)

    def reduce(self, loss: Tensor, weight: Tensor) -> Tensor:
        """Once a backward pass: (b,) losses and weights -> the scalar to minimise."""
        return (loss * weight).mean()

    def frozen(self) -> Hashable | None:
        """What `reduce` takes from the host at this step: a CUDA graph of the step is captured anew for each value.

        None keeps the step from being captured, as is safe for a `reduce` that does not say what it takes.
        """
        return () if type(self).reduce is Sampler.reduce else None

    def update(self, outcome: Outcome) -> None:
        """After a step: what was learnt about the rows just trained."""

    def tell(self, acted: Tensor | float) -> None:
        """Called within `plan`, `select` or `reduce`: how far the choice made there is from a uniform one.

        acted: the probabilities q (m,), before drawing, with which the m rows on offer are chosen, given their scores,
        to any scale, in a tensor that is not changed later; what counts is 1/2 sum |q_i - 1/m|, in [0, 1]. Or that
        number itself: 1 - k / m if the scores alone choose k of m; of `reduce`, always.
        Who does not tell chooses uniformly. On a device nothing may wait for it.
        """
        self.told = (acted,)

    def heard(self) -> Tensor | float | None:
        """What was told since this was asked last; None for nothing."""
        told, self.told = self.told, ()
        return told[0] if told else None

    def numbers(self) -> dict[str, Tensor | float]:
        """What the method steers by, one number a name, for the history; asked once an evaluation."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if isinstance(value, Tensor)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for key, value in state.items():
            getattr(self, key).copy_(value)


samplers: Registry[Sampler] = Registry("sampler", base=Sampler)
