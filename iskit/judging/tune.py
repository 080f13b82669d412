"""Tuned alike: each arm's learning rate, and a strength if it has one, by the same trials on held-out examples.

A study file names what is to be tuned in its section `tune`; all that it leaves out is the study's:

    tune:
      where: {budget: 0.3, augment: standard}
      arms: {sampler: [unif, p, selective_backprop]}     # lists make a grid; or a list of mappings, as in contrasts
      validation: 5000                                   # examples held out of the training set, which judge
      lr: [0.025, 0.05, 0.1, 0.2, 0.4]                   # the default
      seeds: 2                                           # the default: 101 and 102, never the study's
      strengths: {selective_backprop: {beta: [1, 2, 3, 4]}}   # an option of a sampler; as many values for each
      reference: {sampler: unif}                         # the arm that the tuned arms are compared with; the default
      margin: 0.5                                        # of that contrast, in points; the default
      controls: true                                     # judge each arm against its random control too, which has the
                                                         # arm's rate and strength; not the default
      conditions:                                        # where the tuned arms are compared too, tuned once;
        noisy: {dataset: digits(noise=0.2), margin: 1}   # settings over those of `where`; a margin of its own

The rule (`iskit.judging.optimum`). Of each arm's learning rates the one with the highest mean accuracy is the best; of
those within one standard error of it, the one nearest 0.1 is chosen. While some arm's best stands on the edge of the
grid, the grid grows there by one value for ALL arms, EXTENSIONS times at most. Then, with its learning rate, each arm
with a strength tries its values, and each other arm as many learning rates more, between the chosen one's neighbours.
Of strengths the best is chosen, the arm as it was named among them. A trial that diverges has lost to all others.

The trials (`iskit.judging.tuning`) are ordinary runs of the study `<study>-tuning`. The test set is not looked at:
`validation` stands in its place. What comes out is a study file of the tuned arms, to be trained on the full training
set by the study's seeds.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from iskit.errors import InputError, shown, suggest
from iskit.inputs import typed
from iskit.judging import contrasts
from iskit.judging.optimum import USUAL
from iskit.runs.experiment import BYSTANDERS, Experiment
from iskit.runs.parts import specs
from iskit.samplers import samplers
from iskit.study import plan
from iskit.study.plan import Plan

KEYS = ("where", "arms", "validation", "lr", "seeds", "strengths", "reference", "margin", "controls", "conditions")
LR = (0.025, 0.05, 0.1, 0.2, 0.4)
SEEDS = 2
FIRST = 101  # seed of trials: those below are a study's own
EXTENSIONS = 3  # of the grid of learning rates, by a step at each edge that asks for it
FOREIGN = ("study", "seed", "seeds", "lr", "validation")  # that no arm may settle
TUNED = "tuned"  # the comparison where the arms were tuned, beside those in other conditions


@dataclass(frozen=True)
class Arm:
    """title: what it differs by; own: the settings that name it; strength: the option to try and its values."""

    title: str
    own: Mapping[str, Any]
    option: str = ""
    values: tuple[Any, ...] = ()

    def with_strength(self, value: Any) -> dict[str, Any]:
        """Its settings with that value of the option."""
        name, options = samplers.parse(self.own["sampler"])
        return {**self.own, "sampler": samplers.spec(name, {**options, self.option: value})}


@dataclass(frozen=True)
class Task:
    """What a section `tune` asks for, checked. common: settings of all arms but for those of trials; seeds: of the
    trials; final: the study's own, as its file gives them; reference: number of an arm; further: trials of each arm
    after the learning rates, by seed; conditions: by name the settings over `where`, and the margin; controls: whether
    random controls are judged too."""

    study: str
    common: Mapping[str, Any]
    where: Mapping[str, Any]
    arms: tuple[Arm, ...]
    reference: int
    validation: int
    lr: tuple[float, ...]
    seeds: tuple[int, ...]
    final: Mapping[str, Any]
    further: int
    conditions: Mapping[str, tuple[Mapping[str, Any], float]]
    controls: bool

    def experiment(self, settings: Mapping[str, Any], lr: float, seed: int = FIRST) -> Experiment:
        """A trial of these settings."""
        own = {"study": f"{self.study}-tuning", "validation": self.validation, "lr": lr, "seed": seed}
        return Experiment.parse({**self.common, **self.where, **settings, **own})

    def tuned(self, chosen: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """The study file of the arms with these settings, in the order of the arms."""
        alike = {key: value for key, value in self.common.items() if key not in BYSTANDERS}
        blocks: dict[str, Any] = {}
        compared: dict[str, Any] = {}
        for condition, (settings, margin) in self.conditions.items():
            where = {**self.where, **settings}
            arms = {arm.title: dict(own) for arm, own in zip(self.arms, chosen, strict=True)}
            blocks |= {f"{condition}: {title}": {**where, **own} for title, own in arms.items()}
            about = {"where": {**alike, **where}, "margin": margin}
            controls = {title: control for title, own in arms.items() if self.controls and (control := _control(own))}
            for title, control in controls.items():
                blocks[f"{condition}: {title}, control"] = {**where, **control}
                compared[f"{condition}: {title}, control"] = {**about, "reference": control, "arms": [arms[title]]}
            reference = arms.pop(self.arms[self.reference].title)
            compared[condition] = {**about, "reference": reference, "arms": list(arms.values())}
        return {"study": self.study, **self.common, **self.final, "blocks": blocks, "contrasts": compared}


def _control(settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """The random control of an arm, None if its sampler has none."""
    name, options = samplers.parse(settings["sampler"])
    if "control" not in samplers.options(name) or options.get("control"):
        return None
    return {**settings, "sampler": samplers.spec(name, {**options, "control": True})}


def read(source: Plan) -> Task:
    """What the section `tune` of a study file asks for. InputError names what of it cannot work."""
    try:
        return _task(source)
    except InputError as error:
        raise InputError(f"{source.name or source.study}: tune: {error}") from None


def _task(source: Plan) -> Task:
    said = source.tune
    if not said:
        raise InputError("the file has no such section: name arms and validation in it")
    contrasts.check_keys("it", said, KEYS)
    where, arms = said.get("where") or {}, contrasts.specs(said.get("arms"))
    reference = said.get("reference", contrasts.REFERENCE)
    for key, value in {"where": where, "reference": reference}.items():
        if not isinstance(value, Mapping):
            raise InputError(f"{key}={shown(value)} must be settings of runs, key: value")
    for settings in (where, reference, *arms):
        for key in FOREIGN:
            if key in settings:
                raise InputError(
                    f"{key}={shown(settings[key])} is no setting of an arm: trials have theirs, seeds from {FIRST} on"
                )
    common = {key: value for key, value in source.common.items() if key not in FOREIGN}
    for key, value in {**common, **where}.items():
        if isinstance(value, list | tuple) and not (key not in where and all(key in arm for arm in arms)):
            raise InputError(f"{key}={shown(value)} is several: name one in where, or one in each arm")
    if source.common.get("validation"):
        raise InputError("validation stands outside of it too: final runs are on the full training set, leave it out")
    keys = {key: getattr(Experiment(), key, None) for key in ("sampler", *(key for arm in arms for key in arm))}
    common = contrasts.settled({key: value for key, value in common.items() if not isinstance(value, list | tuple)})
    where = contrasts.settled(where)
    named = [contrasts.settled({**keys, **common, **where, **arm}) for arm in arms]
    own = [{key: one[key] for key in keys} for one in named]
    for number, one in enumerate(own):
        if one in own[:number]:
            raise InputError(f"the arm {', '.join(contrasts.words(one))} is named twice")
    shared = {key: value for key, value in own[0].items() if all(one[key] == value for one in own)}
    titles = [", ".join(contrasts.words(one, shared) or contrasts.words(one)) for one in own]
    lr = _rates(said.get("lr", LR))
    strengths = _strengths(said.get("strengths") or {}, own)
    wanted = contrasts.settled(reference)
    matching = [number for number, one in enumerate(named) if wanted.items() <= one.items()]
    if len(matching) != 1:
        raise InputError(
            f"reference={shown(dict(reference))} fits {len(matching)} of the arms: it must be one of them, tuned alike"
        )
    task = Task(
        study=source.study,
        common=common,
        where=where,
        arms=tuple(
            Arm(title, one, *strengths.get(samplers.parse(one["sampler"])[0], ()))
            for title, one in zip(titles, own, strict=True)
        ),
        reference=matching[0],
        validation=_whole("validation", said.get("validation", 0), 1),
        lr=lr,
        seeds=tuple(range(FIRST, FIRST + _whole("seeds", said.get("seeds", SEEDS), 2))),
        final={key: source.common[key] for key in ("seed", "seeds") if key in source.common},
        further=max((len(values) for _, values in strengths.values()), default=0),
        conditions=_conditions(said, {key for one in (*arms, reference) for key in one}),
        controls=typed("controls", said.get("controls", False), bool),
    )
    _check(task, source)
    return task


def _check(task: Task, source: Plan) -> None:
    """Every trial that is known now, and the file of the tuned arms with settings not yet chosen."""
    for arm in task.arms:
        tried = [arm.own, *map(arm.with_strength, arm.values)]
        spelt = [contrasts.settled(settings)["sampler"] for settings in tried]
        if len(set(spelt)) < len(spelt):
            raise InputError(f"strengths of {arm.title}: the values of {arm.option} must differ, and from its own")
        for settings in tried:
            specs(task.experiment(settings, task.lr[0]))
    final = plan.read(task.tuned([{**arm.own, "lr": USUAL} for arm in task.arms]))
    contrasts.read(final.contrasts)
    study = [one for block in (*source.blocks.values(), *final.blocks.values()) for one in block]
    if taken := [one.seed for one in study if one.seed >= FIRST]:
        raise InputError(f"the study's own seed={taken[0]} may be a trial's: give it seeds below {FIRST}")


def _conditions(said: Mapping[str, Any], named: Collection[str]) -> dict[str, tuple[dict[str, Any], float]]:
    """By name: settings, the margin. named: settings that tell the arms apart, which no condition may change."""
    margin = said.get("margin", contrasts.MARGIN)
    more = said.get("conditions") or {}
    if not isinstance(more, Mapping) or not all(isinstance(one, Mapping) for one in more.values()):
        raise InputError(f"conditions={shown(more)} must map names to settings, as {{noisy: {{dataset: ...}}}}")
    found: dict[str, tuple[dict[str, Any], float]] = {TUNED: ({}, margin)}
    for name, one in more.items():
        settings = {key: value for key, value in one.items() if key != "margin"}
        if not settings or name == TUNED:
            raise InputError(f"conditions: {name}={shown(dict(one))} must change a setting, and not be named {TUNED}")
        if taken := [key for key in settings if key in named or key in FOREIGN]:
            raise InputError(f"conditions: {name}: {taken[0]} is the arms' or the trials', leave it out")
        found[str(name)] = (contrasts.settled(settings), one.get("margin", margin))
    return found


def _strengths(said: Any, arms: Sequence[Mapping[str, Any]]) -> dict[str, tuple[str, tuple[Any, ...]]]:
    """By name of a sampler: its option and the values."""
    present = {samplers.parse(arm["sampler"])[0] for arm in arms}
    if not isinstance(said, Mapping):
        raise InputError(f"strengths={shown(said)} must map samplers to an option and its values")
    found: dict[str, tuple[str, tuple[Any, ...]]] = {}
    for spec, one in said.items():
        name = samplers.parse(spec)[0]
        if name not in present or name in found:
            raise InputError(f"strengths: {spec!r} must be the sampler of an arm, and stand once")
        if (
            not isinstance(one, Mapping)
            or len(one) != 1
            or not all(isinstance(v, list) and v and None not in v for v in one.values())
        ):
            raise InputError(
                f"strengths of {spec}: {shown(one)} must be one option and its values, as {{beta: [1, 2]}}"
            )
        [(option, values)] = one.items()
        if option not in samplers.options(name):
            raise InputError(
                f"strengths of {spec}: unknown option {shown(option)}: {suggest(str(option), samplers.options(name))}"
            )
        found[name] = (option, tuple(values))
    counts = {name: len(values) for name, (_, values) in found.items()}
    if len(set(counts.values())) > 1:
        raise InputError(f"strengths: as many values for each sampler, not {shown(counts)}: trials are alike")
    return found


def _rates(said: Any) -> tuple[float, ...]:
    rates = [typed("lr", one, float) for one in (said if isinstance(said, list | tuple) else [said])]
    if len(rates) < 3 or len(set(rates)) < len(rates) or min(rates) <= 0:
        raise InputError(f"lr={shown(said)} must be three different numbers above 0 or more")
    return tuple(sorted(rates))


def _whole(name: str, said: Any, lowest: int) -> int:
    count = typed(name, said, int)
    if count < lowest:
        why = {"validation": "the examples that judge the trials", "seeds": "one trial has no standard error"}[name]
        raise InputError(f"{name}={count} must be at least {lowest}: {why}")
    return count
