"""Puts together four images' patches, and their targets by area.

cite: Takahashi, Matsubara & Uehara 2018, "RICAP: Random Image Cropping and Patching" (alpha .3 as in Arazo et al. 2021)
changes: the batch: images and soft targets
passes: none extra
rule: w = round(W u), h = round(H v), u, v ~ Beta(alpha, alpha) once a batch, cut the image in four; each patch shows
  a random crop of its size of a permuted batch; target = mean of the four by area. A score of row r is that of its
  mixed image, kept under example r
differs: the permutation of the largest patch is undone, so that row r shows mostly example r (.75 on average):
  the same batches in another order of rows. (With four permutations, scores go to the wrong examples.)
neutral: alpha=0
"""

import numpy as np
import torch
from torch import Tensor

from iskit.augment.base import Augment, augments
from iskit.augment.gather import runs
from iskit.errors import InputError
from iskit.randomness import Stream, generator


@augments.register("ricap")
class Ricap(Augment):
    """alpha: of the Beta distribution; 0 mixes nothing, 1 cuts anywhere."""

    def __init__(self, *, alpha: float = 0.3):
        if alpha < 0:
            raise InputError(f"augment option alpha={alpha!r} must not be negative")
        self.alpha = alpha

    def mix(self, image: Tensor, target: Tensor, number: int) -> tuple[Tensor, Tensor]:
        if self.alpha == 0:
            return image, target
        random = generator(self.seed, self.stream(Stream.MIX), number)
        n, channels, height, width = image.shape
        w, h = (round(side * random.beta(self.alpha, self.alpha)) for side in (width, height))
        patches = [(0, 0, h, w), (0, w, h, width - w), (h, 0, height - h, w), (h, w, height - h, width - w)]
        patches = [patch for patch in patches if patch[2] * patch[3] > 0]
        patches.sort(key=lambda patch: patch[2] * patch[3], reverse=True)
        source = image.permute(0, 2, 3, 1).contiguous()  # of the trainer's batches no copy: so they lie in memory
        mixed, share = torch.empty_like(source), torch.zeros_like(target)
        for rank, (top, left, high, wide) in enumerate(patches):
            # Four random permutations with one undone are the identity and three random ones.
            rows = torch.from_numpy(random.permutation(n) if rank else np.arange(n)).to(image.device, non_blocking=True)
            y, x = int(random.integers(height - high + 1)), int(random.integers(width - wide + 1))
            lines = rows[:, None] * height + torch.arange(y, y + high, device=image.device)
            patch = runs(source, ((lines * width + x) * channels).view(-1), wide * channels)
            mixed[:, top : top + high, left : left + wide] = patch.view(n, high, wide, channels)
            share += target.index_select(0, rows) * (high * wide / (height * width))
        return mixed.permute(0, 3, 1, 2), share
