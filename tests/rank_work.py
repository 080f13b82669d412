"""One rank of a run on several, for tests: `python rank_work.py RANK COUNT FOLDER` writes FOLDER/RANK.pt."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

import iskit
from iskit.own.loader import BudgetedLoader

N, B, CLASSES = 96, 16, 4
# Whole numbers: what a model of such weights answers does not depend on how its rows are divided.
X = torch.randint(-3, 4, (N, 6), generator=torch.Generator().manual_seed(0)).float()
Y = torch.randint(CLASSES, (N,), generator=torch.Generator().manual_seed(1))
LOSSES = torch.rand(N, generator=torch.Generator().manual_seed(2)) + 0.1
SPECS = ["unif", "p", "infobatch(prune=0.4)", "loss_history", "online_batch(recompute=1)", "ordered(ladder=(1, 2))",
         "gnorm(tau_min=0.5)", "gnorm(tau_min=0.5, score='full')", "selective_backprop(beta=1, history=32)",
         "kakurenbo(confidence=0.3)", "ies(threshold=None)", "seta", "divbs(presample=3)",
         "rho(presample=3)", "subset(by='el2n')"]  # fmt: skip
TRAINED = ["unif", "loss_history", "ordered(ladder=(1, 2))"]


def whole() -> nn.Module:
    """Answers in whole numbers."""
    model = nn.Sequential(nn.Identity(), nn.Linear(6, CLASSES))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randint(-1, 2, parameter.shape, generator=torch.Generator().manual_seed(3)))
    return model


def loader_of(model: nn.Module, spec: str, **settings: Any) -> BudgetedLoader:
    given = {"batch_size": B, "budget": 0.5, "epochs": 10, "proxy": whole} | settings
    return iskit.wrap((X, Y), model, sampler=spec, **given)


def chosen(model: nn.Module, spec: str, parts: int = 1) -> dict[str, Any]:
    """What is drawn, counted and charged where the losses of an example are always the same; nothing is trained."""
    loader, batches = loader_of(model, spec), []
    for step in loader.accumulate(parts):
        for image, _ in step:
            batches.append(loader.whole.index)
            loader.reduce(LOSSES[loader.batch.index].clone(), model(image).detach())
    meter = loader.meter
    return {
        "batches": torch.cat(batches[::parts]),
        "counts": loader.history.counts,
        "passes": torch.tensor([meter.forward_only, meter.backward, meter.steps, meter.prepared]),
        "told": torch.tensor(list(loader.acting.means(meter.backward).values())),
    }


def trained(
    model: nn.Module, spec: str, parts: int = 1, later: Callable[[nn.Module], nn.Module] | None = None, **settings: Any
) -> list[Tensor]:
    """The parameters after a run; and its scalars. later: what becomes of the model once the loader has it."""
    loader, scalars = loader_of(model, spec, **settings), []
    model = later(model) if later else model
    optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9)
    for step in loader.accumulate(parts):
        total = torch.zeros(())
        for image, target in step:
            logits = model(image)
            scalar = loader.reduce(F.cross_entropy(logits, target, reduction="none"), logits)
            scalar.backward()
            total += scalar.detach()
        scalars.append(total)
        optimizer.step()
        optimizer.zero_grad()
    return [*(parameter.detach() for parameter in model.parameters()), torch.stack(scalars)]


def refused(model: nn.Module, make: Callable[..., Any] = loader_of, **settings: Any) -> str:
    try:
        make(model, "unif", **settings)
    except iskit.InputError as error:
        return str(error)
    return ""


def example(folder: Path) -> list[list[Tensor]]:
    """What examples/several_ranks.py ends with, in one go and in two."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
    from several_ranks import main

    runs = main(folder / "whole.pt"), main(folder / "cut.pt", stop=0.4), main(folder / "cut.pt")
    return [[parameter.detach() for parameter in run.parameters()] for run in runs]


def work(rank: int, count: int, folder: Path) -> dict[str, Any]:
    def shared() -> nn.Module:
        return DistributedDataParallel(whole())

    return {
        "chosen": {spec: chosen(shared(), spec) for spec in SPECS},
        "trained": {spec: trained(shared(), spec) for spec in TRAINED},
        "example": example(folder),
        "later": trained(whole(), "loss_history", later=DistributedDataParallel, group=dist.group.WORLD),
        "parts": trained(shared(), "loss_history", parts=2),
        "refused": {
            "seed": refused(shared(), seed=rank // 2),
            "batch_size": refused(shared(), batch_size=B + 1),
            "unit": refused(shared(), budget=9, unit="seconds"),
            "never": refused(whole(), trained, group=dist.group.WORLD),
        },
    }


if __name__ == "__main__":
    number, ranks, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=number, world_size=ranks)
    torch.save(work(number, ranks, folder), folder / f"{number}.pt")
    dist.destroy_process_group()
