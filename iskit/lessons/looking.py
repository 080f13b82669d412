"""What a soft target promises, checked: that an image is made of its classes as its target says."""

from collections.abc import Sequence

import torch

from iskit.augment import Pipeline
from iskit.judging.findings import Checked


def promised(mixings: Sequence[str], seed: int) -> Checked:
    """Mixes grey images, a grey a class, and holds the mean grey of each against its target's. AssertionError names
    the mixing whose targets say something else."""
    label = torch.arange(64) % 10
    grey = torch.linspace(0, 1, 10)
    painted = grey[label][:, None, None, None].expand(-1, 1, 32, 32)
    lines = []
    for spec in mixings:
        mixing = Pipeline.parse(spec)
        mixing.bind(seed=seed, pad=0, flip=False)
        image, target = mixing.mix(painted, torch.eye(10)[label], number=0)
        error = (image.mean((1, 2, 3)) - target @ grey).abs().max().item()
        assert error < 1e-5, f"{spec}: mean grey differs from the target's by {error:.1e}"
        lines.append(
            f"{spec}: rows sum to {target.sum(1).mean():.3f}, mean grey differs from the target's by {error:.1e}"
        )
    return Checked(lines)
