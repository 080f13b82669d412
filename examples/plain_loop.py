"""Importance sampling in a plain loop; killed, it goes on exactly: python examples/plain_loop.py checkpoint.pt"""

import sys
from pathlib import Path

import torch
from torch import nn

import iskit

INPUT = torch.randn(2000, 20, generator=torch.Generator().manual_seed(0))
LABEL = (INPUT[:, :4].sum(1) > 0).long() + (INPUT[:, 4:8].sum(1) > 0).long()


def network() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 3))


def main(checkpoint: Path) -> nn.Module:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    loader = iskit.wrap((INPUT, LABEL), model, sampler="p", batch_size=40, budget=0.3, epochs=20)
    parts = {"model": model, "optimizer": optimizer, "loader": loader}
    if checkpoint.exists():
        for name, state in torch.load(checkpoint, weights_only=True).items():
            parts[name].load_state_dict(state)
    for step, (image, target) in enumerate(loader, 1):
        optimizer.param_groups[0]["lr"] = 0.1 * loader.rate(lambda t: 1 - t)
        logits = model(image)
        loader.reduce(nn.functional.cross_entropy(logits, target, reduction="none"), logits).backward()
        optimizer.step()
        optimizer.zero_grad()
        if step % 20 == 0 or loader.t == 1:
            torch.save({name: part.state_dict() for name, part in parts.items()}, checkpoint)
    return model


if __name__ == "__main__":
    main(Path(sys.argv[1]))
