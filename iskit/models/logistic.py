"""Logistic regression: the convex case, in which what theory says can be checked."""

from torch import nn

from iskit.models.base import models


@models.register("logistic")
def logistic(classes: int, channels: int, size: int) -> nn.Module:
    """Logistic regression: one linear layer on the pixels."""
    return nn.Sequential(nn.Flatten(), nn.Linear(channels * size**2, classes))
