"""Trainers as the check of a GPU runs them: compiled once, begun anew for each, timed, compared with the eager loop."""

import copy
import itertools
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor

from iskit.augment import Pipeline
from iskit.data import Dataset
from iskit.models import models
from iskit.samplers import Sampler, samplers
from iskit.training import graphs
from iskit.training.evaluation import measure
from iskit.training.feed import GPU_CHUNK
from iskit.training.graphs import Steps, compiled
from iskit.training.numerics import numerics
from iskit.training.schedules import linear
from iskit.training.trainer import Trainer

BUDGET = 0.3


class NotCaptured(Exception):
    """Steps ran one by one, so that nothing is shown of graphs."""


class First(NamedTuple):
    """The process's first trainer, why it does not capture or compile; seconds of a step, and of an evaluation."""

    trainer: Trainer
    reason: str
    step: float
    evaluation: float


class Laboratory:
    """Trainers of one model, compiled once, begun anew for each, on images of CIFAR-10's shape.

    steps: in a measurement; epochs: of the full run; settle: steps before, which capture and choose algorithms.
    """

    def __init__(
        self, examples: int, model: str, batch_size: int, steps: int, epochs: int, settle: int, device: torch.device
    ):
        random = torch.Generator().manual_seed(0)
        label = torch.randint(10, (examples + examples // 5,), generator=random)
        image = torch.randint(156, (len(label), 32, 32, 3), generator=random) + 11 * label.view(-1, 1, 1, 1)
        parts = image.byte().split(examples), label.split(examples)  # brighter, the higher its class: to be learnt
        (train, test), (train_label, test_label) = parts
        grey, spread = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
        data = Dataset(train, train_label, test, test_label, mean=grey, std=spread, classes=tuple("0123456789"))
        self.data, self.batch_size, self.device = data.to(device), batch_size, device
        self.steps, self.epochs, self.settle = steps, epochs, settle
        self.model = models.create(model, 10, 3, 32).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.start = copy.deepcopy(self.model.state_dict())

    def trainer(self, sampler: str = "unif", augment: str = "standard", **settings: Any) -> Trainer:
        self.model.load_state_dict(self.start)
        settings = {"budget": BUDGET, "epochs": self.epochs, "evals": 1, "lr": 0.05, "schedule": linear, **settings}
        return Trainer(
            self.model,
            self.data,
            samplers.create(sampler),
            Pipeline.parse(augment),
            batch_size=self.batch_size,
            **settings,
        )

    def budget(self, steps: int) -> float:
        return steps * self.batch_size / (self.epochs * len(self.data))

    @cached_property
    def first(self) -> First:
        trainer = self.trainer()
        graphs._say.cache_clear()  # it says a reason once a process
        with warnings.catch_warnings(record=True) as said, numerics(self.device, trainer.deterministic):
            warnings.simplefilter("always")
            advance(iter(trainer), self.settle)
            measure(trainer.logits, self.data)
        reasons = [str(warning.message) for warning in said if str(warning.message).startswith("steps ")]
        step = self.seconds(trainer)
        with numerics(self.device, trainer.deterministic):
            start = self.now()
            measure(trainer.logits, self.data)
            evaluation = self.now() - start
        trainer.watch.settle()
        return First(trainer, "; ".join(reasons), step, evaluation)

    @property
    def base(self) -> float:
        """Seconds of a plain step, captured."""
        need(self.first.trainer.learn)
        return self.first.step

    def seconds(self, trainer: Trainer) -> float:
        """Of a step, as trained, everything but warm-up and evaluation; once it scores candidates if it is to."""
        run = iter(trainer)
        advance(run, self.settle)
        if type(trainer.sampler).select is not Sampler.select:
            while trainer.meter.forward_only == 0:
                next(run)
            advance(run, self.settle)
        before = copy.deepcopy(trainer.meter)
        start = self.now()
        advance(run, self.steps)
        found = self.now() - start
        trainer.meter.forward_only -= before.forward_only  # what is charged is what was timed
        trainer.meter.forward -= before.forward
        trainer.meter.backward -= before.backward
        return found / self.steps

    def augmented(self, augment: str, image: Tensor, epoch: int) -> list[Tensor]:
        """uint8 images after an epoch's augmentation, on the device they are on, in the chunks of training."""
        pipeline = Pipeline.parse(augment)
        pipeline.bind(seed=1, pad=self.data.pad, flip=self.data.flip)
        index = torch.arange(len(image), device=image.device)
        chunks = index.split(-(-GPU_CHUNK // image[0].numel()))
        return [pipeline.image(image.index_select(0, chunk), chunk, epoch) for chunk in chunks]

    def now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()


def captured(steps: Steps) -> bool:
    return steps.record is not None and bool(steps.graphs)


def need(steps: Steps) -> None:
    if not captured(steps):
        raise NotCaptured


def compare(trainer: Trainer) -> list[float]:
    """Has every further step taken eagerly too, from the same state, and undone. The list is to hold how far the
    graph's loss is from the eager one, and the batch's loss after the update, of which the step's own knows nothing."""
    steps = trainer.learn
    found: list[float] = []

    def step(*inputs: Tensor, **settings: Any) -> tuple[Tensor, ...]:
        def losses(count: int) -> list[float]:
            with steps.undone():
                return [steps.plain(*inputs)[1].mean().item() for _ in range(count)]

        eager = losses(2)
        logits, loss = steps(*inputs, **settings)
        # Relative, but of a tiny loss even rounding is a large part.
        pairs = zip([loss.mean().item(), *losses(1)], eager, strict=True)
        found.extend(abs(one - other) / max(other, 0.1) for one, other in pairs)
        return logits, loss

    trainer.learn = step  # type: ignore[assignment]
    return found


def finish(run: Trainer) -> None:
    for _ in run:
        pass


def advance(run: Iterator[float], steps: int) -> None:
    for _ in itertools.islice(run, steps):
        pass


@contextmanager
def layout() -> Iterator[None]:
    """Compiles with convolutions' layout forced to channels-last, backward too."""
    import torch._inductor.config as inductor

    torch._dynamo.reset()
    compiled.cache_clear()
    try:
        with inductor.patch(force_layout_optimization=True):
            yield
    finally:
        torch._dynamo.reset()
        compiled.cache_clear()
