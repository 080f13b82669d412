"""Nothing in a step waits for the GPU: shown on a CPU by counting what would read the device's memory, and on the
device "meta", which has none, so that nothing can be read there and nothing of the host can be mixed in."""

import functools
from collections import Counter
from collections.abc import Iterable

import pytest
import torch
import torch.nn.functional as F
from stepwise import network, small
from torch.utils._python_dispatch import TorchDispatchMode

from iskit.augment import Pipeline, augments, blend
from iskit.augment.tables import Tables
from iskit.budget import Budget, Meter
from iskit.data import Dataset
from iskit.samplers import Outcome, Sampler, samplers
from iskit.training.feed import Feed
from iskit.training.history import History
from iskit.training.scorer import penultimate
from iskit.training.tally import Tally
from iskit.training.walk import Walk

META = torch.device("meta")
# Samplers that look at the model once a step or pool may read once a step: that is how they steer.
SELECTING = {"gnorm", "loss", "selective_backprop"}
# What leaves examples out asks, once a pool, which of its rows are only scored.
LEAVING_OUT = {"ies", "kakurenbo"}
STRONG = {"gnorm": "gnorm(tau_min=0)", "loss": "loss(tau_min=0)", "rho": "rho(presample=2)"}
MORE = ["online_batch(recompute=1)", "gnorm(tau_min=0, score='full')", "ordered(ladder=(1, 2, 3))", "p(average=False)",
        "selective_backprop(stale=2)", "rho(presample=2, control=True)"]  # fmt: skip


class Reads(TorchDispatchMode):
    """Counts what would make the host wait for the device: numbers read, shapes that depend on values, copies of
    Python lists. host: tensors that the host keeps for itself, which it may read."""

    VALUES = ("_local_scalar_dense", "is_nonzero", "equal", "item")
    SHAPES = ("nonzero", "masked_select", "unique", "_unique2", "bincount", "repeat_interleave", "allclose")

    def __init__(self, patch: pytest.MonkeyPatch, host: Iterable[torch.Tensor] = ()):
        super().__init__()
        self.count: Counter[str] = Counter()
        self.host, self.paused = list(host), False
        cpu = torch.Tensor.cpu

        def copied(tensor):
            self.note("cpu", tensor)
            self.host.append(cpu(tensor).clone())
            return self.host[-1]

        patch.setattr(torch.Tensor, "cpu", copied)
        to, tensor = torch.Tensor.to, torch.tensor

        def moved(tensor, *args, **kwargs):
            if isinstance(args[0], torch.device) and not kwargs.get("non_blocking"):
                self.note("copied, waiting", tensor)
            return to(tensor, *args, **kwargs)

        def made(*args, **kwargs):
            if kwargs.get("device") is not None and not self.paused:
                self.count["copied from Python"] += 1
            return tensor(*args, **kwargs)

        patch.setattr(torch.Tensor, "to", moved)
        patch.setattr(torch, "tensor", made)
        for name in ("tolist", "numpy"):  # they read memory without an operator that a mode would see
            patch.setattr(torch.Tensor, name, self.noted(name))

    def noted(self, name):
        method = getattr(torch.Tensor, name)
        return lambda tensor: (self.note(name, tensor), method(tensor))[1]

    def note(self, name: str, tensor: torch.Tensor) -> None:
        if not self.paused and not any(tensor is kept for kept in self.host):
            self.count[name] += 1

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        told = (kwargs or {}).get("output_size") is not None  # how many it will be, so that nothing is read
        if name in self.VALUES + self.SHAPES and not told:
            self.note(name, args[0])
        indices = args[1] if name in ("index", "index_put", "index_put_", "_index_put_impl_") else ()
        if any(index is not None and index.dtype == torch.bool for index in indices):
            self.note("boolean mask", args[0])
        return func(*args, **(kwargs or {}))


@pytest.fixture
def device_only(monkeypatch):
    """What a CPU does otherwise than a GPU, done as on a GPU."""
    one_hot = F.one_hot

    def on_device(label, classes):  # reads the lowest label, on a CPU only
        return torch.eye(classes, dtype=torch.int64)[label]

    assert torch.equal(on_device(torch.arange(4), 5), one_hot(torch.arange(4), 5))
    monkeypatch.setattr(F, "one_hot", on_device)
    monkeypatch.setattr("iskit.training.scorer.check_finite", lambda *_: None)  # of a CPU alone

    @functools.lru_cache
    def tables(settings, height, width, device):
        return Tables(settings, height, width, device, by_rows=False)

    for name in ("randaugment", "trivialaugment"):
        monkeypatch.setattr(f"iskit.augment.{name}.tables", tables)
    return monkeypatch


def host_state(trainer) -> list[torch.Tensor]:
    """The sampler's tensors that stay on the host, told by binding a twin to labels on another device."""
    twin = samplers.create(trainer.spec)
    twin.check(budget=trainer.budget.amount, unit="backward", epochs=trainer.sampler.epochs, batch_size=16)
    twin.bind(
        label=trainer.data.label.to(META), budget=trainer.budget, epochs=trainer.sampler.epochs, batch_size=16, seed=1
    )
    state = twin.state_dict()
    return [getattr(trainer.sampler, name) for name, tensor in state.items() if tensor.device.type == "cpu"]


def counted_steps(make, patch, spec, augment, steps=40):
    """Reads of each of the first steps, planning of epochs left out; and the pools that each selected from."""
    trainer = make(spec, augment, budget=1, epochs=6)
    trainer.spec, trainer.may_wait = spec, False
    trainer.sampler.prepare(trainer.proxy)
    trainer.model.train()
    trainer._step(0.0)  # tables and constants are made once
    reads = Reads(patch, host_state(trainer))

    def unseen(function):
        def call(*args):
            reads.paused = True
            result = function(*args)
            reads.paused = False
            return result

        return call

    patch.setattr(Walk, "_plan", unseen(Walk._plan))
    patch.setattr("iskit.training.feed.blend", unseen(blend))  # its shares lie on the host, as the tests on "meta" show
    select, pools = trainer.sampler.select, []
    trainer.sampler.select = lambda pool, score: (pools.append(len(pool)), select(pool, score))[1]
    found = []
    for _ in range(steps):
        reads.count.clear()
        pools.clear()
        with reads:
            trainer._step(trainer.budget.spent(trainer.meter))
        found.append((reads.count.copy(), len(pools)))
    return found


@pytest.mark.parametrize("spec", [STRONG.get(name, name) for name in samplers] + MORE)
def test_steps_of_samplers_do_not_wait(make, device_only, spec):
    name = spec.partition("(")[0]
    for reads, pools in counted_steps(make, device_only, spec, "standard|mixup"):
        if name in SELECTING | LEAVING_OUT | {"egreedy"} or "recompute" in spec:
            assert reads.total() <= pools, reads
        else:
            assert not reads, reads


@pytest.mark.parametrize("name", ["gnorm(tau_min=0)", "selective_backprop"])
def test_steps_that_select_do_read_so_that_the_count_counts(make, device_only, name):
    assert sum(reads.total() for reads, _ in counted_steps(make, device_only, name, "none")) > 10


@pytest.mark.parametrize("augment", [*augments, "standard|mixup|ricap", "randaugment(policy='torchvision')"])
def test_steps_of_augmentations_do_not_wait(make, device_only, augment):
    for reads, _ in counted_steps(make, device_only, "unif", augment, steps=30):  # over two epochs
        assert not reads, reads


READS = {
    "item": lambda x: x.sum().item(),
    "int": lambda x: int(x.sum()),
    "float": lambda x: float(x[0]),
    "bool": lambda x: bool(x.any()),
    "if": lambda x: 1 if x[0] > 0 else 2,
    "tolist": lambda x: x.tolist(),
    "cpu": lambda x: x.cpu(),
    "numpy": lambda x: x.cpu().numpy(),
    "nonzero": lambda x: x.nonzero(),
    "mask": lambda x: x[x > 0],
    "mask set": lambda x: x.__setitem__(x > 0, torch.zeros(3)),
    "where": lambda x: torch.where(x > 0),
    "tensor": lambda x: x + torch.tensor([1.0, 2, 3], device=x.device),
    "to": lambda x: x.to(x.device),
    "unique": lambda x: x.unique(),
    "bincount": lambda x: x.long().bincount(),
    "repeat": lambda x: x.repeat_interleave(x.long()),
    "equal": lambda x: torch.equal(x, x),
    "one_hot": lambda x: F.one_hot(x.long()),
}  # fmt: skip


@pytest.mark.parametrize("kind", list(READS))
def test_every_kind_of_reading_is_noticed(kind, monkeypatch):
    with Reads(monkeypatch) as reads:
        READS[kind](torch.arange(1.0, 4))
    assert reads.count


def test_what_the_host_keeps_may_be_read(monkeypatch):
    kept = torch.zeros((), dtype=torch.int64)
    with Reads(monkeypatch, [kept]) as reads:
        kept += 3
        assert int(kept) == 3
        torch.ones(3)[torch.arange(2)] *= 2
        torch.ones(3)[:2] = 7
    assert not reads.count


# --- on a device without memory ---


class Bare(Dataset):
    """A data set whose labels cannot be checked."""

    def __post_init__(self) -> None:
        pass


def on_meta(spec: str, augment: str, n: int = 100) -> tuple[Sampler, Feed, Dataset]:
    """A sampler and its feed, in the first walk through all examples."""
    data = Bare(
        **{key: value.to(META) if isinstance(value, torch.Tensor) else value for key, value in vars(small(n)).items()}
    )
    sampler, pipeline, budget = samplers.create(spec), Pipeline.parse(augment), Budget(1.0, "backward", full=10 * n)
    sampler.bind(label=data.label, budget=budget, epochs=10, batch_size=8, seed=1)
    pipeline.bind(seed=1, pad=data.pad, flip=data.flip, mean=data.mean)
    feed = Feed(data, sampler, pipeline, budget, Meter(), 8, 1)
    feed.walk.epoch, feed.walk.rows = 0, torch.arange(n, device=META)
    feed.walk.weight = torch.ones(n, device=META)
    return sampler, feed, data


class Asked:
    """A score that charges nobody."""

    def __init__(self, model: torch.nn.Module):
        self.model = model

    def __call__(self, pool):
        return self.model(pool.image)

    def feature(self, pool):
        with penultimate(self.model) as given:
            return self.model(pool.image), given[0]


def steps_on_meta(sampler: Sampler, feed: Feed, data: Dataset) -> None:
    model = network(small()).to(META)
    history, tally = History(len(data), META), Tally(8, META)
    for _ in range(3):
        batch = feed.batch(0.5, Asked(model))  # type: ignore[arg-type]
        assert {column.device.type for column in vars(batch).values() if column is not None} == {"meta"}
        logits = model(batch.image)
        loss = F.cross_entropy(logits, batch.target, reduction="none")
        sampler.reduce(loss, batch.weight).backward()
        sampler.update(Outcome(batch, logits.detach(), loss.detach()))
        history.see(batch.index)
        tally.see(batch.index, batch.target, logits.detach(), loss.detach())


@pytest.mark.parametrize("spec", [STRONG.get(name, name) for name in samplers if name not in SELECTING] + [MORE[2]])
def test_samplers_work_where_nothing_can_be_read(spec):
    steps_on_meta(*on_meta(spec, "none"))


@pytest.mark.parametrize("augment", list(augments))
def test_augmentations_work_where_nothing_can_be_read(augment):
    steps_on_meta(*on_meta("unif", augment))


def test_a_gpu_augments_much_at_once(monkeypatch):
    monkeypatch.setattr("iskit.training.feed.CPU_CHUNK", 8)
    _, feed, data = on_meta("unif", "standard")
    feed.batch(0.0, None)  # type: ignore[arg-type]
    assert len(feed.view) == len(data)
    monkeypatch.setattr("iskit.training.feed.GPU_CHUNK", 64 * 12 + 1)  # images of 64 bytes
    feed.forget()
    feed.batch(0.0, None)  # type: ignore[arg-type]
    assert len(feed.view) == 13


def test_a_sampler_that_reads_fails_there():
    with pytest.raises((RuntimeError, NotImplementedError), match="meta"):
        steps_on_meta(*on_meta("gnorm", "none"))


@pytest.mark.parametrize("colour", [1, 3])
def test_colour_images_too(colour):
    _, feed, data = on_meta("unif", "randaugment|trivialaugment|standard|ricap|mixup")
    object.__setattr__(data, "image", torch.zeros(100, 12, 12, colour, dtype=torch.uint8, device=META))
    object.__setattr__(data, "mean", (0.5,) * colour)
    object.__setattr__(data, "std", (0.5,) * colour)
    assert feed.batch(0.0, None).image.shape == (8, colour, 12, 12)  # type: ignore[arg-type]
