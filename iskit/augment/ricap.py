"""Puts together four images' patches, and their targets by area.

cite: Takahashi, Matsubara & Uehara 2018, "RICAP: Random Image Cropping and Patching" (alpha .3 as in Arazo et al. 2021)
changes: the batch: images and soft targets
passes: none extra
rule: w = round(W u), h = round(H v), u, v ~ Beta(alpha, alpha) once a batch, cut the image in four; each patch shows
  a random crop of its size of a permuted batch; target = mean of the four by area. A score of row r is that of its
  mixed image, kept under example r
differs: the permutation of the largest patch is undone, so that row r shows mostly example r (.75 on average):
  the same batches in another order of rows. official=True: four permutations, as published; row r then shows all
  examples alike, and what a method learns of it goes to the wrong example
neutral: alpha=0
"""

import numpy as np
import torch
from torch import Tensor

from iskit.augment.base import Augment, Mixed, augments
from iskit.errors import InputError
from iskit.randomness import Stream, generator


@augments.register("ricap")
class Ricap(Augment):
    """alpha: of the Beta distribution; 0 mixes nothing, 1 cuts anywhere; official: all four patches permuted."""

    pastes = True

    def __init__(self, *, alpha: float = 0.3, official: bool = False):
        if alpha < 0:
            raise InputError(f"augment option alpha={alpha!r} must not be negative")
        self.alpha, self.official = alpha, official

    def mix(self, image: Tensor, number: int) -> Mixed | None:
        if self.alpha == 0:
            return None
        random = generator(self.seed, self.stream(Stream.MIX), number)
        n, _, height, width = image.shape
        w, h = (round(side * random.beta(self.alpha, self.alpha)) for side in (width, height))
        patches = [(0, 0, h, w), (0, w, h, width - w), (h, 0, height - h, w), (h, w, height - h, width - w)]
        area = np.array([high * wide for _, _, high, wide in patches])
        largest = np.argsort(-area, kind="stable")
        # Also of an empty patch: its share is 0, but its rows are those of the law.
        order, corner = np.empty((4, n), dtype=np.int64), np.empty((4, 2), dtype=np.int64)
        for place in largest:
            # Four random permutations with one undone are the identity and three random ones.
            undone = place == largest[0] and not self.official
            order[place] = np.arange(n) if undone else random.permutation(n)
            _, _, high, wide = patches[place]
            corner[place] = random.integers(height - high + 1), random.integers(width - wide + 1)
        rows = torch.from_numpy(order).to(image.device, non_blocking=True)
        source = image.permute(0, 2, 3, 1).contiguous()  # of the trainer's batches no copy: so they lie in memory
        mixed = torch.empty_like(source)
        for (top, left, high, wide), (y, x), shown in zip(patches, corner.tolist(), rows, strict=True):
            if high * wide:
                seen = source[:, y : y + high, x : x + wide]
                torch.index_select(seen, 0, shown, out=mixed[:, top : top + high, left : left + wide])
        return mixed.permute(0, 3, 1, 2), rows, torch.from_numpy(area / (height * width)).to(image.dtype)
