"""A study as a file: settings of which lists make a grid, in several blocks, and what is to be judged.

    study: augmentations
    dataset: digits            # settings of all blocks
    seeds: 8
    blocks:
      full: {sampler: sgd}
      tight: {sampler: [scan, unif, p], budget: [0.1, 0.3], augment: [standard, standard|mixup]}
    contrasts:                 # see `iskit.judging.contrasts`
      choosing: {where: {augment: standard, budget: 0.3}, arms: {sampler: [scan, p]}, margin: 0.5}
    tune:                      # see `iskit.judging.tune`; with it, blocks may be missing
      {where: {budget: 0.3}, arms: {sampler: [unif, p]}, validation: 200}

Several files may share one `study`: it is judged as a whole, and each that was trained from is kept in its folder.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from iskit import files
from iskit.errors import InputError
from iskit.inputs import read_yaml
from iskit.runs.experiment import Experiment
from iskit.runs.grid import grid

SECTIONS = ("blocks", "contrasts", "tune")
FOLDER = "plan"  # in a study's folder: the files that it was trained from
# Settings that may differ from the file's and the runs still be the file's: where and with what they are trained.
HOW = ("data_dir", "device", "precision", "compile", "deterministic", "keep_model")


@dataclass(frozen=True)
class Plan:
    """study: its name; blocks: the experiments of each, every one once; contrasts, tune: as the file has them;
    common: the settings of all blocks; text, name: of the file, "" of one that was given as settings, or changed by
    some."""

    study: str
    blocks: dict[str, list[Experiment]]
    contrasts: dict[str, Any]
    text: str = ""
    name: str = ""
    tune: dict[str, Any] = field(default_factory=dict)
    common: dict[str, Any] = field(default_factory=dict)

    @property
    def experiments(self) -> list[Experiment]:
        """Of all blocks, each once. InputError if there are none, for the file is only to be tuned."""
        if not self.blocks:
            raise InputError(f"{self.name} has settings to tune and no runs: give it to `iskit tune`, or add blocks")
        return list(dict.fromkeys(one for block in self.blocks.values() for one in block))

    @property
    def digest(self) -> str:
        """Of the file's bytes: each run keeps it."""
        return files.digest(self.text) if self.text else ""


def read(settings: Mapping[str, Any], path: Path | None = None, overrides: Mapping[str, Any] | None = None) -> Plan:
    """A plan from what a YAML file (`path`) or a command line gives. InputError names the block of what cannot work.

    overrides: settings that stand in place of the file's, in all blocks. With others than HOW the plan is no longer
    that of the file, and has no text: nothing is judged by what was not announced.
    """
    overrides = overrides or {}
    blocks, contrasts, tune = settings.get("blocks"), settings.get("contrasts") or {}, settings.get("tune", {})
    common = {key: value for key, value in settings.items() if key not in SECTIONS}
    for name, value in {"blocks": {} if blocks is None else blocks, "contrasts": contrasts}.items():
        if not isinstance(value, Mapping) or not all(isinstance(one, Mapping) for one in value.values()):
            raise InputError(f"{name} must map each of their names to settings: write `name: {{sampler: [unif, p]}}`")
    if blocks is not None and not blocks:
        raise InputError("blocks: {} names nothing to run: give at least one block, or leave `blocks` out")
    if not isinstance(tune, Mapping) or ("tune" in settings and not tune):
        raise InputError("tune must be a mapping: write `tune: {arms: {sampler: [unif, p]}, validation: 200}`")
    made = {}
    for name, own in ({"": {}} if blocks is None else blocks).items():
        try:
            if "study" in own:
                raise InputError(f"study={own['study']!r} stands in a block: a file is of one study")
            made[str(name)] = grid(_merged(_merged(common, own), overrides), ready=False)
        except InputError as error:
            raise InputError(f"block {name}: {error}" if name else str(error)) from None
    study = next(iter(next(iter(made.values())))).study
    if blocks is None and tune:
        made = {}
    one = Plan(study, made, dict(contrasts), tune=dict(tune), common=common)
    if path is None or not overrides.keys() <= set(HOW):
        return one
    return replace(one, text=path.read_text(encoding="utf-8"), name=path.name)


def read_file(path: Path, overrides: Mapping[str, Any] | None = None) -> Plan:
    """The plan that a study file holds. InputError, with the file's name, for one that cannot work."""
    settings = read_yaml(path)
    try:
        return read(settings, Path(path), overrides)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def keep(plan: Plan, outputs: Path) -> None:
    """Leaves the plan's file in the study's folder, where the judgement finds its contrasts.

    InputError if it disagrees with another file of the study: a block or a contrast of one name must be the same.
    """
    if not plan.text:
        return
    check([plan], outputs)
    folder = outputs / plan.study / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    files.write_text(folder / plan.name, plan.text)


def check(plans: Sequence[Plan], outputs: Path) -> None:
    """InputError if one of these files disagrees with another of them, or of its study's folder: see `agree`."""
    for number, plan in enumerate(plans):
        others = [other for other in kept(plan.study, outputs) if other.name != plan.name]
        for other in (*others, *plans[:number]):
            if plan.text and other.text and plan.study == other.study:
                agree(plan, other)


def kept(study: str, outputs: Path) -> list[Plan]:
    """The plans that a study was trained from, by name."""
    return [read_file(path) for path in sorted((outputs / study / FOLDER).glob("*.yaml"))]


def agree(one: Plan, other: Plan) -> None:
    """InputError if two files of one study give a block or a contrast of the same name different contents."""
    for what, ours, theirs in (
        ("block", one.blocks, other.blocks),
        ("contrast", one.contrasts, other.contrasts),
    ):
        for name in ours.keys() & theirs.keys():
            if name and ours[name] != theirs[name]:
                raise InputError(
                    f"{one.name} and {other.name} of study={one.study!r} disagree on the {what} {name!r}: give one of "
                    "them another name"
                )


def contrasts_of(plans: Iterable[Plan]) -> dict[str, Any]:
    """What all files of a study name, each once."""
    found: dict[str, Any] = {}
    for plan in plans:
        found.update(plan.contrasts)
    return found


def _merged(common: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """A block's own settings win; `seed` in a block stands in place of the file's `seeds`, and the other way round."""
    if "seed" in own or "seeds" in own:
        common = {key: value for key, value in common.items() if key not in ("seed", "seeds")}
    return {**common, **own}
