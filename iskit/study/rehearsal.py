"""What runs cost of which none is trained yet: the network's passes are timed, the sampler's counted as it takes them.

Some steps are rehearsed with the smallest network in place of the run's own. They show how many passes the sampler
takes for its budget, and what all but the network costs: choosing, augmentation, bookkeeping. The network's own passes
are timed once a kind of run, for that is what takes long.
"""

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from iskit import files
from iskit.data import Dataset
from iskit.models import models
from iskit.runs.experiment import Experiment
from iskit.runs.machine import kind
from iskit.runs.parts import build, choose, load, parts
from iskit.runs.run import Run
from iskit.samplers import ProxyRun
from iskit.training import probe
from iskit.training.evaluation import EVAL_BATCH
from iskit.training.sample import SIZE
from iskit.training.scorer import logits

LONG = 10_000  # epochs of a rehearsal: it is never at its end
TINY = 1e-6  # learning rate: what diverges in its run must not do so here
ENOUGH = 0.05  # seconds of one thread that a rehearsal takes, at least one step
FOLDER = 0.05  # seconds of a run for its files and its way to a worker


@dataclass(frozen=True)
class Passes:
    """Seconds of one thread for an example: a training step, a forward pass alone."""

    step: float
    forward: float


@dataclass(frozen=True)
class Way:
    """What a sampler and its augmentation take of a run, for a unit of budget x epochs: seconds beside the network,
    forward and backward passes; asked: what is prepared before: proxy model, epochs, examples, forward passes."""

    beside: float
    forward: float
    backward: float
    asked: tuple[tuple[str, int, int, int], ...]


class Rehearsal:
    """Forecasts runs of which nothing is known; keeps what it measured, for whoever asks again."""

    def __init__(self) -> None:
        self.passes: dict[str, Passes] = {}
        self.ways: dict[tuple[str, ...], Way] = {}

    def seconds(self, e: Experiment, prepared: set[tuple]) -> float | None:
        """Of the whole run on one CPU thread; None on a GPU, where a run must compile before its speed shows.

        prepared: what earlier runs have left for others, such as proxy models; gets what this one leaves.
        """
        if parts(e).device.type == "cuda":
            return None
        data = load(e.dataset, files.root() / e.data_dir, e.validation, torch.device("cpu"), e.seed)
        network, way = self._passes(e, e.model, data), self._way(e, data)
        evaluated = e.evals * (len(data.test_label) + min(SIZE, len(data)))
        whole = FOLDER + evaluated * network.forward
        if e.unit == "seconds":
            whole += e.budget
        else:
            per = way.beside + way.forward * network.forward + way.backward * network.step
            whole += per * e.budget * e.epochs
        key = (way.asked, kind(replace(e, model="logistic")), e.validation, e.seed)
        for model, epochs, examples, answers in () if key in prepared else way.asked:
            proxy = self._passes(e, model, data)
            whole += epochs * examples * proxy.step + answers * proxy.forward
        prepared.add(key)
        return whole

    def _passes(self, e: Experiment, model: str, data: Dataset) -> Passes:
        e = replace(e, model=model)
        name = kind(e)
        if name not in self.passes:
            network = build(e, data)
            precision = choose(e, network, data).precision
            rows = min(e.batch_size, probe.ROWS)
            step = probe.Step(network, (data.channels, data.size, data.size), rows)
            answers = min(EVAL_BATCH, len(data.test_label))
            self.passes[name] = Passes(
                probe.timed(step, [precision])[precision] / rows,
                probe.timed(_forward(network, data, answers), [precision])[precision] / answers,
            )
        return self.passes[name]

    def _way(self, e: Experiment, data: Dataset) -> Way:
        name = (kind(e), e.unit, e.sampler, e.augment, str(e.validation))
        if name not in self.ways:
            self.ways[name] = _rehearsed(e, data)
        return self.ways[name]


def _forward(network: nn.Module, data: Dataset, rows: int) -> Callable[[str], None]:
    network, image = copy.deepcopy(network), data.normalise(data.test_image[:rows])

    def forward(precision: str) -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16", cache_enabled=False):
            logits(network, image)

    return forward


def _rehearsed(e: Experiment, data: Dataset) -> Way:
    small = replace(e, model="logistic", epochs=LONG, evals=1, schedule="constant", keep_model=False)
    small = replace(small, optimizer="sgd", lr=TINY)
    trainer = Run(small).bind(torch.device("cpu"))
    trainer.proxy = asked = Asked(data)
    meter, before = trainer.meter, torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        steps = iter(trainer)
        next(steps)  # prepares and allocates
        forward, backward, start, spent = meter.forward_only, meter.backward, time.thread_time(), 0.0
        while spent < ENOUGH and next(steps, None) is not None:
            spent = time.thread_time() - start
    finally:
        torch.set_num_threads(before)
    backward = meter.backward - backward
    trained = backward if e.unit == "backward" else (meter.forward_only - forward) / 3 + backward
    full = len(data) / trained  # of these steps make a unit of budget x epochs
    return Way(spent * full, (meter.forward_only - forward) * full, backward * full, tuple(asked.of))


class Asked:
    """A `Proxy` that trains nothing: it notes what it is asked `of`."""

    def __init__(self, data: Dataset):
        self.data = data
        self.of: list[tuple[str, int, int, int]] = []

    @property
    def origin(self) -> Tensor:
        return self.data.origin

    def __call__(self, model: str, epochs: int, train: Tensor, held: Tensor | None = None, number: int = 0) -> ProxyRun:
        rows = len(train if held is None else held)
        self.of.append((models.canonical(model), epochs, len(train), rows * (1 if held is None else epochs)))
        draws = torch.Generator().manual_seed(number)  # of scores that all tie no core-set is chosen
        answer = torch.rand(rows, len(self.data.classes), generator=draws)
        traces = [torch.rand(epochs, len(train), generator=draws) for _ in range(6)]
        return ProxyRun(traces[0] < 0.5, answer[:, 0], answer, answer, *traces[1:])
