"""A trained network with a new head: the fine-tuning study of Katharopoulos & Fleuret 2018 (there: ResNet-50)."""

from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from iskit.errors import InputError, suggest
from iskit.files import root
from iskit.models.base import models

# Heads that only training from scratch needs.
MORE_HEADS = {"googlenet": ("aux1", "aux2"), "inception_v3": ("AuxLogits",)}
PREFIX = "torchvision."  # before the name of a backbone that this kit has too, such as resnet18


@models.register("finetune", revised={"": 2})  # 1: the same dropout for all seeds, where a backbone has some
def finetune(
    classes: int, channels: int, size: int, *, backbone: str = "resnet50", weights: str = "DEFAULT"
) -> nn.Module:
    """All layers start from trained weights, but for the last linear one, which starts anew; all are trained.

    backbone: a network of this kit, with its options, or else one of torchvision's; torchvision.resnet18 where both
    have the name. weights: a file, in data_dir (where there is one: not for samplers' proxies) or else relative to the
    project, that holds a state dict (or a checkpoint with one as its `model`), such as the model.pt of a run with
    keep_model=true; for torchvision's networks also the name of weights that it publishes, such as DEFAULT.
    Images are normalised by their own data set's mean and deviation; networks trained on ImageNet want images of
    about 224 pixels. Raises InputError for an unknown backbone, weights that are not there or do not fit, and images
    that the backbone cannot see.
    """
    path = root() / weights
    if backbone.partition("(")[0].strip() in models:
        model = models.create(backbone, classes, channels, size)
        _load(model, path)
        return model
    name = backbone.removeprefix(PREFIX)
    model = _torchvision(name, weights) if not path.is_file() else _torchvision(name, None)
    for head in MORE_HEADS.get(name, ()):
        setattr(model, head, None)
        model.aux_logits = False  # type: ignore[assignment]
    _renew_head(model, classes, name)
    if path.is_file():
        _load(model, path)
    model = model if channels == 3 else GreyToColour(model)
    _try(model, torch.zeros(2, channels, size, size), name)
    return model


class GreyToColour(nn.Module):
    """One channel shown three times, to a backbone that was trained on colour."""

    def __init__(self, backbone: nn.Module):
        super().__init__()
        self.backbone = backbone

    def forward(self, x: Tensor) -> Tensor:
        return self.backbone(x.expand(-1, 3, -1, -1))


def _torchvision(name: str, weights: str | None) -> nn.Module:
    """The network with published weights, or as it starts."""
    import torchvision.models as published  # only here: importing it takes most of a second

    known = published.list_models(module=published)
    if name not in known:
        raise InputError(f"model option backbone={name!r} is unknown: {suggest(name, [*known, *models])}")
    if weights is None:
        slow = name in MORE_HEADS  # to draw first weights, which a file is about to replace
        return published.get_model(name, **({"init_weights": False} if slow else {}))
    choices = published.get_model_weights(name)
    if weights not in choices.__members__:
        remedy = f"{suggest(weights, choices.__members__)} (or a file; {root() / weights} is none)"
        raise InputError(f"model option weights={weights!r} of {name} is unknown: {remedy}")
    try:
        return published.get_model(name, weights=choices[weights])
    except (OSError, RuntimeError) as error:  # no network, a wrong checksum, a damaged file
        url = choices[weights].url
        folder = Path(torch.hub.get_dir()) / "checkpoints"
        raise InputError(
            f"model option weights={weights!r} of {name} cannot be had ({error}): where there is a network, download "
            f"{url} to {folder / Path(url).name}, or give weights= a file"
        ) from None


def _head(model: nn.Module) -> str:
    """Name of the last linear layer; empty if there is none."""
    linear = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    return linear[-1] if linear else ""


def _renew_head(model: nn.Module, classes: int, name: str) -> None:
    head = _head(model)
    if not head:
        raise InputError(
            f"model option backbone={name!r} does not end in one linear layer: choose another, e.g. resnet50"
        )
    parent, _, child = head.rpartition(".")
    features = model.get_parameter(f"{head}.weight").shape[1]
    setattr(model.get_submodule(parent), child, nn.Linear(features, classes))


def _load(model: nn.Module, path: Path) -> None:
    """Fills all but the head from a file. InputError if a tensor is missing, left over or of another shape."""
    head = _head(model) + "."
    read = _read(path)
    left = (head, *(f"{name}." for name, module in model._modules.items() if module is None))
    given = OrderedDict(
        (name, value) for name, value in read.items() if isinstance(value, Tensor) and not name.startswith(left)
    )
    wanted = {name: value for name, value in model.state_dict().items() if not name.startswith(head)}
    wrong = [name for name in wanted if name not in given or given[name].shape != wanted[name].shape]
    wrong += given.keys() - wanted.keys()
    if wrong:
        raise InputError(
            f"model option weights: {path} does not fit the backbone in {len(wrong)} tensors, e.g. {wrong[0]!r}: "
            "give the backbone, its options, and channels with which the file was made"
        )
    if hasattr(read, "_metadata"):  # versions of layers, which some networks need to understand their own files
        given._metadata = read._metadata  # type: ignore[attr-defined]
    model.load_state_dict(given, strict=False)


def _try(model: nn.Module, image: Tensor, name: str) -> None:
    training = model.training
    try:
        with torch.no_grad():
            model.eval()(image)
    except Exception as error:  # each network has its own way to say so
        raise InputError(
            f"model option backbone={name!r} cannot see images of {image.shape[-1]} pixels ({error}): set size= "
            "in dataset, e.g. to 224, to scale them, or choose another backbone"
        ) from None
    model.train(training)


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise InputError(f"model option weights: {path} is no file: give the trained weights of the backbone")
    try:
        state: Any = torch.load(path, map_location="cpu", weights_only=True)
        state = state.get("model", state)
        state.items()
        return state
    except Exception as error:  # pickle, zipfile and torch raise many kinds for what is no such file
        raise InputError(
            f"model option weights: {path} holds no state dict ({type(error).__name__}): make it anew"
        ) from None
