"""The loop that everyone writes: what the kit is measured against. Deliberately without any trick of the kit's.

torchvision's transforms on one PIL image at a time, a shuffling DataLoader with worker processes, float32 in
torch's default memory format, on all cores or on a GPU as torch sets it up, `.item()` at every step.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision import transforms

from iskit.data import Dataset
from iskit.errors import InputError

CPU = torch.device("cpu")
TRANSFORMS: dict[str, Callable[[Dataset], list]] = {
    "none": lambda data: [],
    "standard": lambda data: [
        transforms.RandomCrop(data.size, padding=data.pad),
        *([transforms.RandomHorizontalFlip()] if data.flip else []),
    ],
    "randaugment|standard": lambda data: [transforms.RandAugment(2, 4), *TRANSFORMS["standard"](data)],
}


class Images(torch.utils.data.Dataset):
    """One image and its label at a time, as torchvision's own data sets give them."""

    def __init__(self, image: Tensor, label: Tensor, transform: Callable[[Image.Image], Tensor]):
        self.image, self.label, self.transform = image.numpy(), label.tolist(), transform

    def __len__(self) -> int:
        return len(self.label)

    def __getitem__(self, number: int) -> tuple[Tensor, int]:
        pixels = self.image[number]
        return self.transform(Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)), self.label[number]


class Plain:
    """Trains `model` on `device` on a data set on the host; `epoch()` is one walk through it.

    augment: none, standard or randaugment|standard; workers: of the DataLoader; keep: whether they outlive an epoch;
    epochs: over which the learning rate falls to 0 in a straight line.
    """

    def __init__(
        self,
        model: nn.Module,
        data: Dataset,
        device: torch.device = CPU,
        *,
        augment: str = "standard",
        workers: int = 4,
        keep: bool = False,
        batch_size: int,
        epochs: int,
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 1e-4,
    ):
        if augment not in TRANSFORMS:
            raise InputError(f"augment={augment!r} is not in the plain loop: give one of {', '.join(TRANSFORMS)}")
        to_tensor = [transforms.ToTensor(), transforms.Normalize(data.mean, data.std)]
        kept: dict[str, Any] = {"num_workers": workers, "persistent_workers": keep and workers > 0}
        train = Images(data.image, data.label, transforms.Compose(TRANSFORMS[augment](data) + to_tensor))
        test = Images(data.test_image, data.test_label, transforms.Compose(to_tensor))
        self.train: DataLoader = DataLoader(train, batch_size, shuffle=True, **kept)
        self.test: DataLoader = DataLoader(test, 2 * batch_size, **kept)
        self.model, self.device = model.to(device), device
        self.optimizer = torch.optim.SGD(model.parameters(), lr, momentum, weight_decay=weight_decay)
        total = epochs * len(self.train)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, lambda step: max(0.0, 1 - step / total))

    def epoch(self) -> tuple[float, float]:
        """Mean training loss and accuracy in percent."""
        total, hits = 0.0, 0
        for loss, right, _ in self.steps():
            total += loss
            hits += right
        n = len(self.train.dataset)  # type: ignore[arg-type]
        return total / n, 100 * hits / n

    def steps(self) -> Iterator[tuple[float, int, int]]:
        """After every step: summed loss, hits and rows of the batch."""
        self.model.train()
        for image, label in self.train:
            image, label = image.to(self.device), label.to(self.device)
            self.optimizer.zero_grad()
            logits = self.model(image)
            loss = F.cross_entropy(logits, label)
            loss.backward()
            self.optimizer.step()
            self.schedule.step()
            yield loss.item() * len(label), (logits.argmax(1) == label).sum().item(), len(label)

    @torch.no_grad()
    def evaluate(self) -> tuple[float, float]:
        """Accuracy in percent and mean loss on the test set."""
        self.model.eval()
        total, hits = 0.0, 0
        for image, label in self.test:
            image, label = image.to(self.device), label.to(self.device)
            logits = self.model(image)
            total += F.cross_entropy(logits, label, reduction="sum").item()
            hits += (logits.argmax(1) == label).sum().item()
        n = len(self.test.dataset)  # type: ignore[arg-type]
        return 100 * hits / n, total / n
