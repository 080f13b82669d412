"""Batches of augmented images from a data set in memory."""

import torch
import torch.nn.functional as F
from torch import Tensor

from iskit.augment import Pipeline, blend
from iskit.budget import Budget, Meter
from iskit.data import Dataset
from iskit.samplers import Batch, Sampler
from iskit.training.walk import Batches, Walk

GPU_CHUNK = 1 << 26  # bytes of images augmented at once: about an epoch of CIFAR's, and 2 GB of what comes between
CPU_CHUNK = 1 << 22  # a thread: large enough to hide overheads, small enough for a CPU's cache


class Feed(Batches):
    """Augments the walk's rows in chunks on the data's device; a group is normalised, then mixed."""

    def __init__(
        self,
        data: Dataset,
        sampler: Sampler,
        augment: Pipeline,
        budget: Budget,
        meter: Meter,
        batch_size: int,
        seed: int,
    ):
        super().__init__(Walk(sampler, budget, meter, len(data), seed, data.label.device), sampler, batch_size)
        self.data, self.augment = data, augment
        self.view = data.image[:0]  # augmented images of rows view_start .. of epoch view_epoch; their labels, targets
        self.label, self.target = data.label[:0], torch.zeros(0, len(data.classes))
        self.view_start, self.view_epoch = 0, -1

    @property
    def epoch(self) -> int:
        return self.walk.epoch

    def read(self, most: int) -> tuple[Tensor, Tensor, Tensor]:
        walk = self.walk
        if walk.epoch != self.view_epoch or walk.position == self.view_start + len(self.view):
            on_cpu = self.data.image.device.type == "cpu"
            most_bytes = CPU_CHUNK * torch.get_num_threads() if on_cpu else GPU_CHUNK
            chunk = -(-most_bytes // self.data.image[0].numel())
            index = walk.rows[walk.position : walk.position + chunk]
            self.view = self.augment.image(self.data.images(index), index, walk.epoch)
            self.label = self.data.label[index]
            self.target = F.one_hot(self.label, len(self.data.classes)).float()
            self.view_start, self.view_epoch = walk.position, walk.epoch
        rows = slice(walk.position - self.view_start, walk.position - self.view_start + most)
        return self.label[rows], self.data.normalise(self.view[rows]), self.target[rows]

    def mix(self, group: Batch, number: int) -> None:
        mixed = self.augment.parts(group.image, number)
        if mixed is None:
            return
        group.image, rows, share = mixed
        if self.sampler.needs_parts:
            group.parts = group.target[rows].transpose(0, 1)
            group.share = share.to(rows.device, non_blocking=True).expand(len(group), -1)
        group.target = blend(group.target, rows, share)

    def forget(self) -> None:
        self.view_epoch = -1
