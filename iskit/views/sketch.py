"""What a sampler does with hard and easy examples, as a small picture: measured, by running its own code.

A network that never learns trains 200 examples, whose losses therefore stay: some it gets wrong, of most it is sure, as
networks are late in training. Counted is how often each is drawn, and how much it counts in all gradients.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from iskit.augment import Pipeline
from iskit.data import Dataset
from iskit.samplers import Outcome, samplers
from iskit.training.trainer import Trainer

EXAMPLES, BINS = 200, 20
SIDE = 2  # pixels of an image, all alike
STEEP = 3.0  # logits for a pixel's unit


def examples() -> Dataset:
    """Two classes in turn, the easiest last: how bright or dark an image is says how sure the network is of it."""
    hard = EXAMPLES // 5
    margin = np.concatenate([np.linspace(-0.5, 1, hard, endpoint=False), np.linspace(1, 2, EXAMPLES - hard)])
    label = torch.arange(EXAMPLES) % 2
    pixel = 128 + 63 * torch.from_numpy(margin) * (2 * label - 1)
    image = pixel.round().to(torch.uint8)[:, None, None, None].expand(-1, SIDE, SIDE, 1).contiguous()
    return Dataset(
        image, label, image, label, mean=(128 / 255,), std=(63 / 255,), classes=("dark", "bright"), flip=False
    )


def sure() -> nn.Module:
    """The network: its logits are the image's brightness, and the opposite."""
    head = nn.Linear(SIDE**2, 2, bias=False)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[-1.0], [1.0]]).expand(2, SIDE**2) * STEEP / 2 / SIDE**2)
    return nn.Sequential(nn.Flatten(), head)


def sketch(spec: str, seeds: Sequence[int] = (1, 2, 3), **settings: Any) -> dict[str, list[float]]:
    """drawn, counted: of each twentieth of the examples by loss, the highest first, how often it was drawn, and how
    much it counted in the gradients, where 1 is what uniform draws give."""
    drawn, counted = torch.zeros(EXAMPLES), torch.zeros(EXAMPLES)
    for seed in seeds:
        one = samplers.create(spec)
        told = {"budget": 1.0 if samplers.parse(spec)[0] == "sgd" else 0.3, "epochs": 20, "batch_size": 10} | settings
        trainer = Trainer(
            sure(), examples(), one, Pipeline.parse("none"), lr=1e-12, schedule=lambda t: 1.0, seed=seed, evals=1,
            momentum=0.0, weight_decay=0.0, **told,
        )  # fmt: skip
        reduce, update, share = one.reduce, one.update, [torch.zeros(0)]

        def reduced(loss: Tensor, weight: Tensor) -> Tensor:
            with torch.enable_grad():
                free = loss.detach().clone().requires_grad_()
                (share[0],) = torch.autograd.grad(reduce(free, weight), free)  # noqa: B023 - called within the loop
            return reduce(loss, weight)  # noqa: B023

        def updated(outcome: Outcome) -> None:
            counted.index_add_(0, outcome.batch.index, share[0])  # noqa: B023
            update(outcome)  # noqa: B023

        one.reduce, one.update = reduced, updated  # type: ignore[method-assign]
        for _ in trainer:
            pass
        drawn += trainer.history.counts
    return {name: _binned(values) for name, values in {"drawn": drawn, "counted": counted}.items()}


def _binned(values: Tensor) -> list[float]:
    found = values.view(BINS, -1).mean(1) / values.mean()
    return [round(one, 2) for one in found.tolist()]


def made() -> dict[str, dict[str, list[float]]]:
    """A sketch of each sampler, at its defaults."""
    return {name: sketch(name) for name in samplers}
