"""What a person with a GPU runs once: is the fast path right, and how fast is it? `gpu()`.

python -m iskit.bench.gpu        # the table; kept as outputs/bench/gpu-*.json
"""

import copy
import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from iskit import files
from iskit.augment import Pipeline
from iskit.data import Dataset
from iskit.errors import InputError
from iskit.evaluation import measure
from iskit.feed import GPU_CHUNK
from iskit.graphs import compiled
from iskit.models import models
from iskit.samplers import Sampler, samplers
from iskit.schedules import linear
from iskit.summary import commit
from iskit.trainer import Trainer

BUDGET, EPOCHS, EVALS = 0.3, 200, 20  # the run whose seconds are told
SETTLE = 20  # steps before a measurement: they capture, and choose algorithms
LONGEST = 120.0  # seconds that the whole run may take to be measured and not extrapolated
SAMPLERS = ("p", "c", "gnorm(tau_min=0)", "selective_backprop")
AUGMENTS = ("randaugment|standard", "standard|mixup", "standard|ricap")


class Laboratory:
    """Trainers of one model, compiled once, begun anew for each, on images of CIFAR-10's shape and number."""

    def __init__(self, examples: int, model: str, batch_size: int, device: torch.device):
        random = torch.Generator().manual_seed(0)
        label = torch.randint(10, (examples + examples // 5,), generator=random)
        image = torch.randint(156, (len(label), 32, 32, 3), generator=random) + 11 * label.view(-1, 1, 1, 1)
        parts = image.byte().split(examples), label.split(examples)  # brighter, the higher its class: to be learnt
        (train, test), (train_label, test_label) = parts
        grey, spread = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
        data = Dataset(train, train_label, test, test_label, mean=grey, std=spread, classes=tuple("0123456789"))
        self.data, self.batch_size, self.device = data.to(device), batch_size, device
        self.model = models.create(model, 10, 3, 32).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.start = copy.deepcopy(self.model.state_dict())

    def trainer(self, sampler: str = "unif", augment: str = "standard", **settings: Any) -> Trainer:
        self.model.load_state_dict(self.start)
        settings = {"budget": BUDGET, "epochs": EPOCHS, "evals": 1, "lr": 0.05, "schedule": linear, **settings}
        return Trainer(
            self.model,
            self.data,
            samplers.create(sampler),
            Pipeline.parse(augment),
            batch_size=self.batch_size,
            **settings,
        )

    def seconds(self, trainer: Trainer, steps: int) -> float:
        """Of a step, as trained, everything but warm-up and evaluation; once it scores candidates if it is to."""
        run = iter(trainer)
        advance(run, SETTLE)
        if type(trainer.sampler).select is not Sampler.select:
            while trainer.meter.forward_only == 0:
                next(run)
            advance(run, SETTLE)
        before = copy.deepcopy(trainer.meter)
        start = self.now()
        advance(run, steps)
        found = self.now() - start
        trainer.meter.forward_only -= before.forward_only  # what is charged is what was timed
        trainer.meter.forward -= before.forward
        trainer.meter.backward -= before.backward
        return found / steps

    def now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()


def gpu(
    examples: int = 50_000, model: str = "resnet18", batch_size: int = 128, steps: int = 400, device: str = "cuda"
) -> pd.DataFrame:
    """One row a check: what, value, unit, goal, good (None where nothing is asked), and what to know of it.

    device: "cpu" shows that the checks themselves run. InputError if there is no GPU.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("device='cuda' is not there: run this check where PyTorch finds a GPU")
    lab = Laboratory(examples, model, batch_size, torch.device(device))
    rows: list[dict[str, Any]] = []

    def tell(check: str, value: float, unit: str, goal: str = "", good: bool | None = None, note: str = "") -> None:
        rows.append({"check": check, "value": value, "unit": unit, "goal": goal, "good": good, "note": note})

    base = _speed(lab, steps, tell)
    _overheads(lab, steps, base, tell)
    _right(lab, min(steps, 200), tell)
    return pd.DataFrame(rows)


Tell = Callable[..., None]


def _speed(lab: Laboratory, steps: int, tell: Tell) -> float:
    """Warm-up, images a second, the whole run. Returns the seconds of a plain step."""
    trainer = lab.trainer()
    base = lab.seconds(trainer, steps)
    measure(trainer.logits, lab.data)  # captures
    start = lab.now()
    measure(trainer.logits, lab.data)
    evaluation = lab.now() - start
    trainer.watch.settle()
    warm = trainer.meter.seconds["warmup"]
    tell("warm-up", warm, "s", "< 60", warm < 60, "compiling and capturing, once a process")
    speed = lab.batch_size / base
    tell("train, standard", speed, "images/s", ">= 50,000", speed >= 50_000, f"{trainer.captures=}, {trainer.bf16=}")
    tell("evaluation", evaluation, "s", note=f"{len(lab.data.test_label)} images")
    eager = lab.seconds(lab.trainer(compile="off"), steps)
    tell("train, compile=off", lab.batch_size / eager, "images/s", note="the eager loop")
    whole = BUDGET * EPOCHS * len(lab.data) * base / lab.batch_size
    note = f"extrapolated from {steps} steps"
    if whole < LONGEST:
        run = lab.trainer(evals=EVALS)
        for _ in run:
            pass
        run.watch.settle()
        whole, note = run.meter.training_seconds, "measured"
    tell(f"B = {BUDGET}, {EPOCHS} epochs", whole, "s", "< 65", whole < 65, f"training, {note}")
    tell("its evaluations", EVALS * evaluation, "s", note=f"{EVALS} of them")
    if lab.device.type == "cuda":
        tell("peak memory", torch.cuda.max_memory_allocated() / 2**20, "MiB")
        with layout():
            forced = lab.seconds(lab.trainer(), steps)
        tell("train, layout forced", lab.batch_size / forced, "images/s", note="TORCHINDUCTOR_FORCE_LAYOUT_OPT=1")
        again = lab.trainer()
        advance(iter(again), SETTLE)
        again.watch.settle()
        tell(
            "warm-up again", again.meter.seconds["warmup"], "s", note="compiled anew, its kernels from the disk's cache"
        )
    return base


def _overheads(lab: Laboratory, steps: int, base: float, tell: Tell) -> None:
    """What samplers take beyond their passes of examples, and augmentations beyond the standard one, in percent."""
    for spec in SAMPLERS:
        trainer = lab.trainer(spec)
        seconds = lab.seconds(trainer, steps)
        due = base * trainer.meter.cost / (3 * trainer.meter.backward)  # a backward pass costs two forward ones
        over, most = 100 * (seconds / due - 1), 3 if trainer.meter.forward_only == 0 else 10
        note = f"{1000 * seconds:.3f} ms a step; its passes: {1000 * due:.3f}"
        tell(f"overhead of {spec}", over, "%", f"< {most}", over < most, note)
    for spec in AUGMENTS:
        over = 100 * (lab.seconds(lab.trainer(augment=spec), steps) / base - 1)
        tell(f"overhead of {spec}", over, "%", "< 5", over < 5, "against standard alone, epochs' augmentation included")
    _augmented(lab, lab.data.image, epoch=0)  # makes the tables
    start = lab.now()
    _augmented(lab, lab.data.image, epoch=1)
    seconds = lab.now() - start
    tell("RandAugment, an epoch", seconds, "s", "< 0.1", seconds < 0.1, f"{len(lab.data)} images, crop and flip too")


def _augmented(lab: Laboratory, image: Tensor, epoch: int) -> list[Tensor]:
    """Through RandAugment and the standard crop and flip, on the images' device, in the chunks of training."""
    pipeline = Pipeline.parse(AUGMENTS[0])
    pipeline.bind(seed=1, pad=lab.data.pad, flip=lab.data.flip)
    index = torch.arange(len(image), device=image.device)
    chunks = index.split(-(-GPU_CHUNK // image[0].numel()))
    return [pipeline.image(image.index_select(0, chunk), chunk, epoch) for chunk in chunks]


def _right(lab: Laboratory, steps: int, tell: Tell) -> None:
    """Graphs against the eager loop, waiting, and repeating."""
    budget: dict[str, Any] = {"budget": steps * lab.batch_size / (EPOCHS * len(lab.data)), "evals": 10}

    def losses(**settings: Any) -> Tensor:
        trainer = lab.trainer(**budget, **settings)
        for _ in trainer:
            pass
        return torch.tensor([row["train_loss"] for row in trainer.history.rows])

    graph, eager = losses(), losses(compile="off")
    apart = ((graph - eager).abs() / eager).max().item()
    tell(
        "graph against eager",
        apart,
        "",
        "< 0.05",
        apart < 0.05,
        f"training loss over {steps} steps, largest difference",
    )
    plain = losses(compile="off", precision="float32")
    tell("bf16 against float32", ((eager - plain).abs() / plain).max().item(), "", note="for comparison, both eager")

    image = lab.data.image[:1000]
    [here], [there] = (_augmented(lab, each, epoch=0) for each in (image, image.cpu()))
    good = torch.equal(here.cpu(), there)
    tell("RandAugment as on a CPU", float(good), "", "bit for bit", good, f"{len(image)} images")

    for spec, augment in (("unif", "standard"), ("p", AUGMENTS[0]), ("c", AUGMENTS[2]), ("ordered", AUGMENTS[1])):
        tell(f"{spec}, {augment} waits", *_waits(lab, spec, augment))

    def end(stop: int = 0) -> dict[str, Tensor]:
        """The model of a deterministic run; stopped after so many steps, and gone on with by another trainer."""
        settings: dict[str, Any] = {"sampler": "p", "augment": "standard|mixup", "deterministic": True, **budget}
        trainer = lab.trainer(**settings)
        if stop:
            advance(iter(trainer), stop)
            state = copy.deepcopy(trainer.state_dict())
            trainer = lab.trainer(**settings)
            trainer.load_state_dict(state)
        for _ in trainer:
            pass
        return copy.deepcopy(lab.model.state_dict())

    first = end()
    for name, other in {"repeats": end(), "resumes": end(steps // 2)}.items():
        good = all(torch.equal(value, other[key]) for key, value in first.items())
        tell(f"deterministic run {name}", float(good), "", "bit for bit", good, f"{steps} steps")


def _waits(lab: Laboratory, spec: str, augment: str) -> tuple[float, str, str, bool | None, str]:
    trainer = lab.trainer(spec, augment)
    run = iter(trainer)
    advance(run, SETTLE)
    left = (len(trainer.feed.walk.rows) - trainer.feed.walk.position) // lab.batch_size  # steps without planning
    if lab.device.type != "cuda":
        return 0.0, "", "no", None, "not measured on a GPU"
    torch.cuda.set_sync_debug_mode("error")
    try:
        advance(run, left)
    except RuntimeError as error:
        return 1.0, "", "no", False, str(error).partition("\n")[0]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return 0.0, "", "no", True, f"{left} steps within an epoch"


def advance(run: Iterator[float], steps: int) -> None:
    for _ in itertools.islice(run, steps):
        pass


@contextmanager
def layout() -> Iterator[None]:
    """Compiles with convolutions' layout forced to channels-last, backward too."""
    import torch._inductor.config as inductor

    torch._dynamo.reset()
    compiled.cache_clear()
    with inductor.patch(force_layout_optimization=True):
        yield
    torch._dynamo.reset()
    compiled.cache_clear()


def about() -> dict[str, Any]:
    return {
        "at": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "device": torch.cuda.get_device_name(),
        "versions": {name: version(name) for name in ("torch", "numpy")} | {"cuda": torch.version.cuda},
        "commit": commit(),
    }


if __name__ == "__main__":
    frame = gpu()
    path = files.root() / "outputs" / "bench" / f"gpu-{time.strftime('%Y%m%d-%H%M%S')}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_json(path, {"about": about(), "tables": {"gpu": frame.to_dict("records")}})
    print(frame.to_string(index=False), f"\n{about()}\nkept: {path}")
