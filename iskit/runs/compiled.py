"""The last run's compiled model, for the next run of its kind: compiling takes a minute."""

from torch import nn

from iskit.data import Dataset
from iskit.models import models
from iskit.runs.experiment import Experiment
from iskit.runs.parts import build

kept: dict[tuple, nn.Module] = {}  # the last run's model, if it was compiled and the run is over


def build_again(experiment: Experiment, data: Dataset) -> nn.Module:
    """The experiment's model; in place of the last run's if they are of one kind, for compiling takes a minute."""
    model = build(experiment, data)
    known = kept.pop(kind(experiment, data), None)
    if known is None:
        return model
    known.load_state_dict(model.state_dict())
    known.zero_grad()  # a run that ended amid a step left its gradients
    return known


def kind(experiment: Experiment, data: Dataset) -> tuple:
    """What makes two models alike but for their weights."""
    return models.canonical(experiment.model), len(data.classes), data.channels, data.size, data.label.device
