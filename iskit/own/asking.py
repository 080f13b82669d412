"""A user's model: what it is, and what it answers without a trace."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from iskit.errors import InputError
from iskit.inputs import guard
from iskit.own.named import Named
from iskit.training.scorer import eval_mode


def device_of(model: nn.Module) -> torch.device:
    first = next(chain(model.parameters(), model.buffers()), None)
    return torch.device("cpu") if first is None else first.device


def check_model(model: Any) -> None:
    """InputError unless it is a torch model."""
    if not isinstance(model, nn.Module):
        raise InputError(f"model is a {type(model).__name__}: give a torch.nn.Module that returns logits (b, C)")


def asked_first(model: nn.Module, image: Tensor | Named, device: torch.device, name: str = "dataset") -> Any:
    """The model's output for the first two examples. InputError if it cannot take them."""
    told = (
        f"inputs {image}" if isinstance(image, Named) else f"an input of shape {tuple(image.shape[1:])}, {image.dtype},"
    )
    with guard(f"the model cannot take {told} from {name}", "change the model or the input"):
        return ask(model, image[:2].to(device))


def ask(model: nn.Module, image: Tensor | Named) -> Any:
    """The model's output in eval mode, without gradient and without a trace."""
    with buffers_kept(model), eval_mode(model), torch.no_grad():
        return model(image)


@contextmanager
def buffers_kept(model: nn.Module) -> Iterator[None]:
    """Restores buffers that change: a user's module may count its calls even in eval mode."""
    before = [(buffer, buffer._version, buffer.clone()) for buffer in model.buffers()]
    yield
    with torch.no_grad():
        for buffer, version, value in before:
            if buffer._version != version:
                buffer.copy_(value)
