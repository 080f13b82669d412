"""How good a model is on the test set."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from iskit.data import Dataset
from iskit.training import scorer

EVAL_BATCH = 2000


def evaluate(model: nn.Module, data: Dataset, *, bf16: bool = False) -> tuple[float, float]:
    """Accuracy in percent and mean cross-entropy on the test set; leaves the model as it was."""

    def logits(image: Tensor) -> Tensor:
        with torch.autocast(image.device.type, torch.bfloat16, enabled=bf16, cache_enabled=False):
            return scorer.logits(model, image).float()

    return measure(logits, data)


@torch.no_grad()
def measure(logits: Callable[[Tensor], Tensor], data: Dataset) -> tuple[float, float]:
    """The same by a function that gives logits (m, K) for images (m, C, H, W)."""
    loss = hits = torch.zeros((), device=data.label.device, dtype=torch.float64)
    for image, label in zip(data.test_image.split(EVAL_BATCH), data.test_label.split(EVAL_BATCH), strict=True):
        found = logits(data.normalise(image))
        loss = loss + F.cross_entropy(found, label, reduction="sum")
        hits = hits + (found.argmax(1) == label).sum()
    n = len(data.test_label)
    return 100 * hits.item() / n, loss.item() / n
