"""What a finished run found, and what it depends on beside its settings."""

import functools
import subprocess
from importlib.metadata import version
from math import log
from typing import Any

import torch

from iskit import files
from iskit.training import probe
from iskit.training.stats import coverage, effective_sample_size, entropy, flagged, unique
from iskit.training.trainer import Trainer


def summary(trainer: Trainer) -> dict[str, Any]:
    """What result.json holds: numbers, and everything they depend on that params.yaml does not say."""
    last, meter, counts = trainer.history.rows[-1], trainer.meter, trainer.history.counts
    data = trainer.data
    device = data.label.device
    return {
        "accuracy": last["accuracy"],
        "best_accuracy": max(row["accuracy"] for row in trainer.history.rows),
        "worst_class_accuracy": last["worst_class_accuracy"],
        "loss": last["loss"],
        "sample_loss": last["sample_loss"],
        "sample_accuracy": last["sample_accuracy"],
        "train_loss": last["train_loss"],  # of the rows drawn, as augmented; as is the next
        "train_accuracy": last["train_accuracy"],
        **{name: last[name] for name in ("acted", "on", "weighted")},
        **flagged(counts, data.flags),
        "seconds": meter.seconds,
        "training_seconds": meter.training_seconds,
        "passes": {name: getattr(meter, name) for name in ("forward_only", "forward", "backward", "prepared")},
        "steps": meter.steps,
        "equivalent_budget": meter.cost / (3 * trainer.budget.full),
        "entropy": entropy(counts),
        "entropy_share": entropy(counts) / log(len(data)) if len(data) > 1 else 1.0,
        "coverage": coverage(counts),
        "effective_sample_size": effective_sample_size(counts),
        "unique_examples": unique(counts),
        "examples": len(data),
        "test_examples": len(data.test_label),
        "parameters": sum(p.numel() for p in trainer.model.parameters()),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu ({probe.cpu()})",
        "precision": "bf16" if trainer.bf16 else "float32",
        "threads": torch.get_num_threads(),
        "versions": {name: version(name) for name in ("iskit", "torch", "numpy")},
        "commit": commit(),
        "dirty": dirty(),
    }


@functools.cache
def commit() -> str | None:
    """The project's git commit, if it lies in a repository."""
    return _git("rev-parse", "--short", "HEAD")


@functools.cache
def dirty() -> bool | None:
    """Whether files that git knows differ from that commit; None without a repository."""
    changed = _git("status", "--porcelain", "--untracked-files=no")
    return None if changed is None else changed != ""


def _git(*words: str) -> str | None:
    try:
        asked = subprocess.run(["git", *words], cwd=files.root(), capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return asked.stdout.strip()
