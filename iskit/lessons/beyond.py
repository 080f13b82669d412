"""Beyond training on images from scratch: a network that was trained before, and one that reads a sequence."""

import shutil
from dataclasses import dataclass

import pandas as pd
import plotly.graph_objects as go
import torch
import torch.nn.functional as F

from iskit import files
from iskit.data import datasets
from iskit.errors import InputError
from iskit.judging.findings import Checked
from iskit.models import models
from iskit.runs.experiment import Experiment
from iskit.runs.parts import build, load
from iskit.runs.run import Run
from iskit.study.archive import history_of
from iskit.training.scorer import eval_mode
from iskit.views.plots import ACCURACY, DASHES, ROW_HEIGHT, color, label, styled

WEIGHTS = "before.pt"


@dataclass(frozen=True)
class Before:
    """What a network learnt before the page's runs begin; a notebook shows it as Markdown.

    model: the network that starts from there, with a new head; dataset: what it was trained on; accuracy: there, in
    percent of that set's test images.
    """

    model: str
    dataset: str
    accuracy: float

    def _repr_markdown_(self) -> str:
        return f"After a full run on `{self.dataset}`: {self.accuracy:.1f} % of its test images right."


def before(study: str, dataset: str, backbone: str, epochs: int = 20) -> Before:
    """Trains a network by plain SGD's full run with Adam, once, and keeps its weights beside the runs of the study.

    Takes seconds for what a page trains; a network that was trained is found again. InputError for what cannot work.
    """
    experiment = Experiment(
        study=f"{study}-before", dataset=dataset, model=backbone, sampler="sgd", augment="none", budget=1.0,
        epochs=epochs, batch_size=16, optimizer="adam", lr=0.003, evals=1, keep_model=1,
    )  # fmt: skip
    run = Run(experiment)
    run.train()
    folder = files.root() / "outputs" / study
    folder.mkdir(parents=True, exist_ok=True)
    files.write(folder / WEIGHTS, lambda path: shutil.copyfile(run.path / "model.pt", path))
    spec = models.spec("finetune", {"backbone": backbone, "weights": f"outputs/{study}/{WEIGHTS}"})
    accuracy = float(history_of(run.path)["accuracy"].iloc[-1])
    return Before(models.canonical(spec), datasets.canonical(dataset), accuracy)


def named(model: str) -> str:
    """A network as the page calls it."""
    name, options = models.parse(model)
    return {"finetune": "fine-tuned " + str(options.get("backbone"))}.get(name, model)


def networks(frame: pd.DataFrame) -> list[str]:
    """To choose from: those of the runs."""
    return [named(model) for model in dict.fromkeys(frame["model"])]


def curves(frame: pd.DataFrame, network: str | None = None) -> go.Figure:
    """Test accuracy over the run of one network, by default the first: mean and range of the seeds."""
    network = network or networks(frame)[0]
    figure = go.Figure()
    for spec, runs in frame[frame["model"].map(named) == network].groupby("sampler", sort=False):
        sampler = str(spec)
        past = pd.concat([history_of(path) for path in runs["path"]])
        over = past.groupby(past["t"].round(2))["accuracy"]
        low, mean, high = over.min(), over.mean(), over.max()
        figure.add_scatter(
            x=[*low.index, *high.index[::-1]], y=[*low, *high[::-1]], fill="toself", fillcolor=color(sampler),
            opacity=0.15, line_width=0, mode="lines", hoverinfo="skip", showlegend=False, legendgroup=sampler,
        )  # fmt: skip
        figure.add_scatter(
            x=mean.index, y=mean, name=label(sampler), legendgroup=sampler, mode="lines+markers",
            line={"color": color(sampler), "width": 3},
        )  # fmt: skip
    figure.update_xaxes(title_text="budget spent", tickformat=".0%", range=[-0.02, 1.03])
    figure.update_yaxes(title_text=ACCURACY)
    return beneath(styled(figure, f"{network}: mean and range over seeds", ROW_HEIGHT + 40))


def switches(frame: pd.DataFrame) -> go.Figure:
    """How uneven the scores are over the run, tau, of each network and method that watches it: mean of the seeds."""
    figure = go.Figure()
    for number, network in enumerate(networks(frame)):
        for spec, runs in frame[frame["model"].map(named) == network].groupby("sampler", sort=False):
            past = pd.concat([history_of(path) for path in runs["path"]])
            if "sampler_tau" not in past:
                continue
            mean = past["sampler_tau"].groupby(past["t"].round(2)).mean()
            figure.add_scatter(
                x=mean.index, y=mean, name=f"{network}, {label(str(spec))}", mode="lines+markers",
                line={"color": color(str(spec)), "dash": DASHES[number % len(DASHES)], "width": 3},
            )  # fmt: skip
    if not figure.data:
        raise InputError("no sampler of these runs watches tau: tick gnorm and press Run")
    alike = {"annotation_text": "all scores alike", "annotation_position": "top left"}
    figure.add_hline(y=1, line={"color": "#999999", "dash": "dot"}, **alike)
    figure.update_xaxes(title_text="budget spent", tickformat=".0%", range=[-0.02, 1.03])
    figure.update_yaxes(title_text="tau")
    return beneath(styled(figure, "How uneven the scores are", ROW_HEIGHT + 40))


def beneath(figure: go.Figure) -> go.Figure:
    """With the legend under the axis: these names are long."""
    return figure.update_layout(legend={"orientation": "h", "x": 0, "y": -0.28}, margin_b=100)


def check(frame: pd.DataFrame) -> Checked:
    """Holds the networks of the runs against what is said of them: one that was trained before starts as that one but
    for its head, and what another says depends on every pixel. AssertionError names what is wrong."""
    lines = []
    for model, runs in frame.groupby("model", sort=False):
        row = runs.iloc[0].to_dict()
        experiment = Experiment(**{name: row[name] for name in Experiment.help()})
        where = files.root() / experiment.data_dir
        data = load(experiment.dataset, where, experiment.validation, torch.device("cpu"), experiment.seed)
        network, (name, options) = build(experiment, data), models.parse(str(model))
        if name == "finetune":
            known = torch.load(files.root() / options["weights"], map_location="cpu", weights_only=True)
            start = network.state_dict()
            new = [key for key, value in start.items() if not torch.equal(value, known[key])]
            *_, head = (key.rpartition(".")[0] for key in start)
            assert all(key.startswith(head) for key in new), f"{named(str(model))} does not start as trained: {new}"
            lines.append(
                f"{named(str(model))}: {len(start) - len(new)} of {len(start)} tensors start as trained before."
            )
        else:
            image = data.normalise(data.images(torch.arange(min(50, len(data))))).requires_grad_()
            with eval_mode(network):
                loss = F.cross_entropy(network(image).float(), data.label[: len(image)], reduction="sum")
                (slope,) = torch.autograd.grad(loss, image)
            reached = (slope.abs().sum((0, 1)) > 0).sum().item()
            assert reached == data.size**2, f"{model} sees {reached} of {data.size**2} pixels"
            lines.append(f"{model}: what it says depends on each of the {reached} pixels.")
    return Checked(lines)
