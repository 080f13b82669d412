"""Blends each image of a batch, and its target, with another one's.

cite: Zhang et al. 2018, "mixup: Beyond Empirical Risk Minimization" (alpha .3 as in Arazo et al. 2021)
changes: the batch: images and soft targets
passes: none extra
rule: lam ~ Beta(alpha, alpha) once a batch, lam = max(lam, 1 - lam); x_r = lam x_r + (1 - lam) x_partner,
  targets alike; partners by a random permutation. A score of row r is that of its mixed image, kept under example r
differs: lam >= 1/2, so that row r shows mostly example r: the law of the batches is the same.
  official=True: lam anywhere in [0, 1], as published: row r shows its partner as often as itself
neutral: alpha=0
"""

import torch
from torch import Tensor

from iskit.augment.base import Augment, Mixed, augments
from iskit.errors import InputError
from iskit.randomness import Stream, generator


@augments.register("mixup")
class Mixup(Augment):
    """alpha: of the Beta distribution; 0 mixes nothing, 1 uniformly; official: lam as drawn, not its larger side."""

    def __init__(self, *, alpha: float = 0.3, official: bool = False):
        if alpha < 0:
            raise InputError(f"augment option alpha={alpha!r} must not be negative")
        self.alpha, self.official = alpha, official

    def mix(self, image: Tensor, number: int) -> Mixed | None:
        if self.alpha == 0:
            return None
        random = generator(self.seed, self.stream(Stream.MIX), number)
        lam = float(random.beta(self.alpha, self.alpha))
        if not self.official:
            lam = max(lam, 1 - lam)
        partner = torch.from_numpy(random.permutation(len(image))).to(image.device, non_blocking=True)
        rows = torch.stack([torch.arange(len(image), device=image.device), partner])
        other = torch.tensor(1 - lam, dtype=image.dtype)
        own = image.permute(0, 2, 3, 1)  # as the trainer's batches lie in memory: whole images are copied
        mixed = own.index_select(0, partner).lerp_(own, lam)
        return mixed.permute(0, 3, 1, 2), rows, torch.stack([1 - other, other])
