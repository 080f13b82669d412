"""The same on several ranks, each a slice: torchrun --nproc-per-node=2 examples/several_ranks.py checkpoint.pt"""

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from plain_loop import INPUT, LABEL
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import iskit


def main(checkpoint: Path, stop: float = 1.0) -> nn.Module:
    torch.manual_seed(1)
    model = DistributedDataParallel(nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 3)))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    loader = iskit.wrap((INPUT, LABEL), model, sampler="p", batch_size=40, budget=0.3, epochs=20)
    parts = {"model": model, "optimizer": optimizer, "loader": loader}
    if checkpoint.exists():
        for name, state in torch.load(checkpoint, weights_only=True).items():
            parts[name].load_state_dict(state)
    for image, target in loader:  # of a batch of 40, on each of two ranks 20
        logits = model(image)
        loader.reduce(nn.functional.cross_entropy(logits, target, reduction="none"), logits).backward()
        optimizer.step()
        optimizer.zero_grad()
        if loader.t >= stop:
            break
    if dist.get_rank() == 0:
        torch.save({name: part.state_dict() for name, part in parts.items()}, checkpoint)
    dist.barrier()
    return model


if __name__ == "__main__":
    dist.init_process_group("gloo")
    main(Path(sys.argv[1]))
    dist.destroy_process_group()
