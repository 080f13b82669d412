"""What the whole loops of examples/ really train; on several ranks: torchrun trained.py EXAMPLE FOLDER."""

import importlib
import os
import sys
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from iskit.own import wrapping
from iskit.own.loader import BudgetedLoader

EXAMPLES = Path(__file__).parents[1] / "examples"
EPOCHS = 4  # instead of theirs: 60 steps of 40


class Killed(Exception):
    """The run ends here, and saves nothing any more."""


@dataclass
class Trained:
    """rows: the examples that went through the model with a gradient, in their order; counts and passes: what the
    loader says; parameters: those that the run ended with."""

    rows: Tensor
    counts: Tensor
    passes: int
    parameters: list[Tensor]


def train(example: str, place: Path, dies: int | None = None, **changed: Any) -> Trained:
    """Runs the `main` of an example, with other settings of `wrap`; Killed in the step of that number."""
    loaders: list[BudgetedLoader] = []
    seen: list[Tensor] = []
    wrap, reduce = wrapping.wrap, BudgetedLoader.reduce

    def wrapped(*data, **settings):
        loaders.append(wrap(*data, **(settings | {"epochs": EPOCHS} | changed)))
        return loaders[-1]

    def reduced(loader, *told):
        if loader.meter.steps + 1 == dies:
            raise Killed
        return reduce(loader, *told)

    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(EXAMPLES)
        patch.setattr(wrapping, "wrap", wrapped)
        patch.setattr(BudgetedLoader, "reduce", reduced)
        known = importlib.import_module("plain_loop").INPUT[:, 0]
        assert len(known.unique()) == len(known)  # a row's first number says which it is

        def see(part: nn.Module, given: tuple[Tensor]) -> None:
            if isinstance(part, nn.Linear) and part.in_features == 20 and torch.is_grad_enabled():
                seen.append((given[0][:, :1] == known).int().argmax(1))

        hook = nn.modules.module.register_module_forward_pre_hook(see)
        try:
            model = importlib.import_module(example).main(place)
        finally:
            hook.remove()
            sys.modules.pop(example, None)  # it may hold what is patched
    (loader,) = loaders
    parameters = [parameter.detach().clone() for parameter in model.parameters()]
    return Trained(torch.cat(seen), loader.history.counts, loader.meter.backward, parameters)


def on_ranks() -> None:
    """As somebody would set the frameworks up for processors, if these were what they train on."""
    if sys.argv[1] == "lightning_loop":
        import lightning

        lightning.Trainer = partial(lightning.Trainer, accelerator="cpu", devices=2, strategy="ddp")
    else:
        import transformers

        transformers.TrainingArguments = partial(transformers.TrainingArguments, use_cpu=True, ddp_backend="gloo")


if __name__ == "__main__":
    torch.set_num_threads(1)
    on_ranks()
    folder = Path(sys.argv[2])
    torch.save(asdict(train(sys.argv[1], folder / "run")), folder / f"{os.environ['RANK']}.pt")
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()  # a rank that is left alone with it aborts
