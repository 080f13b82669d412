"""What a person with a GPU runs once: is the fast path right, and how fast is it? `gpu()`.

python -m iskit.bench.gpu        # row by row, shown and kept at once as outputs/bench/gpu-*.json
"""

import copy
import sys
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from typing import Any, NamedTuple

import pandas as pd
import torch
from torch import Tensor

from iskit import files
from iskit.bench.laboratory import BUDGET, Laboratory, NotCaptured, advance, captured, compare, finish, layout, need
from iskit.errors import InputError
from iskit.runs.summary import commit
from iskit.training import probe

EVALS = 20  # of the run whose seconds are told
LONGEST = 120.0  # seconds that the whole run may take to be measured and not extrapolated
SAMPLERS = ("p", "c", "gnorm(tau_min=0)", "selective_backprop")
AUGMENTS = ("randaugment|standard", "standard|mixup", "standard|ricap")
WAITS = (("unif", "standard"), ("p", AUGMENTS[0]), ("c", AUGMENTS[2]), ("ordered", AUGMENTS[1]))

# A step's losses by graph and eagerly: bf16 alone makes them differ by up to 0.008, an update left out by 0.3.
APART = 0.02
DRIFT = 0.05  # of training losses over many steps, or twice what bf16 alone makes of it

Rows = list[dict[str, Any]]


class Found(NamedTuple):
    """Of a check; good: None where nothing is asked, or nothing is shown."""

    value: float | None
    unit: str = ""
    goal: str = ""
    good: bool | None = None
    note: str = ""


def gpu(
    examples: int = 50_000,
    model: str = "resnet18",
    batch_size: int = 128,
    steps: int = 400,
    epochs: int = 200,
    settle: int = 20,
    device: str = "cuda",
    show: Callable[[Rows], Any] | None = None,
) -> pd.DataFrame:
    """One row a check: what, value, unit, goal, good (None where nothing is asked or shown), and what to know of it.

    A check that fails is a row too, not good, and the others go on. show: is given the rows so far after each.
    device: "cpu" shows that the checks themselves run. InputError if there is no GPU.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("device='cuda' is not there: run this check where PyTorch finds a GPU")
    lab = Laboratory(examples, model, batch_size, steps, epochs, settle, torch.device(device))
    rows: Rows = []
    for name, check in checks(lab).items():
        try:
            found = check()
        except NotCaptured:
            found = Found(None, note="not shown: its steps were not captured")
        except Exception as error:  # whatever a new machine has in store
            found = Found(None, good=False, note=f"{type(error).__name__}: {error}")
        rows.append({"check": name, **found._asdict()})
        if show:
            show(rows)
    return pd.DataFrame(rows)


def checks(lab: Laboratory) -> dict[str, Callable[[], Found]]:
    few = min(lab.steps, 200)
    found: dict[str, Callable[..., Found]] = {
        "warm-up": _warmup,
        "captured": partial(_captured, part="learn"),
        "captured, evaluation": partial(_captured, part="infer"),
        "train, standard": _train,
        "evaluation": _evaluation,
        "peak memory": _memory,
        "train, compile=off": _eager,
        f"B = {BUDGET}, {lab.epochs} epochs": _whole,
        "its evaluations": _evaluations,
        "train, layout forced": _forced,
        "warm-up again": _again,
        **{f"overhead of {spec}": partial(_sampler, spec=spec) for spec in SAMPLERS},
        **{f"overhead of {spec}": partial(_augment, spec=spec) for spec in AUGMENTS},
        "RandAugment, an epoch": _randaugment,
        "graph against eager": partial(_steps, steps=few),
        "graph against eager, drift": partial(_drift, steps=few),
        "RandAugment as on a CPU": _bytes,
        **{f"{spec}, {augment} waits": partial(_waits, spec=spec, augment=augment) for spec, augment in WAITS},
        "deterministic run repeats": partial(_repeats, steps=few),
        "deterministic run resumes": partial(_repeats, steps=few, stop=few // 2),
    }
    return {name: partial(check, lab) for name, check in found.items()}


def _warmup(lab: Laboratory) -> Found:
    need(lab.first.trainer.learn)
    warm = lab.first.trainer.meter.seconds["warmup"]
    return Found(warm, "s", "< 60", warm < 60, "compiling and capturing, once a process")


def _captured(lab: Laboratory, part: str) -> Found:
    good = captured(getattr(lab.first.trainer, part))
    return Found(float(good), "", "yes", good, lab.first.reason)


def _train(lab: Laboratory) -> Found:
    trainer, speed = lab.first.trainer, lab.batch_size / lab.first.step
    note = f"captured={captured(trainer.learn)}, {trainer.bf16=}"
    return Found(speed, "images/s", ">= 50,000", speed >= 50_000, note)


def _evaluation(lab: Laboratory) -> Found:
    return Found(lab.first.evaluation, "s", note=f"{len(lab.data.test_label)} images")


def _evaluations(lab: Laboratory) -> Found:
    return Found(EVALS * lab.first.evaluation, "s", note=f"{EVALS} of them")


def _memory(lab: Laboratory) -> Found:
    if lab.device.type != "cuda":
        return Found(None, "MiB", note="not measured on a GPU")
    return Found(torch.cuda.max_memory_allocated() / 2**20, "MiB")


def _eager(lab: Laboratory) -> Found:
    return Found(lab.batch_size / lab.seconds(lab.trainer(compile="off")), "images/s", note="the eager loop")


def _whole(lab: Laboratory) -> Found:
    whole = BUDGET * lab.epochs * len(lab.data) * lab.first.step / lab.batch_size
    note = f"extrapolated from {lab.steps} steps"
    if whole < LONGEST:
        run = lab.trainer(evals=EVALS)
        finish(run)
        run.watch.settle()
        whole, note = run.meter.training_seconds, "measured"
    return Found(whole, "s", "< 65", whole < 65, f"training, {note}")


def _forced(lab: Laboratory) -> Found:
    with layout():
        trainer = lab.trainer()
        seconds = lab.seconds(trainer)
    need(trainer.learn)
    return Found(lab.batch_size / seconds, "images/s", note="TORCHINDUCTOR_FORCE_LAYOUT_OPT=1")


def _again(lab: Laboratory) -> Found:
    trainer = lab.trainer()
    advance(iter(trainer), lab.settle)
    trainer.watch.settle()
    need(trainer.learn)
    return Found(trainer.meter.seconds["warmup"], "s", note="compiled anew, its kernels from the disk's cache")


def _sampler(lab: Laboratory, spec: str) -> Found:
    """What a sampler takes beyond its passes of examples, in percent."""
    base, trainer = lab.base, lab.trainer(spec)
    seconds = lab.seconds(trainer)
    need(trainer.learn)
    due = base * trainer.meter.cost / (3 * trainer.meter.backward)  # a backward pass costs two forward ones
    over, most = 100 * (seconds / due - 1), 3 if trainer.meter.forward_only == 0 else 10
    note = f"{1000 * seconds:.3f} ms a step; its passes: {1000 * due:.3f}"
    return Found(over, "%", f"< {most}", over < most, note)


def _augment(lab: Laboratory, spec: str) -> Found:
    base, trainer = lab.base, lab.trainer(augment=spec)
    over = 100 * (lab.seconds(trainer) / base - 1)
    need(trainer.learn)
    return Found(over, "%", "< 5", over < 5, "against standard alone, epochs' augmentation included")


def _randaugment(lab: Laboratory) -> Found:
    lab.augmented(AUGMENTS[0], lab.data.image, epoch=0)  # makes the tables
    start = lab.now()
    lab.augmented(AUGMENTS[0], lab.data.image, epoch=1)
    seconds = lab.now() - start
    return Found(seconds, "s", "< 0.1", seconds < 0.1, f"{len(lab.data)} images, crop and flip too")


def _bytes(lab: Laboratory) -> Found:
    image = lab.data.image[:1000]
    [here], [there] = (lab.augmented(AUGMENTS[0], each, epoch=0) for each in (image, image.cpu()))
    good = torch.equal(here.cpu(), there)
    return Found(float(good), "", "bit for bit", good, f"{len(image)} images")


def _steps(lab: Laboratory, steps: int) -> Found:
    trainer = lab.trainer(budget=lab.budget(steps))
    graph = trainer.learn
    found = compare(trainer)
    finish(trainer)
    need(graph)
    apart = torch.tensor(found).max().item()  # nan if one is
    return Found(apart, "", f"< {APART}", apart < APART, f"loss of each of {steps} steps, and after it: the largest")


def _drift(lab: Laboratory, steps: int) -> Found:
    def losses(**settings: Any) -> Tensor:
        trainer = lab.trainer(budget=lab.budget(steps), evals=10, **settings)
        finish(trainer)
        if "compile" not in settings:
            need(trainer.learn)
        return torch.tensor([row["train_loss"] for row in trainer.history.rows])

    graph, eager, plain = losses(), losses(compile="off"), losses(compile="off", precision="float32")
    apart, rounding = (((one - other).abs() / other).max().item() for one, other in ((graph, eager), (eager, plain)))
    most = max(DRIFT, 2 * rounding)
    note = f"training loss over {steps} steps, largest difference; bf16 against float32, both eager: {rounding:.3f}"
    return Found(apart, "", f"<= {most:.3f}", apart <= most, note)


def _waits(lab: Laboratory, spec: str, augment: str) -> Found:
    if lab.device.type != "cuda":
        return Found(None, "", "no", note="not measured on a GPU")
    trainer = lab.trainer(spec, augment)
    run = iter(trainer)
    advance(run, lab.settle)
    need(trainer.learn)
    left = (len(trainer.feed.walk.rows) - trainer.feed.walk.position) // lab.batch_size  # steps without planning
    torch.cuda.set_sync_debug_mode("error")
    try:
        advance(run, left)
    except RuntimeError as error:
        return Found(1.0, "", "no", False, str(error).partition("\n")[0])
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return Found(0.0, "", "no", True, f"{left} steps within an epoch")


def _repeats(lab: Laboratory, steps: int, stop: int = 0) -> Found:
    """Whether a deterministic run ends as before; stop: after so many steps, and another trainer goes on with it."""
    make = partial(lab.trainer, "p", "standard|mixup", deterministic=True, budget=lab.budget(steps), evals=10)

    def end(stop: int = 0) -> dict[str, Tensor]:
        trainer = make()
        if stop:
            advance(iter(trainer), stop)
            state = copy.deepcopy(trainer.state_dict())
            trainer = make()
            trainer.load_state_dict(state)
        finish(trainer)
        need(trainer.learn)
        return copy.deepcopy(lab.model.state_dict())

    one, other = end(), end(stop)
    good = all(torch.equal(value, other[key]) for key, value in one.items())
    return Found(float(good), "", "bit for bit", good, f"{steps} steps")


def about() -> dict[str, Any]:
    return {
        "at": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else f"cpu ({probe.cpu()})",
        "versions": {name: version(name) for name in ("torch", "numpy")} | {"cuda": torch.version.cuda},
        "commit": commit(),
    }


def main(**settings: Any) -> None:
    path = files.root() / "outputs" / "bench" / f"gpu-{time.strftime('%Y%m%d-%H%M%S')}.json"

    def keep(rows: Rows) -> None:
        print(line(rows[-1]), flush=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_json(path, {"about": about(), "tables": {"gpu": rows}})

    gpu(**settings, show=keep)
    print(f"{about()}\nkept: {path}")


def line(row: dict[str, Any]) -> str:
    value = "" if row["value"] is None else f"{row['value']:,.4g}"
    good = {True: "good", False: "NOT GOOD", None: ""}[row["good"]]
    note = row["note"].partition("\n")[0]
    return f"{row['check']:<48} {value:>10} {row['unit']:<9} {row['goal']:<12} {good:<9} {note}".rstrip()


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        print(f"iskit: {error}", file=sys.stderr)
        sys.exit(2)
