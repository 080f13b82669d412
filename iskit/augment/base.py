"""What every augmentation is: the identity, plus the hook it overrides. Pipelines by `|`."""

from dataclasses import dataclass

import torch
from torch import Tensor

from iskit.errors import InputError
from iskit.registry import Registry

# Images (b, C, H, W); rows (k, b) int64: which row of the batch each of an image's k parts shows; share (k,), on the
# host, of the images' type: how much of the image, in all 1. Parts keep their order: own, partner; patches by place.
Mixed = tuple[Tensor, Tensor, Tensor]


class Augment:
    """Leaves images alone. `image` changes single images, drawn per example; `mix` changes whole batches.

    Every draw is a function of (seed, place, epoch and example, or batch number), so the same row is
    augmented alike on every device and in every chunking.

    before_crop: whether its source has it before the crop and flip, not after them; pastes: whether `mix` shows parts
    of images at their places, which a second such stage would cut through.
    """

    before_crop = False
    pastes = False

    def bind(self, *, seed: int, place: int, pad: int, flip: bool, mean: tuple[float, ...] = (0.0,)) -> None:
        """place: position in the pipeline, so that two stages of one kind draw apart; pad, flip, mean: the data set's.

        mean: colour on the scale 0 to 1, a number a channel or one for all.
        """
        self.seed, self.place, self.pad, self.flip, self.mean = seed, place, pad, flip, mean

    def image(self, image: Tensor, index: Tensor, epoch: int) -> Tensor:
        """(n, H, W, C) uint8 of examples index (n,) -> the same shape and type; the input stays as it is."""
        return image

    def mix(self, image: Tensor, number: int) -> Mixed | None:
        """(b, C, H, W) of batch `number` -> mixed, and what each shows of which rows; row r shows example r most.

        None leaves them alone. Targets follow from the shares, for all mixings alike (`blend`).
        """
        return None

    def stream(self, stream: int) -> int:
        return stream + 256 * self.place


augments: Registry[Augment] = Registry("augment")


@dataclass
class Pipeline:
    """Stages in the order written; mixing comes after all image stages, on normalised images."""

    stages: list[Augment]

    @classmethod
    def parse(cls, spec: str) -> "Pipeline":
        """`"standard|mixup(alpha=0.3)"`; InputError if a stage is unknown, or a second one pastes."""
        if not all(part.strip() for part in spec.split("|")):
            raise InputError(f"augment={spec!r} cannot be read: write none, or stages joined by |")
        # Of the canonical spelling: `none|mixup` must draw as `mixup` does, and draws depend on a stage's place.
        names = cls.canonical(spec).split("|")
        stages = [augments.create(name) for name in names]
        pasting = [name for name, stage in zip(names, stages, strict=True) if stage.pastes]
        if len(pasting) > 1:
            raise InputError(
                f"augment={spec!r} pastes parts of images {len(pasting)} times: {pasting[1]} would cut through what "
                f"{pasting[0]} pasted, and targets would not say what images show; take one of them, mixup can be added"
            )
        return cls(stages)

    @staticmethod
    def canonical(spec: str) -> str:
        stages = [augments.canonical(part) for part in spec.split("|")]
        return "|".join(stage for stage in stages if stage != "none") or "none"

    @classmethod
    def revisions(cls, spec: str) -> dict[str, int]:
        """As `Registry.revisions`, of all stages."""
        return {key: number for part in spec.split("|") for key, number in augments.revisions(part).items()}

    def bind(self, *, seed: int, pad: int, flip: bool, mean: tuple[float, ...] = (0.0,)) -> None:
        for place, stage in enumerate(self.stages):
            stage.bind(seed=seed, place=place, pad=pad, flip=flip, mean=mean)

    def image(self, image: Tensor, index: Tensor, epoch: int) -> Tensor:
        if len(image):
            for stage in self.stages:
                image = stage.image(image, index, epoch)
        return image

    def mix(self, image: Tensor, target: Tensor, number: int) -> tuple[Tensor, Tensor]:
        """(b, C, H, W) and targets (b, K) of batch `number` -> both mixed; the targets say what the images show."""
        mixed = self.parts(image, number)
        if mixed is None:
            return image, target
        image, rows, share = mixed
        return image, blend(target, rows, share)

    def parts(self, image: Tensor, number: int) -> Mixed | None:
        """As `Augment.mix`, through all stages: a part of a mixed image is made of its parts in turn."""
        mixed: Mixed | None = None
        for stage in self.stages:
            new = stage.mix(image, number)
            if new is None:
                continue
            if mixed is not None:
                _, rows, share = mixed
                new = new[0], rows[:, new[1]].flatten(0, 1), share.outer(new[2]).flatten()
            mixed, image = new, new[0]
        return mixed


def blend(target: Tensor, rows: Tensor, share: Tensor) -> Tensor:
    """Targets (b, K) of a batch -> those of its mixed images, share (k,) of the targets of rows (k, b)."""
    mixed = torch.zeros_like(target)
    for part, shown in sorted(zip(share.tolist(), rows, strict=True), key=lambda pair: -pair[0]):
        mixed += target.index_select(0, shown) * part  # the largest first, so rounding does not depend on their places
    return mixed
