"""What every sampler promises, as questions: the registry's tests and `iskit check-sampler` ask the same ones.

Each takes `make`, which gives a Trainer of a few steps for a sampler's spec, and returns what is wrong, or nothing.
"""

import itertools
import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from iskit import files
from iskit.augment import Pipeline
from iskit.data import Dataset
from iskit.data.toy import corners
from iskit.errors import InputError
from iskit.inputs import load_python, own_line, reason
from iskit.models import models
from iskit.randomness import Stream, permutation
from iskit.registry import own_parts
from iskit.samplers import Sampler, samplers
from iskit.training.schedules import schedules
from iskit.training.trainer import Trainer

Make = Callable[..., Trainer]


def make(sampler: str = "unif", augment: str = "none", data: Dataset | None = None, **settings: Any) -> Trainer:
    """A Trainer on `corners`, or other data: 4 epochs at a budget of a half, unless the settings say otherwise."""
    settings = {"budget": 0.5, "epochs": 4, "batch_size": 16, "lr": 0.05, "evals": 3, "seed": 1} | settings
    model = settings.pop("model", "cnn(width=4)")
    settings["schedule"] = schedules.partial(settings.pop("schedule", "linear"))
    data = corners() if data is None else data
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings["seed"])
        network = models.create(model, len(data.classes), data.channels, data.size)
    return Trainer(network, data, samplers.create(sampler), Pipeline.parse(augment), **settings)


def finish(trainer: Trainer) -> Trainer:
    for _ in trainer:
        pass
    return trainer


def weights(trainer: Trainer) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in trainer.model.state_dict().items()}


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def least(make: Make, spec: str) -> float:
    """A half, or 1 for a sampler that knows no smaller budget."""
    try:
        make(spec, budget=0.5)
    except InputError:
        return 1.0
    return 0.5


def has_a_card(make: Make, spec: str) -> str:
    name = samplers.parse(spec)[0]
    try:
        samplers.card(name)
    except ValueError as error:
        return f"{error}: open the file with a docstring that has them, as in CONTRIBUTING.md"
    silent = samplers.options(name).keys() - samplers.meanings(name).keys()
    return f"the class's docstring does not say what {', '.join(sorted(silent))} means" if silent else ""


def is_neutral(make: Make, spec: str) -> str:
    """Batch for batch, at the setting that its card names."""
    try:
        same, budget = samplers.card(samplers.parse(spec)[0]).setting
    except ValueError:
        return "it has no card that names its neutral setting"
    samplers.parse(same)  # InputError if the card says what no spec string can
    full, ours = (finish(make(one, "standard|mixup", budget=budget, epochs=3)) for one in ("sgd", same))
    if not torch.equal(ours.history.counts, full.history.counts):
        return f"at {same} and budget=1 it trains other examples than sgd does"
    told = ("t", "accuracy", "loss", "train_loss")
    rows = zip(ours.history.rows, full.history.rows, strict=True)
    if not equal(weights(ours), weights(full)) or any(one[key] != other[key] for one, other in rows for key in told):
        return f"at {same} and budget=1 it trains the same examples as sgd, but ends elsewhere: in order or weights"
    return ""


def lands_on_its_budget(make: Make, spec: str, budget: float | None = None, unit: str = "backward") -> str:
    budget = least(make, spec) if budget is None else budget
    trainer = make(spec, budget=budget, unit=unit, evals=1)
    meter, batch = trainer.meter, trainer.batch_size
    goal = round(budget * trainer.budget.full * (1 if unit == "backward" else 3))
    before = [0.0]
    for _ in trainer:
        before.append(meter.backward if unit == "backward" else meter.cost)
    over = before[-1] - goal
    if before[-2] >= goal or not 0 <= over < (batch if unit == "backward" else 3 * batch):
        return f"budget={budget:g} is {goal} in {unit}, and it ended at {before[-1]:g} after {before[-2]:g}"
    if not meter.backward == meter.forward == trainer.history.counts.sum():
        return f"{meter.backward} backward passes are charged, {int(trainer.history.counts.sum())} examples counted"
    return ""


def answers_whole(make: Make, spec: str) -> str:
    """Weights of all examples, and rows of the pool that it was shown."""
    trainer = make(spec, budget=least(make, spec))
    wrong: list[str] = []
    plan, select = trainer.sampler.plan, trainer.sampler.select

    def planned(t: float, epoch: int, size: int) -> Tensor | None:
        weight, n = plan(t, epoch, size), trainer.sampler.n
        if weight is not None and (not isinstance(weight, Tensor) or weight.shape != (n,)):
            wrong.append(f"plan must return None or a tensor ({n},), a weight for each example, 0 to leave it out")
            raise StopAsking
        if weight is not None and not (weight.isfinite().all() and (weight >= 0).all() and weight.any()):
            wrong.append("plan gave weights that are negative, not finite, or all 0")
            raise StopAsking
        return weight

    def selected(pool: Any, score: Any) -> Any:
        chosen = select(pool, score)
        if chosen is None:
            return None
        rows, weight = chosen
        if rows.shape != weight.shape or rows.ndim != 1 or rows.dtype != torch.int64:
            wrong.append("select must return rows (int64) and weights, one each")
        elif len(rows) and not (int(rows.min()) >= 0 and int(rows.max()) < len(pool)):
            wrong.append(f"select gave rows outside the pool of {len(pool)}")
        elif not weight.isfinite().all():
            wrong.append("select gave weights that are not finite")
        if wrong:
            raise StopAsking
        return chosen

    trainer.sampler.plan, trainer.sampler.select = planned, selected  # type: ignore[method-assign]
    with suppress(StopAsking):
        finish(trainer)
    return wrong[0] if wrong else ""


class StopAsking(Exception):
    """The answer is known."""


def keeps_its_state_in_place(make: Make, spec: str) -> str:
    """Tensors, made in `bind`: a checkpoint fills them, a captured step reads where they lie."""
    trainer = make(spec, budget=least(make, spec))
    places = {key: value.data_ptr() for key, value in trainer.sampler.state_dict().items()}
    finish(trainer)
    after = {key: value.data_ptr() for key, value in trainer.sampler.state_dict().items()}
    moved = sorted(key for key in places.keys() | after.keys() if places.get(key) != after.get(key))
    return f"{', '.join(moved)}: make tensors in bind and change them in place, by copy_ or [...] =" if moved else ""


def changes_only_tensors(make: Make, spec: str, **settings: Any) -> str:
    """What is no tensor is in no checkpoint."""
    trainer = make(spec, **{"budget": least(make, spec), **settings})

    def rest() -> dict[str, str]:
        passing = "told"  # between a choice and the question for it, within a step
        state = vars(trainer.sampler).items()
        return {key: repr(value) for key, value in state if not isinstance(value, Tensor) and key != passing}

    before = rest()
    finish(trainer)
    changed = ", ".join(sorted(key for key, value in rest().items() if before.get(key) != value))
    return f"{changed} changed and is in no checkpoint: keep it in a tensor that bind makes" if changed else ""


def goes_through_a_file(make: Make, spec: str) -> str:
    budget = least(make, spec)
    trained, fresh = (make(spec, budget=budget) for _ in range(2))
    for t in trained:
        if t > 0.6:
            break
    fresh.sampler.load_state_dict({key: value.clone() for key, value in trained.sampler.state_dict().items()})
    plans = [trainer.sampler.plan(0.7, 4, 100) for trainer in (trained, fresh)]
    same = plans[0] is plans[1] is None or (None not in plans and torch.equal(*plans))  # type: ignore[arg-type]
    return "" if same else "with the state of a stopped run it plans another epoch than the run would have"


def leaves_global_random_states(make: Make, spec: str) -> str:
    trainer = make(spec, budget=least(make, spec), epochs=3)
    touched: set[str] = set()

    def states() -> list[str]:
        return [str(torch.get_rng_state().tolist()), str(random.getstate()), str(np.random.get_state())]  # noqa: NPY002

    def watched(hook: str) -> Callable[..., Any]:
        original = getattr(trainer.sampler, hook)

        def call(*args: Any) -> Any:
            before, result = states(), original(*args)
            if states() != before:
                touched.add(hook)
            return result

        return call

    for hook in ("plan", "candidates", "select", "reduce", "update"):
        setattr(trainer.sampler, hook, watched(hook))
    finish(trainer)
    which = ", ".join(sorted(touched))
    return f"{which} drew from a global generator: draw by iskit.randomness, stream CHOICE" if touched else ""


def follows_the_common_order(make: Make, spec: str) -> str:
    """Some of sgd's rows, each once, in sgd's order: methods are compared on the same shuffles."""
    trainer = make(spec, budget=least(make, spec), seed=5)
    shown: list[tuple[int, int]] = []
    select = trainer.sampler.select

    def watched(pool: Any, score: Any) -> Any:
        shown.extend(zip(pool.epoch.tolist(), pool.index.tolist(), strict=True))
        return select(pool, score)

    trainer.sampler.select = watched  # type: ignore[method-assign]
    finish(trainer)
    for epoch, rows in itertools.groupby(sorted(shown, key=lambda row: row[0]), key=lambda row: row[0]):
        position = permutation(5, Stream.ORDER, epoch, trainer.sampler.n).argsort()  # of each example in sgd's epoch
        if not (position[[index for _, index in rows]].diff() > 0).all():
            return f"in epoch {epoch} its examples came in another order than sgd's"
    return ""


def repeats_itself(make: Make, spec: str) -> str:
    budget = least(make, spec)
    one, same, other = (finish(make(spec, "standard", budget=budget, seed=seed)) for seed in (1, 1, 2))
    if not (equal(weights(one), weights(same)) and torch.equal(one.history.counts, same.history.counts)):
        return "two runs of one seed ended differently: draw by iskit.randomness, with the seed that bind is given"
    return "two seeds gave the same run" if equal(weights(one), weights(other)) else ""


def tells_how_far(make: Make, spec: str) -> str:
    """Of choices that follow what the model learns: two models that learn differently show whether they do."""
    budget = least(make, spec)
    one, other = (finish(make(spec, budget=budget, lr=lr)) for lr in (0.05, 0.005))
    told = any(trainer.acting.means(1)["acted"] for trainer in (one, other))
    if told or torch.equal(one.history.counts, other.history.counts):
        return ""
    return (
        "which examples it trains follows from what the model learns, but it never says how far that is from a uniform "
        "choice: call self.tell in plan or select, or verdicts will say that it never acted"
    )


PROMISES: dict[str, Callable[[Make, str], str]] = {
    "says what it does, and what each option means": has_a_card,
    "answers in the shapes that are asked for": answers_whole,
    "ends on its budget, within one batch": lands_on_its_budget,
    "is plain SGD at its neutral setting": is_neutral,
    "repeats itself, and heeds the seed": repeats_itself,
    "leaves global random states alone": leaves_global_random_states,
    "trains in the common order": follows_the_common_order,
    "keeps its state in place": keeps_its_state_in_place,
    "keeps all that changes in tensors": changes_only_tensors,
    "goes on from a checkpoint as it would have": goes_through_a_file,
    "tells how far its choices are from uniform ones": tells_how_far,
}


def own_specs(spec: str) -> list[str]:
    """`mine.py` stands for all samplers in that file; any other spec for itself. InputError if there are none."""
    if not spec.endswith(".py"):
        samplers.parse(spec)
        return [spec]
    names = list(own_parts(load_python(files.root() / Path(spec)), Sampler))
    if not names:
        raise InputError(f"{spec} holds no sampler: write class Mine(Sampler), from iskit.samplers import Sampler")
    for name in names:
        samplers.parse(f"{spec}:{name}")
    return [f"{spec}:{name}" for name in names]


def judge(spec: str) -> Iterator[tuple[str, str]]:
    """Each promise in plain words, and what of it is broken, or nothing; of one that cannot be trained, no more."""
    for promise, broken in PROMISES.items():
        try:
            wrong = broken(make, spec)
        except InputError as error:
            wrong = f"refused: {error}"
        except Exception as error:  # whatever a user's own code raises
            wrong = own_line(error) or reason(error)
        yield promise, wrong
        if wrong and broken is answers_whole:
            return
