"""What every augmentation is: the identity, plus the hook it overrides. Pipelines by `|`."""

from dataclasses import dataclass

from torch import Tensor

from iskit.errors import InputError
from iskit.registry import Registry


class Augment:
    """Leaves images alone. `image` changes single images, drawn per example; `mix` changes whole batches.

    Every draw is a function of (seed, place, epoch and example, or batch number), so the same row is
    augmented alike on every device and in every chunking.
    """

    def bind(self, *, seed: int, place: int, pad: int, flip: bool, mean: tuple[float, ...] = (0.0,)) -> None:
        """place: position in the pipeline, so that two stages of one kind draw apart; pad, flip, mean: the data set's.

        mean: colour on the scale 0 to 1, a number a channel or one for all.
        """
        self.seed, self.place, self.pad, self.flip, self.mean = seed, place, pad, flip, mean

    def image(self, image: Tensor, index: Tensor, epoch: int) -> Tensor:
        """(n, H, W, C) uint8 of examples index (n,) -> the same shape and type; the input stays as it is."""
        return image

    def mix(self, image: Tensor, target: Tensor, number: int) -> tuple[Tensor, Tensor]:
        """(b, C, H, W) and soft targets (b, K) of batch `number` -> both mixed; row r shows example r most."""
        return image, target

    def stream(self, stream: int) -> int:
        return stream + 256 * self.place


augments: Registry[Augment] = Registry("augment")


@dataclass
class Pipeline:
    """Stages in the order written; mixing comes after all image stages, on normalised images."""

    stages: list[Augment]

    @classmethod
    def parse(cls, spec: str) -> "Pipeline":
        """`"standard|mixup(alpha=0.3)"`; InputError if a stage is unknown."""
        if not all(part.strip() for part in spec.split("|")):
            raise InputError(f"augment={spec!r} cannot be read: write none, or stages joined by |")
        # Of the canonical spelling: `none|mixup` must draw as `mixup` does, and draws depend on a stage's place.
        return cls([augments.create(part) for part in cls.canonical(spec).split("|")])

    @staticmethod
    def canonical(spec: str) -> str:
        stages = [augments.canonical(part) for part in spec.split("|")]
        return "|".join(stage for stage in stages if stage != "none") or "none"

    def bind(self, *, seed: int, pad: int, flip: bool, mean: tuple[float, ...] = (0.0,)) -> None:
        for place, stage in enumerate(self.stages):
            stage.bind(seed=seed, place=place, pad=pad, flip=flip, mean=mean)

    def image(self, image: Tensor, index: Tensor, epoch: int) -> Tensor:
        if len(image):
            for stage in self.stages:
                image = stage.image(image, index, epoch)
        return image

    def mix(self, image: Tensor, target: Tensor, number: int) -> tuple[Tensor, Tensor]:
        for stage in self.stages:
            image, target = stage.mix(image, target, number)
        return image, target
