"""Inputs by name: data sets that give dictionaries, and models that take them."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


class Named:
    """Inputs of some examples, columns (m, ...) by name; what one tensor (m, ...) is otherwise."""

    def __init__(self, columns: dict[str, Tensor]):
        self.columns = columns

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def __getitem__(self, rows: Tensor | slice) -> "Named":
        return self._each(lambda column: column[rows])

    def to(self, device: torch.device, non_blocking: bool = False) -> "Named":
        return self._each(lambda column: column.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> "Named":
        return self._each(Tensor.pin_memory)

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Named":
        return Named({name: change(column) for name, column in self.columns.items()})

    def __str__(self) -> str:
        return ", ".join(f"{name} {tuple(column.shape[1:])}" for name, column in self.columns.items())

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is not torch.cat:
            return NotImplemented
        parts = args[0]
        return cls({name: torch.cat([part.columns[name] for part in parts]) for name in parts[0].columns})


class Called(nn.Module):
    """The model as it is asked for logits: named inputs become its arguments, and of an output with `logits` these."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, image: Any) -> Any:
        found = self.model(**image.columns) if isinstance(image, Named) else self.model(image)
        return getattr(found, "logits", found)


def plain(columns: dict[str, Any]) -> dict[str, Any]:
    """A batch's columns as tensors and dictionaries of them, for a checkpoint."""
    return {name: value.columns if isinstance(value, Named) else value for name, value in columns.items()}


def packed(columns: dict[str, Any]) -> dict[str, Any]:
    """What `plain` was given."""
    return {name: Named(value) if isinstance(value, dict) else value for name, value in columns.items()}
