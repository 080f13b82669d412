"""How good a model is on the test set."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from iskit.data import Dataset
from iskit.training import scorer

EVAL_BATCH = 2000


@dataclass(frozen=True)
class Found:
    """accuracy in percent; loss: mean cross-entropy; worst_class_accuracy: the lowest in percent, of the classes that
    the test set has; correct (n,) bool: which test images were given their class."""

    accuracy: float
    loss: float
    worst_class_accuracy: float
    correct: Tensor


def evaluate(model: nn.Module, data: Dataset, *, bf16: bool = False) -> tuple[float, float]:
    """Accuracy in percent and mean cross-entropy on the test set; leaves the model as it was."""

    def logits(image: Tensor) -> Tensor:
        with torch.autocast(image.device.type, torch.bfloat16, enabled=bf16, cache_enabled=False):
            return scorer.logits(model, image).float()

    found = measure(logits, data)
    return found.accuracy, found.loss


@torch.no_grad()
def measure(logits: Callable[[Tensor], Tensor], data: Dataset) -> Found:
    """By a function that gives logits (m, K) for images (m, C, H, W). Waits for the device once, at its end."""
    loss = torch.zeros((), device=data.label.device, dtype=torch.float64)
    parts = []
    for image, label in zip(data.test_image.split(EVAL_BATCH), data.test_label.split(EVAL_BATCH), strict=True):
        found = logits(data.normalise(image))
        loss = loss + F.cross_entropy(found, label, reduction="sum")
        parts.append(found.argmax(1) == label)
    correct, n = torch.cat(parts), len(data.test_label)
    hits, images = torch.zeros(2, len(data.classes), device=loss.device, dtype=torch.float64)
    hits.index_add_(0, data.test_label, correct.double())
    images.index_add_(0, data.test_label, torch.ones_like(correct, dtype=torch.float64))
    worst = torch.where(images > 0, hits / images, 1.0).min()
    right, lost, lowest = torch.stack([hits.sum(), loss, worst]).tolist()
    return Found(100 * right / n, lost / n, 100 * lowest, correct)
