"""Pastes a box of another image into each, and mixes the targets by area.

cite: Yun et al. 2019, "CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features"
changes: the batch: images and soft targets
passes: none extra
rule: lam ~ Beta(alpha, alpha) once a batch, lam = max(lam, 1 - lam); a box of sides sqrt(1 - lam) of the image's, its
  middle anywhere, cut off at the border, shows the partner; targets by the areas left; partners by a random
  permutation. A score of row r is that of its mixed image, kept under example r
differs: lam >= 1/2: the box never hides more than half, so that row r shows mostly example r (.82 on average)
neutral: alpha=0
"""

import torch
from torch import Tensor

from iskit.augment.base import Augment, Mixed, augments
from iskit.errors import InputError
from iskit.randomness import Stream, generator


@augments.register("cutmix")
class CutMix(Augment):
    """alpha: of the Beta distribution; 0 mixes nothing, 1 makes all areas of the box equally likely."""

    pastes = True

    def __init__(self, *, alpha: float = 1.0):
        if alpha < 0:
            raise InputError(f"augment option alpha={alpha!r} must not be negative")
        self.alpha = alpha

    def mix(self, image: Tensor, number: int) -> Mixed | None:
        if self.alpha == 0:
            return None
        random = generator(self.seed, self.stream(Stream.MIX), number)
        height, width = image.shape[2:]
        lam = random.beta(self.alpha, self.alpha)
        side = min(lam, 1 - lam) ** 0.5

        def span(size: int) -> slice:
            middle, reach = random.integers(size), int(size * side) // 2
            return slice(max(0, middle - reach), min(size, middle + reach))

        lines, columns = span(height), span(width)
        partner = torch.from_numpy(random.permutation(len(image))).to(image.device, non_blocking=True)
        rows = torch.stack([torch.arange(len(image), device=image.device), partner])
        mixed = image.clone()
        torch.index_select(image[:, :, lines, columns], 0, partner, out=mixed[:, :, lines, columns])
        area = (lines.stop - lines.start) * (columns.stop - columns.start) / (height * width)
        other = torch.tensor(area, dtype=image.dtype)
        return mixed, rows, torch.stack([1 - other, other])
