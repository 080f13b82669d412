"""What a study file says beforehand of the comparisons that it will be judged by: its section `contrasts`."""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pandas as pd

from iskit.augment import augments
from iskit.errors import InputError, suggest
from iskit.inputs import typed
from iskit.runs.experiment import BYSTANDERS, Experiment
from iskit.runs.parts import SPELLING
from iskit.samplers import samplers

COSTS = ("examples", "passes", "preparations", "seconds")  # what a run may be said to have cost
RATIOS = (*COSTS, "sample_loss")  # beside costs the training loss, of the fixed sample
KEYS = ("where", "reference", "arms", "trend", "ratio", "margin", "measure", "per")
REFERENCE = {"sampler": "unif"}
MARGIN = 0.5  # points
MEASURE = "accuracy"
PER = COSTS[:3]  # seconds are of one machine only, so they are shown if asked for

Settings = Mapping[str, Any]  # of an experiment, specs in canonical spelling


@dataclass(frozen=True)
class Contrast:
    """One family: comparisons that are judged together and shown as one table.

    arms: the settings that name each arm's runs, in order; reference: those of what they are compared with (empty for
    a trend of the measure itself); title: what each arm differs by. trend: the arms are steps, to be tested for a
    rise; ratio: what is asked for as a ratio to the reference's, one of RATIOS. margin: the difference, in points, that
    would matter; measure: the column of accuracies; per: the costs that are shown beside.
    """

    name: str
    arms: tuple[Settings, ...]
    reference: Settings
    titles: tuple[str, ...]
    against: str
    trend: bool = False
    ratio: str | None = None
    margin: float = MARGIN
    measure: str = MEASURE
    per: tuple[str, ...] = PER


@contextmanager
def naming(name: str) -> Iterator[None]:
    """An InputError within says which contrast it is about."""
    try:
        yield
    except InputError as error:
        raise InputError(f"contrast {name!r}: {error}") from None


def read(section: Mapping[str, Any]) -> list[Contrast]:
    """The mapping under `contrasts` in a study file, name -> what is compared. InputError names the contrast."""
    if not isinstance(section, Mapping) or not section:
        raise InputError(f"contrasts={section!r} must be a mapping, a name for each comparison")
    found = []
    for name, said in section.items():
        with naming(str(name)):
            found.append(_contrast(str(name), said, settled))
    return found


def default(frame: pd.DataFrame) -> list[Contrast]:
    """Every sampler against unif, a family for each group of runs (of `iskit.results`) alike in all else but the seed.

    For studies that named nothing beforehand. InputError if no group has both.
    """
    if not (found := against(frame, **REFERENCE)):
        raise InputError("no runs of unif lie beside runs of another sampler: train both, or name contrasts")
    return found


def against(frame: pd.DataFrame, **reference: str) -> list[Contrast]:
    """`sampler="unif"`: all other samplers against it, a family for each group of runs alike in all else but the seed;
    any setting likewise. Families are in the order of the frame, their arms too, and say by name what sets them apart.
    """
    ((name, base),) = reference.items()
    runs = settings_of(frame)
    fixed = [one for one in runs if one not in (*BYSTANDERS, "seed", name)]
    groups = [(dict(zip(fixed, key, strict=True)), part) for key, part in runs.groupby(fixed, sort=False)]
    groups = [(where, part) for where, part in groups if {base} < set(part[name])]
    vary = [one for one in fixed if len({str(where[one]) for where, _ in groups}) > 1]
    return [
        _contrast(
            ", ".join(words({one: where[one] for one in vary})) or f"{name}s",
            {
                "where": where,
                "reference": reference,
                "arms": [{name: spec} for spec in dict.fromkeys(part[name]) if spec != base],
            },
            dict,  # what is known no more can be compared all the same
        )
        for where, part in groups
    ]


def settings_of(frame: pd.DataFrame) -> pd.DataFrame:
    """The settings of runs, a column each, specs in canonical spelling; defaults where older runs have none."""
    asked = Experiment()
    columns = {}
    for name, standard in asked.to_dict().items():
        column = frame[name] if name in frame else pd.Series(standard, index=frame.index)
        column = column.where(column.notna(), standard)
        if name in SPELLING:
            spelled = {spec: _canonical(name, spec) for spec in column.unique()}
            column = column.map(spelled)
        columns[name] = column
    return pd.DataFrame(columns, index=frame.index)


def _canonical(name: str, spec: str) -> str:
    try:
        return SPELLING[name](spec)
    except InputError:  # of a method that is no longer there
        return spec


def _contrast(name: str, said: Any, settle: Callable[[Settings], dict[str, Any]]) -> Contrast:
    """settle: checks and spells the settings that were written by hand; those of runs stand as they are."""
    check_keys("it", said, KEYS)
    chosen = [key for key in ("arms", "trend") if key in said]
    if len(chosen) > 1 or ("ratio" in said and chosen == ["trend"]):
        raise InputError("give one of arms (with ratio or without) and trend")
    trend = chosen == ["trend"]
    where = said.get("where") or {}
    reference = said.get("reference", {} if trend else REFERENCE)
    for key, value in {"where": where, "reference": reference}.items():
        if not isinstance(value, Mapping):
            raise InputError(f"{key}={value!r} must be settings of runs, key: value")
    if trend and reference:
        raise InputError("a trend is of the measure itself, it has no reference")
    steps = specs(said.get(chosen[0]) if chosen else None)
    if trend and len(steps) < 3:
        raise InputError(f"a trend needs three steps or more, in order, not {len(steps)}")
    # An arm that leaves a setting of the reference open has the reference's.
    arms = [settle({**reference, **where, **spec}) for spec in steps]
    base = settle({**where, **reference}) if reference else {}
    for number, arm in enumerate(arms):
        if arm == base:
            raise InputError(f"the arm {', '.join(words(arm))} is its own reference")
        if arm in arms[:number]:
            raise InputError(f"the arm {', '.join(words(arm))} is named twice")
    shared = base or {key: value for key, value in arms[0].items() if all(arm.get(key) == value for arm in arms)}
    return Contrast(
        name,
        arms=tuple(arms),
        reference=base,
        titles=tuple(", ".join(words(arm, shared)) for arm in arms),
        against=", ".join(
            words({key: base[key] for key in base if any(arm[key] != base[key] for arm in arms)} or base)
        ),
        trend=trend,
        ratio=_choice("ratio", said["ratio"], RATIOS) if "ratio" in said else None,
        margin=_margin(said.get("margin", MARGIN)),
        measure=_measure(said.get("measure", MEASURE)),
        per=tuple(_choice("per", cost, COSTS) for cost in _list(said.get("per", PER))),
    )


def specs(said: Any) -> list[dict[str, Any]]:
    """A mapping whose lists make a grid, or a list of such mappings -> the settings of each arm."""
    found: list[dict[str, Any]] = []
    for one in _list(said):
        if not isinstance(one, Mapping):
            raise InputError(f"{one!r} must be settings of runs, key: value")
        axes = [_list(values) for values in one.values()]
        found += [dict(zip(one, combination, strict=True)) for combination in itertools.product(*axes) if one]
    if not found:
        raise InputError("it names no arm: give arms: {sampler: [p, c]}, or trend: a list of steps")
    return found


def settled(settings: Settings) -> dict[str, Any]:
    """Settings with their types, specs in canonical spelling. InputError as `Experiment` raises it."""
    experiment = Experiment.parse(settings)
    return {name: SPELLING.get(name, _same)(getattr(experiment, name)) for name in settings}


def _same(value: Any) -> Any:
    return value


def check_keys(what: str, said: Any, keys: Sequence[str]) -> None:
    if not isinstance(said, Mapping):
        raise InputError(f"{what} must be a mapping with some of {', '.join(keys)}, not {said!r}")
    for key in said:
        if key not in keys:
            raise InputError(f"unknown key {key!r}: {suggest(str(key), keys)}")


def _list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [] if value is None else [value]


def _choice(key: str, value: Any, known: Sequence[str]) -> str:
    if value not in known:
        raise InputError(f"{key}={value!r} is unknown: {suggest(str(value), known)}")
    return value


def _margin(value: Any) -> float:
    margin = typed("margin", value, float)
    if margin <= 0:
        raise InputError(f"margin={margin:g} must be above 0 points")
    return margin


def _measure(value: Any) -> str:
    """Of accuracies only: a margin is in points, and better is more. The best one was chosen by the test set."""
    measure = typed("measure", value, str)
    if not measure.endswith("accuracy") or measure == "best_accuracy":
        raise InputError(f"measure={measure!r} must be an accuracy at the end of a run, as worst_class_accuracy")
    return measure


def words(settings: Settings, shared: Settings | None = None) -> list[str]:
    """The settings that are not shared: methods by their names in papers, all else as key=value."""
    return [_shown(key, value) for key, value in settings.items() if not shared or shared.get(key) != value]


def _shown(key: str, value: Any) -> str:
    if key == "sampler":
        return samplers.title(value)
    if key == "augment":
        return "|".join(augments.title(stage) for stage in value.split("|"))
    return f"{key}={value:g}" if type(value) is float else f"{key}={value}"
