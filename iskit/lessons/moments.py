"""A run looked at again: at its start and wherever it kept its weights, what each example's gradient was."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from iskit import files
from iskit.data import Dataset
from iskit.errors import InputError
from iskit.own import diagnosis
from iskit.runs.experiment import Experiment
from iskit.runs.parts import build, load
from iskit.samplers.gnorm import probability
from iskit.training.scorer import eval_mode, gradient_norm


@dataclass(frozen=True)
class Moments:
    """Of one run: t (K,) shares of the budget spent; norm (K, N) of each example's gradient, exact; square (K,) of the
    mean gradient; b: batch size."""

    t: np.ndarray
    norm: Tensor
    square: Tensor
    b: int

    def variances(self, age: int = 0, mix: float = 0.0) -> pd.DataFrame:
        """Of the mean gradient of b draws, at each moment, in closed form, as multiples of uniform draws'.

        t; bound: the least that any distribution has; drawn: that of draws by the norms of `age` moments before (of
        the first, where there is none so early), of which a share `mix` is drawn uniformly all the same.
        """
        rows = []
        for k, (norm, square) in enumerate(zip(self.norm, self.square, strict=True)):
            uniform = diagnosis.variance(norm, square, probability(torch.ones_like(norm)), self.b)
            drawn = diagnosis.variance(norm, square, self.probability(k, age, mix), self.b)
            bound = diagnosis.least(norm, square, self.b)
            rows.append({"t": self.t[k], "bound": float(bound / uniform), "drawn": float(drawn / uniform)})
        return pd.DataFrame(rows)

    def probability(self, moment: int, age: int, mix: float) -> Tensor:
        """(N,) by which `variances` draws."""
        return (1 - mix) * probability(self.norm[max(0, moment - age)]) + mix / self.norm.shape[1]


def moments(run: Mapping[str, Any]) -> Moments:
    """Of a run (a row of `iskit.results`) that kept its weights: `keep_model=10`. For small models and sets.

    InputError for a run without them, as a packed one.
    """
    kept = models(run)
    norm, square = zip(*(exact(model, data) for _, model, data in kept), strict=True)
    return Moments(np.array([t for t, _, _ in kept]), torch.stack(norm), torch.stack(square), int(run["batch_size"]))


def models(run: Mapping[str, Any]) -> list[tuple[float, nn.Module, Dataset]]:
    """t, the model as it was then, the data that it was trained on: from the first weights to the last."""
    experiment = Experiment(**{name: run[name] for name in Experiment.help()})
    many, folder = int(experiment.keep_model), Path(run["path"])
    data = load(
        experiment.dataset,
        files.root() / experiment.data_dir,
        experiment.validation,
        torch.device("cpu"),
        experiment.seed,
    )
    found = [(0.0, build(experiment, data), data)]
    for number in range(1, many + 1):
        file = folder / ("model.pt" if number == many else f"model-{number / many:g}.pt")
        if not file.is_file():
            raise InputError(f"{folder} kept no weights ({file.name} is missing): train it with keep_model=10")
        model = build(experiment, data)
        model.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
        found.append((number / many, model, data))
    if not many:
        raise InputError(f"{folder} kept no weights: train it with keep_model=10")
    return found


def exact(model: nn.Module, data: Dataset) -> tuple[Tensor, Tensor]:
    """(N,) float64 norm of each example's gradient, (): squared norm of their mean."""
    image = data.normalise(data.images(torch.arange(len(data))))
    target = F.one_hot(data.label, len(data.classes)).float()
    norm = gradient_norm(model, image, target).double()
    with eval_mode(model):
        trained = [p for p in model.parameters() if p.requires_grad]
        mean = torch.autograd.grad(F.cross_entropy(model(image).float(), target), trained)
    return norm, torch.stack([g.double().square().sum() for g in mean]).sum()
