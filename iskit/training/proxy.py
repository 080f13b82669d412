"""Small models trained before the run, for methods that must know something of the training set beforehand.

Their passes are counted in the meter's own line and are no part of the budget. Each is trained once for a data set,
its settings and a seed, and kept on disk.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from iskit.augment import Pipeline
from iskit.budget import Meter
from iskit.data import Dataset
from iskit.data.cache import cached, digest
from iskit.models import models
from iskit.randomness import Stream, generator, permutation
from iskit.samplers import ProxyRun
from iskit.training.scorer import penultimate

VERSION = 2  # of the recipe and what is kept of it part of the cache's key
LR, MOMENTUM, WEIGHT_DECAY = 0.1, 0.9, 5e-4  # SGD, the rate falling to 0 in a straight line
EVAL_BATCH = 2000
EPS = 1e-8  # in a logarithm: a probability may be 0 in float32


def seed_of(seed: int, number: int) -> int:
    """A proxy's own: it shares neither first weights nor shuffles nor crops with the run, nor with another proxy."""
    return int(generator(seed, Stream.PROXY, number).integers(2**32))


class Trace:
    """What `ProxyRun` tells of each epoch, (epochs, n) a name in `kept`: never (epochs, n, classes)."""

    def __init__(self, epochs: int, n: int, classes: int, device: torch.device):
        numbers = ("prob", "margin", "logit_margin", "error", "change")
        self.kept = {name: torch.zeros(epochs, n, device=device) for name in numbers}
        self.kept["correct"] = torch.zeros(epochs, n, dtype=torch.bool, device=device)
        self.last = torch.zeros(n, classes, device=device)  # the probabilities of the epoch before

    def see(self, epoch: int, rows: Tensor, logits: Tensor, label: Tensor) -> None:
        """The logits (b, K) with which the rows (b,) of these classes were trained."""
        logits = logits.float()
        p, own = logits.softmax(1), label[:, None]
        prob = p.gather(1, own).squeeze(1)
        kept = {
            "correct": logits.argmax(1) == label,
            "prob": prob,
            "margin": prob - p.scatter(1, own, -torch.inf).amax(1),
            "logit_margin": logits.gather(1, own).squeeze(1) - logits.scatter(1, own, -torch.inf).amax(1),
            "error": (p - F.one_hot(label, p.shape[1])).norm(dim=1),
        }
        if epoch:
            kept["change"] = (p * ((p + EPS).log() - (self.last[rows] + EPS).log())).abs().sum(1)
        self.last[rows] = p
        for name, value in kept.items():
            self.kept[name][epoch, rows] = value


class ProxyTrainer:
    """The `Proxy` that samplers are handed: standard augmentation, float32, the run's batch size.

    data: on the device to train on. meter: gets the cost, also if the result comes from the cache: then what it cost
    when it was made. cache: folder, None to train anew each time. clock: seconds on the host.
    """

    def __init__(
        self,
        data: Dataset,
        meter: Meter,
        *,
        batch_size: int,
        seed: int,
        cache: Path | None,
        clock: Callable[[], float],
    ):
        self.data, self.meter, self.batch_size, self.cache, self.clock = data, meter, batch_size, cache, clock
        self.given_seed = seed

    def __call__(self, model: str, epochs: int, train: Tensor, held: Tensor | None = None, number: int = 0) -> ProxyRun:
        """Raises RuntimeError if the proxy's loss stops being a number."""
        made = False
        self.seed = seed_of(self.given_seed, number)

        def make() -> dict[str, np.ndarray]:
            nonlocal made
            made = True
            with self._own_random():
                return self._train(model, epochs, train, held)

        if self.cache is None:
            arrays = make()
        else:
            rows = {"train": train.cpu().numpy()} | ({} if held is None else {"held": held.cpu().numpy()})
            key = {
                "proxy": models.canonical(model),
                "epochs": epochs,
                "rows": digest(rows),
                "batch_size": self.batch_size,
                "seed": self.given_seed,
                "number": number,
                "recipe": [LR, MOMENTUM, WEIGHT_DECAY],
                "data": self._data_key,
                "version": VERSION,
                # Training is not the same to the last bit elsewhere.
                "torch": torch.__version__,
                "device": self.data.label.device.type,
            }
            arrays = cached(self.cache, key, make)
        self.meter.prepared += int(arrays["cost"])
        if not made:
            self.meter.seconds["prepare"] += float(arrays["seconds"])
        device = self.data.label.device
        return ProxyRun(**{f.name: torch.from_numpy(arrays[f.name]).to(device) for f in fields(ProxyRun)})

    @property
    def origin(self) -> Tensor:
        return self.data.origin

    @cached_property
    def _data_key(self) -> list:
        data = self.data
        arrays = {"image": data.image, "label": data.label} | ({} if data.row is None else {"row": data.row})
        return [
            digest({name: value.cpu().numpy() for name, value in arrays.items()}),
            data.mean,
            data.std,
            len(data.classes),
            data.flip,
            data.pad,
        ]

    def _train(self, spec: str, epochs: int, train: Tensor, held: Tensor | None) -> dict[str, np.ndarray]:
        start, cost = self.clock(), Meter()
        data, device = self.data, self.data.label.device
        model = models.create(spec, len(data.classes), data.channels, data.size)
        model = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        augment = Pipeline.parse("standard")
        augment.bind(seed=self.seed, pad=data.pad, flip=data.flip, mean=data.mean)
        optimizer = torch.optim.SGD(model.parameters(), LR, MOMENTUM, weight_decay=WEIGHT_DECAY, fused=True)
        # Even parts: a last batch of one example would have no variance to normalise by.
        parts = max(1, round(len(train) / self.batch_size))
        trace = Trace(epochs, len(train), len(data.classes), device)
        answer: dict[str, Tensor] = {}
        lowest = torch.inf
        for epoch in range(epochs):
            model.train()
            order = permutation(self.seed, Stream.ORDER, epoch, len(train)).to(device)
            for rows in order.tensor_split(parts):
                for group in optimizer.param_groups:
                    group["lr"] = LR * (1 - cost.steps / (epochs * parts))
                index = train[rows]
                logits = model(data.normalise(augment.image(data.images(index), index, epoch)))
                F.cross_entropy(logits, data.label[index]).backward()
                optimizer.step()
                optimizer.zero_grad()
                trace.see(epoch, rows, logits.detach(), data.label[index])
                cost.trained(len(rows))
            if held is not None or epoch == epochs - 1:
                asked = train if held is None else held
                latest = self._ask(model, asked)
                cost.scored(len(asked))
                if (mean := latest["loss"].mean().item()) < lowest:
                    lowest, answer = mean, latest
        if not answer:
            raise RuntimeError(f"the loss of the proxy {spec!r} is not a finite number: choose another proxy model")
        arrays = {name: tensor.cpu().numpy() for name, tensor in {**trace.kept, **answer}.items()}
        return {**arrays, "cost": np.array(cost.cost), "seconds": np.array(self.clock() - start)}

    @contextmanager
    def _own_random(self) -> Iterator[None]:
        """First weights and dropout draw from torch's generators: seeded here, and then put back as they were."""
        device = self.data.label.device
        cuda = device.type == "cuda"
        with torch.random.fork_rng(devices=[device] if cuda else []):
            torch.default_generator.manual_seed(self.seed)
            if cuda:
                torch.cuda.default_generators[device.index or 0].manual_seed(self.seed)
            yield

    @torch.no_grad()
    def _ask(self, model: nn.Module, index: Tensor) -> dict[str, Tensor]:
        """loss, logits and feature of `ProxyRun`."""
        model.eval()
        with penultimate(model) as feature:
            parts = index.split(EVAL_BATCH)
            logits = torch.cat([model(self.data.normalise(self.data.images(part))).float() for part in parts])
        loss = F.cross_entropy(logits, self.data.label[index], reduction="none")
        return {"loss": loss, "logits": logits, "feature": torch.cat(feature)}
