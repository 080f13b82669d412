"""Preparations in a user's own loop: small models of the user's making, trained on the user's data before the run."""

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from iskit.budget import Meter
from iskit.errors import Diverged, InputError
from iskit.own.examples import Source, read_target, sizes
from iskit.own.named import Called
from iskit.randomness import Stream, permutation
from iskit.samplers import ProxyRun
from iskit.training.proxy import Trace, seed_of
from iskit.training.scorer import check_logits, eval_mode, penultimate

LR = 1e-3  # of Adam: a rate that suits most models, as nothing is known of them


class OwnProxy:
    """The `Proxy` that samplers are handed, see `iskit.samplers.base`; examples come as the data set makes them.

    make: gives a new model each time, trained by Adam at a constant rate; None refuses, with the remedy.
    meter: gets the cost, in its own line.
    """

    def __init__(
        self,
        make: Callable[[], nn.Module] | None,
        data: Source,
        meter: Meter,
        *,
        classes: int,
        batch_size: int,
        seed: int,
        device: torch.device,
    ):
        self.make, self.data, self.meter, self.classes = make, data, meter, classes
        self.batch_size, self.device = batch_size, device
        self.given_seed = seed

    def __call__(self, model: str, epochs: int, train: Tensor, held: Tensor | None = None, number: int = 0) -> ProxyRun:
        if self.make is None:
            raise InputError(
                "the sampler trains small models before the run: give wrap the argument proxy, a function without "
                "arguments that makes one with the model's inputs and outputs"
            )
        if self.classes == 0:
            raise InputError("the sampler trains small models before the run, which needs classes: use another one")
        self.seed = seed_of(self.given_seed, number)
        with torch.random.fork_rng([self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(self.seed)
            return self._train(Called(self.make()).to(self.device), epochs, train, held)

    @property
    def origin(self) -> Tensor:
        return torch.arange(len(self.data), device=self.device)  # whether examples repeat is not known here

    def _train(self, network: nn.Module, epochs: int, train: Tensor, held: Tensor | None) -> ProxyRun:
        optimizer = torch.optim.Adam(network.parameters(), LR)
        trace = Trace(epochs, len(train), self.classes, self.device)
        # Even batches, none smaller than batch_size: batch norm has no variance of a last one of one example.
        parts = max(1, len(train) // self.batch_size)
        best: ProxyRun | None = None
        lowest = torch.inf
        for epoch in range(epochs):
            network.train()
            order = permutation(self.seed, Stream.ORDER, epoch, len(train)).to(self.device)
            batches = order.tensor_split(parts)
            fetched = self._fetch(train[order], list(map(len, batches)), epoch)
            for rows, (image, label) in zip(batches, fetched, strict=True):
                logits = network(image)
                F.cross_entropy(logits, label).backward()
                optimizer.step()
                optimizer.zero_grad()
                trace.see(epoch, rows, logits.detach(), label)
            self.meter.prepared += 3 * len(train)
            if held is not None or epoch == epochs - 1:
                answer = self._ask(network, train if held is None else held, trace)
                if (mean := answer.loss.mean().item()) < lowest:
                    lowest, best = mean, answer
        if best is None:  # no mean was a number: NaN is below nothing
            raise Diverged("the loss of the proxy model is not a finite number: choose another one")
        return best

    def _ask(self, network: nn.Module, index: Tensor, trace: Trace) -> ProxyRun:
        logits, labels = [], []
        with penultimate(network) as feature, eval_mode(network), torch.no_grad():
            for image, label in self._fetch(index, sizes(len(index), self.batch_size, self.batch_size), 0):
                logits.append(network(image))
                check_logits(logits[-1], len(label))
                labels.append(label)
        self.meter.prepared += len(index)
        given = torch.cat(logits).float()
        loss = F.cross_entropy(given, torch.cat(labels), reduction="none")
        return ProxyRun(loss=loss, logits=given, feature=torch.cat(feature), **trace.kept)

    def _fetch(self, index: Tensor, sizes: list[int], epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        for image, target in self.data.fetch(index, sizes, epoch):
            label, _ = read_target(target, self.classes)
            yield image.to(self.device), label.to(self.device)
