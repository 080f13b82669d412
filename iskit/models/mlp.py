"""Two hidden layers: the Keras library's first example on MNIST, the small network of much work on sampling."""

from torch import nn

from iskit.models.base import at_least_one, models, share


@models.register("mlp", revised={"": 2})  # 1: the same dropout for all seeds
def mlp(classes: int, channels: int, size: int, *, width: int = 512, dropout: float = 0.2) -> nn.Module:
    """Pixels - width - width - classes; ReLU and dropout after each hidden layer. 669,706 parameters on MNIST.

    width: of both hidden layers; dropout: share of their outputs that a step leaves out.
    """
    at_least_one(width=width)
    share(dropout=dropout)
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(channels * size**2, width),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(width, width),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(width, classes),
    )
