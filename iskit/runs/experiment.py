"""One configuration of one run: flat, frozen, checked. All faces (YAML, command line, notebook) come from it."""

import dataclasses
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from iskit.budget import UNITS, Budget
from iskit.errors import InputError, shown, suggest
from iskit.inputs import typed
from iskit.registry import met

CHOICES = {
    "unit": UNITS,
    "optimizer": ("sgd", "adam"),
    "device": ("auto", "cpu", "cuda"),
    "precision": ("auto", "float32", "bf16"),
    "compile": ("auto", "off"),
}
MODELS = 1000  # kept of a run, at most
NAME_BYTES = 200  # of a folder's name that settings make; file systems take 255
# What leaves the numbers of a run as they are; everything else enters its id.
BYSTANDERS = ("study", "data_dir", "compile", "keep_model")
# The settings that the first run ids were made of. Later ones enter an id only when they are not at their default.
FIRST = (
    "dataset", "validation", "model", "sampler", "augment", "budget", "unit", "epochs", "batch_size", "optimizer", "lr",
    "schedule", "momentum", "weight_decay", "seed", "evals", "device", "precision", "deterministic",
)  # fmt: skip
# Values of settings whose numbers are no longer those of the first version, see `iskit.registry.met`.
REVISED = {"unit=cost": 2}


def _setting(default: Any, text: str) -> Any:
    # Trap: papermill skips a parameter whose line in the notebook holds a second "=", so texts have none.
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """A budgeted training run. InputError names the field, its value and the remedy."""

    study: str = _setting("playground", "folder under outputs/ that collects related runs")
    dataset: str = _setting("digits", "what to train on: digits, parquet, ...")
    data_dir: str = _setting("data", "where data sets and caches lie; relative to the project")
    validation: int = _setting(0, "training examples, class-balanced, held out and used in place of the test set")
    model: str = _setting("cnn", "network: cnn, resnet8, resnet18, ...")
    sampler: str = _setting("unif", "which examples are trained on: sgd scan unif p c ...")
    augment: str = _setting("standard", "how they look: none, standard, mixup, ..., joined by |")
    budget: float = _setting(0.3, "share of the full run in (0, 1], or seconds if unit is seconds")
    unit: str = _setting("backward", "what the budget counts: backward (examples trained), cost, seconds")
    epochs: int = _setting(60, "epochs of the full run")
    batch_size: int = _setting(32, "examples a step")
    optimizer: str = _setting("sgd", "sgd or adam")
    lr: float = _setting(0.1, "highest learning rate")
    schedule: str = _setting("linear", "learning rate over the run: linear step cosine constant onecycle rex wsd")
    momentum: float = _setting(0.9, "of sgd; adam has its own betas")
    weight_decay: float = _setting(1e-4, "on all parameters")
    seed: int = _setting(1, "of everything random: a run is one seed")
    evals: int = _setting(20, "evaluations spread evenly over the run; the end is always one")
    device: str = _setting("auto", "auto, cpu or cuda")
    precision: str = _setting("auto", "float32, bf16, or auto: what is faster on the device")
    compile: str = _setting("auto", "auto or off: torch.compile and CUDA graphs where they pay")
    deterministic: bool = _setting(False, "bit-repeatable on a GPU too, at some cost; a CPU always is")
    keep_model: bool | int = _setting(False, "whether the trained weights are kept, as model.pt; or how many times")

    def __post_init__(self) -> None:
        for f in dataclasses.fields(self):
            value = getattr(self, f.name)
            if value is False and "off" in CHOICES.get(f.name, ()):
                value = "off"  # YAML 1.1 reads the word as a truth value
            object.__setattr__(self, f.name, typed(f.name, value, f.type))  # type: ignore[arg-type]  # evaluated, no text
        for name, known in CHOICES.items():
            if getattr(self, name) not in known:
                raise InputError(f"{name}={getattr(self, name)!r} is unknown: give one of {', '.join(known)}")
        if not re.fullmatch(r"\w[\w.-]*", self.study) or len(self.study.encode()) > NAME_BYTES:
            raise InputError(f"study={shown(self.study)} must be a plain folder name of at most {NAME_BYTES} bytes")
        lowest_values = {"epochs": 1, "batch_size": 1, "evals": 1, "validation": 0, "seed": 0, "keep_model": 0}
        for name, lowest in lowest_values.items():
            if getattr(self, name) < lowest:
                raise InputError(f"{name}={getattr(self, name)!r} must be at least {lowest}")
        if self.keep_model > MODELS:
            raise InputError(f"keep_model={self.keep_model} must be at most {MODELS}: each of them is a file")
        if self.seed >= 2**32:
            raise InputError(f"seed={self.seed} must be below 2**32")
        for name in ("momentum", "weight_decay"):
            if getattr(self, name) < 0:
                raise InputError(f"{name}={getattr(self, name)!r} must not be negative")
        if self.momentum >= 1:
            raise InputError(f"momentum={self.momentum!r} must be below 1")
        if self.lr <= 0:
            raise InputError(f"lr={self.lr!r} must be above 0")
        Budget(self.budget, self.unit, full=1)

    @classmethod
    def parse(cls, settings: Mapping[str, Any]) -> "Experiment":
        """From names and values as YAML, papermill or a command line give them. InputError for an unknown name."""
        check_names(settings)
        return cls(**settings)

    @classmethod
    def help(cls) -> dict[str, str]:
        return {f.name: f.metadata["help"] for f in dataclasses.fields(cls)}

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    def revisions(self) -> dict[str, int]:
        """What of the settings themselves, not of the parts they name, was revised, and its number."""
        return met(REVISED, self.to_dict(), _defaults(), str)

    def run_id(self, canonical: Mapping[str, str], revisions: Mapping[str, int] | None = None) -> str:
        """A readable name that ends in a hash of what determines the result.

        canonical: the specs (sampler, ...) in their canonical spelling, so that synonyms share a run.
        revisions: what of parts and settings was revised: a run of before it keeps its id, and is not taken for one
        of after it.
        """
        settings, defaults = {**self.to_dict(), **canonical}, _defaults()
        later = {key for key in defaults if key not in FIRST and settings[key] == defaults[key]}
        decisive = {key: value for key, value in settings.items() if key not in BYSTANDERS and key not in later}
        if revisions:
            decisive["revisions"] = dict(revisions)
        digest = hashlib.blake2b(json.dumps(decisive, sort_keys=True).encode(), digest_size=5).hexdigest()
        words = [settings["sampler"], f"{self.budget:g}", settings["augment"], f"s{self.seed}"]
        readable = "-".join(re.sub(r"[^\w.=]+", "_", word).strip("_") for word in words)
        return f"{readable.encode()[:NAME_BYTES].decode(errors='ignore')}-{digest}"


def _defaults() -> dict[str, Any]:
    return {f.name: f.default for f in dataclasses.fields(Experiment)}


def check_names(settings: Iterable[str], also: Iterable[str] = ()) -> None:
    """InputError for a name that is no field of Experiment and not among `also`."""
    known = [f.name for f in dataclasses.fields(Experiment)] + list(also)
    for key in settings:
        if key not in known:
            value = f" ({shown(settings[key])})" if isinstance(settings, Mapping) else ""
            raise InputError(f"unknown setting {shown(key)}{value}: {suggest(shown(key), known)}")


def parameters_cell() -> str:
    """The source of run.ipynb's cell tagged `parameters`: papermill reads types and comments as help."""
    return "\n".join(
        f"{f.name}: {type(f.default).__name__} = {_literal(f.default)}  # {f.metadata['help']}"
        for f in dataclasses.fields(Experiment)
    )


def _literal(value: Any) -> str:
    return json.dumps(value) if isinstance(value, str) else repr(value)  # double quotes, as formatters want them
