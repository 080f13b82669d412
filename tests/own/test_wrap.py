"""Every registered sampler in a user's own loop: the trainer's choices, on tensors, data sets and workers alike."""

import copy
import gc
import io
import random
import re
import weakref
from dataclasses import dataclass

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset
from torch.utils.data import Dataset as TorchDataset

import iskit
from iskit.augment import Pipeline
from iskit.budget import Budget, Meter
from iskit.data import Dataset
from iskit.errors import Diverged, InputError
from iskit.own.proxy import OwnProxy
from iskit.samplers import ProxyRun, samplers
from iskit.training.feed import Feed
from iskit.training.proxy import ProxyTrainer
from iskit.training.trainer import Trainer

N, B, CLASSES = 240, 24, 4
ALL = list(samplers)
FULL = [name for name in ALL if samplers.card(name).neutral == "always"]  # sgd: a smaller budget is refused
# Beside the defaults: what else asks the model, or is off in a run as short as these.
MORE = [
    "gnorm(tau_min=0.5)",
    "gnorm(tau_min=0.5, score='full')",
    "gnorm(tau_min=0.5, form='constant_time')",
    "loss(tau_min=0.5)",
    "selective_backprop(beta=1, stale=2, history=48)",
    "online_batch(recompute=1)",
    "selective_backprop(beta=2, official=True, history=48)",
    "subset(by='margin')",
    "subset(by='kcenter')",
]
ASKING = ["gnorm(tau_min=0.5)", "selective_backprop", "rho", "online_batch(recompute=1)"]


def share(spec: str, budget: float = 0.4) -> float:
    return 1.0 if spec in FULL else budget


def random_images() -> Dataset:
    random = torch.Generator().manual_seed(0)
    label = torch.randint(CLASSES, (N,), generator=random)
    image = torch.randint(0, 200, (N, 4, 4, 1), generator=random).to(torch.uint8)
    image[:, 0, 0, 0] = (label * 60).to(torch.uint8)
    classes = tuple(map(str, range(CLASSES)))
    return Dataset(image, label, image[:20], label[:20], mean=(0.4,), std=(0.2,), classes=classes, flip=False, pad=1)


IMAGES = random_images()
X, Y = IMAGES.normalise(IMAGES.image), IMAGES.label
LOSS = nn.CrossEntropyLoss(reduction="none")


def network(seed: int = 0) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Flatten(), nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, CLASSES))


def wrapped(spec: str, dataset=(X, Y), model: nn.Module | None = None, **settings):
    settings = {"batch_size": B, "budget": share(spec), "epochs": 5, "proxy": network} | settings
    return iskit.wrap(dataset, model or network(), sampler=spec, **settings)


@dataclass
class Step:
    index: Tensor
    weight: Tensor
    image: Tensor
    target: Tensor


def train(loader, steps: int | None = None, loss=LOSS, lr: float = 0.05) -> list[Step]:
    """The loop of the docstring, with a record of what came."""
    optimizer = torch.optim.SGD(loader.model.parameters(), lr, momentum=0.9, fused=True)
    seen: list[Step] = []
    for image, target in loader:
        logits = loader.model(image)
        loader.reduce(loss(logits, target), logits).backward()
        optimizer.step()
        optimizer.zero_grad()
        seen.append(Step(loader.batch.index, loader.batch.weight, image, target))
        if len(seen) == steps:
            break
    return seen


def same(ours: list[Step], theirs: list[Step]) -> bool:
    return len(ours) == len(theirs) and all(
        torch.equal(getattr(a, name), getattr(b, name))
        for a, b in zip(ours, theirs, strict=True)
        for name in ("index", "weight", "image", "target")
    )


@pytest.fixture
def same_proxy(monkeypatch):
    """What a proxy would say, in the trainer's run and in ours."""

    def answer(self, model, epochs, train, held=None, number=0):
        draws = torch.Generator().manual_seed(1)
        k = len(train if held is None else held)
        return ProxyRun(
            correct=torch.rand(epochs, len(train), generator=draws) < 0.5,
            loss=torch.rand(k, generator=draws),
            logits=torch.randn(k, CLASSES, generator=draws),
            feature=torch.randn(k, 5, generator=draws),
            **{
                name: torch.rand(epochs, len(train), generator=draws)
                for name in ("prob", "margin", "logit_margin", "error", "change")
            },
        )

    monkeypatch.setattr(ProxyTrainer, "__call__", answer)
    monkeypatch.setattr(OwnProxy, "__call__", answer)


# --- the same run as the trainer's ---


@pytest.mark.parametrize("spec", ALL + MORE)
def test_batches_weights_and_parameters_are_those_of_the_trainer(spec, same_proxy):
    theirs: list[tuple[Tensor, Tensor]] = []
    trainer = Trainer(
        network(),
        IMAGES,
        samplers.create(spec),
        Pipeline.parse("none"),
        budget=share(spec),
        epochs=5,
        batch_size=B,
        lr=0.05,
        schedule=lambda t: 1.0,
        weight_decay=0,
    )
    update = trainer.sampler.update
    trainer.sampler.update = lambda o: (theirs.append((o.batch.index, o.batch.weight)), update(o))
    for _ in trainer:
        pass
    loader = wrapped(spec)
    ours = train(loader)
    assert len(ours) == len(theirs) > 10
    for step, (index, weight) in zip(ours, theirs, strict=True):
        assert torch.equal(step.index, index)
        assert torch.equal(step.weight, weight)
    for a, b in zip(loader.model.parameters(), trainer.model.parameters(), strict=True):
        assert torch.equal(a, b)
    assert torch.equal(loader.history.counts, trainer.history.counts)
    passes = ("forward_only", "forward", "backward", "steps", "prepared")
    assert [getattr(loader.meter, name) for name in passes] == [getattr(trainer.meter, name) for name in passes]


@pytest.mark.parametrize("name", ALL)
def test_at_its_neutral_setting_every_sampler_gives_the_batches_of_sgd(name):
    text = samplers.card(name).neutral
    options = "" if text == "always" else re.sub(r"(, )?budget=1$", "", text)
    assert same(train(wrapped(f"{name}({options})", budget=1)), train(wrapped("sgd", budget=1)))


@pytest.mark.parametrize("unit", ["backward", "cost"])
@pytest.mark.parametrize("spec", ALL + MORE)
def test_it_lands_on_its_budget_within_one_step(spec, unit, same_proxy):
    loader = wrapped(spec, unit=unit, budget=share(spec, 0.6))
    goal = round(share(spec, 0.6) * 5 * N) * (1 if unit == "backward" else 3)
    before = after = 0
    for _ in train_steps(loader):
        before, after = after, loader.meter.backward if unit == "backward" else loader.meter.cost
        assert loader.t == min(after / goal, 1)
    assert before < goal <= after
    assert loader.t == 1
    assert list(loader) == []
    assert after < goal + (B if unit == "backward" else 3 * B)  # what training one batch costs
    if unit == "backward":
        assert loader.history.counts.sum() == loader.meter.backward
        if loader.sampler.whole_batches:
            assert len(loader) == loader.meter.steps


def train_steps(loader):
    for image, target in loader:
        logits = loader.model(image)
        loader.reduce(LOSS(logits, target), logits)
        yield


def test_the_number_of_steps_is_known_where_it_can_be():
    loader = wrapped("unif")
    assert len(loader) == len(train(loader)) == 20
    for unknown in (
        wrapped("unif", unit="cost"),
        wrapped("selective_backprop(beta=2, official=True, history=48)"),
        wrapped("gnorm(tau_min=0.5, form='constant_variance')"),
    ):
        with pytest.raises(TypeError, match=r"use loader\.t"):
            len(unknown)


def test_a_budget_in_seconds_pays_for_training_and_scoring_but_not_for_evaluation():
    now = [0.0]
    loader = wrapped("rho", unit="seconds", budget=10, clock=lambda: now[0], epochs=100)
    steps = 0
    for image, target in loader:
        logits = loader.model(image)
        loader.reduce(LOSS(logits, target), logits)
        now[0] += 1
        with loader.evaluation():
            now[0] += 100
        steps += 1
    assert steps == 10
    assert loader.meter.seconds["train"] == 10
    assert loader.meter.seconds["eval"] == 1000


# --- the model is only asked ---


class Counting(nn.Module):
    """Changes a buffer at every call, in any mode."""

    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, x):
        self.calls += 1
        return x


@pytest.mark.parametrize("spec", ASKING)
def test_scoring_leaves_no_trace_in_the_model_nor_in_random_states(spec):
    model = nn.Sequential(
        Counting(), nn.Flatten(), nn.Linear(16, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, CLASSES)
    )
    model[3].eval()  # frozen, as in fine-tuning
    model(X).sum().backward()
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()  # noqa: NPY002
    values = {key: value.clone() for key, value in model.state_dict().items()}
    grads = [parameter.grad.clone() for parameter in model.parameters()]
    loader = wrapped(spec, model=model)
    for image, target in loader:
        with torch.random.fork_rng(devices=[]):
            logits = network()(image)
        loader.reduce(LOSS(logits, target), logits)
        modes = [module.training for module in model.modules()]
        assert modes == [True, True, True, True, False, True, True]
    assert loader.meter.forward_only > 0
    assert all(torch.equal(value, values[key]) for key, value in model.state_dict().items())
    assert all(torch.equal(p.grad, grad) for p, grad in zip(model.parameters(), grads, strict=True))
    assert states[0] == random.getstate()
    assert states[1] == np.random.get_state()[1].tolist()  # noqa: NPY002
    assert torch.equal(states[2], torch.get_rng_state())


@pytest.mark.parametrize("spec", ["rho(proxy_epochs=2)", "subset(by='margin', proxy_epochs=2)"])
def test_preparations_use_a_model_of_the_users_making_or_are_refused_at_once(spec):
    with pytest.raises(InputError, match="give wrap the argument proxy"):
        wrapped(spec, proxy=None)
    before = torch.get_rng_state()
    made: list[nn.Module] = []

    def make() -> nn.Module:
        made.append(nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.Dropout(0.1), nn.Linear(8, CLASSES)))
        return made[-1]

    loader = wrapped(spec, proxy=make)
    assert not made  # only once training begins: a resumed run has the results in its state
    first = train(loader, steps=4)
    assert torch.equal(torch.get_rng_state(), before)
    # rho: two models, each trained on a half and asked about the other after each epoch; subset: one, asked at its end
    assert loader.meter.prepared == (2 * 2 * (3 + 1) * N // 2 if "rho" in spec else 2 * 3 * N + N)
    assert len(made) == (2 if "rho" in spec else 1)
    assert loader.meter.seconds["prepare"] > 0
    again = wrapped(spec, proxy=make)
    assert same(train(again, steps=4), first)


def test_a_proxy_of_the_users_making_learns_the_task():
    """Irreducible losses of rho: clearly below those of guessing, for the label is written into a pixel."""
    easy = F.one_hot(Y, 16).float().view(N, 1, 4, 4) * 3

    def make() -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, CLASSES))

    loader = wrapped("rho(proxy_epochs=30)", dataset=(easy, Y), proxy=make)
    train(loader, steps=1)
    assert loader.sampler.irreducible.mean() < 0.5 < np.log(CLASSES)


def test_what_a_proxy_shows_belongs_to_the_examples_it_was_asked_about():
    """A model that believes what each input claims to be: a third of them lie."""
    claimed = torch.where(torch.arange(N) % 3 == 0, (Y + 1) % CLASSES, Y)
    inputs = F.one_hot(claimed, CLASSES).float()

    def make() -> nn.Module:
        model = nn.Linear(CLASSES, CLASSES)
        nn.init.eye_(model.weight)
        return model

    loader = wrapped("unif", (inputs, Y), make(), proxy=make)
    train_rows, held = torch.arange(0, N, 2).flip(0), torch.arange(1, N, 4)
    run = loader.proxy("ignored", 2, train_rows, held)
    assert torch.equal(run.correct, (claimed == Y)[train_rows].expand(2, -1))
    assert torch.equal(run.logits.argmax(1), claimed[held])
    assert torch.equal(run.feature, inputs[held])
    assert torch.equal(run.loss, LOSS(run.logits, Y[held]))
    assert torch.equal(loader.proxy("ignored", 2, train_rows).feature, inputs[train_rows])


# --- data ---


class Noisy(TorchDataset):
    """Random transforms from every source that people draw from; targets as Python ints."""

    def __len__(self):
        return N

    def __getitem__(self, i):
        noise = torch.rand(1).item() + random.random() + np.random.rand()  # noqa: NPY002
        return (X[i] + noise).numpy(), int(Y[i])


class Plain(TorchDataset):
    def __init__(self, x, y):
        self.x, self.y = x, y

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        return self.x[i], self.y[i]


@pytest.mark.parametrize("spec", ["p", "gnorm(tau_min=0.5)", "infobatch"])
def test_tensors_and_data_sets_give_the_same_batches(spec):
    expected = train(wrapped(spec, (X, Y)))
    for dataset in (TensorDataset(X, Y), Plain(X, Y), [X, Y.int()]):
        assert same(train(wrapped(spec, dataset)), expected)


@pytest.mark.parametrize("spec", ["p", "selective_backprop(history=48)"])
def test_workers_change_nothing_and_random_transforms_repeat(spec):
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    alone = train(wrapped(spec, Noisy()))
    torch.rand(1)  # the transforms must not depend on where the global state stands
    helped = train(wrapped(spec, Noisy(), num_workers=2))
    assert same(helped, alone)
    torch.set_rng_state(before[0])
    train(wrapped(spec, Noisy()), steps=2)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert np.random.get_state()[1].tolist() == before[2]  # noqa: NPY002
    images = {}
    for step in alone:
        for i, image in zip(step.index.tolist(), step.image, strict=True):
            images.setdefault(i, set()).add(image.sum().item())
    assert max(map(len, images.values())) > 1  # another draw each epoch


def test_a_loader_is_gone_when_it_is_let_go():
    """In a cycle of references it, and its workers, would wait for the garbage collector, and stop slowly then."""
    loader = wrapped("gnorm(tau_min=0.5)", Noisy())
    train(loader, steps=3)
    gone = weakref.ref(loader)
    gc.disable()
    try:
        del loader
        assert gone() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("waiting", [False, True])
@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("spec", ["c", "selective_backprop(history=48)", "gnorm(tau_min=0.5)", "rho(proxy_epochs=2)"])
def test_a_saved_run_goes_on_exactly(spec, num_workers, waiting):
    whole = train(wrapped(spec, Noisy()))
    loader = wrapped(spec, Noisy(), num_workers=num_workers)
    model, steps = loader.model, 13
    optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9, fused=True)
    file = io.BytesIO()

    def go_on(loader) -> list[Step]:
        seen = []
        for image, target in loader:
            if len(seen) == steps and waiting:
                break
            logits = model(image)
            loader.reduce(LOSS(logits, target), logits).backward()
            optimizer.step()
            optimizer.zero_grad()
            seen.append(Step(loader.batch.index, loader.batch.weight, image, target))
            if len(seen) == steps and not waiting:
                break
        return seen

    start = go_on(loader)
    torch.save(loader.state_dict(), file)
    file.seek(0)
    other = wrapped(spec, Noisy(), model=model, num_workers=num_workers)
    if num_workers:
        next(iter(other))  # what it fetched ahead must be forgotten
    other.load_state_dict(torch.load(file))
    steps = len(whole)
    assert same(start + go_on(other), whole)
    assert other.meter.steps == len(whole)
    with pytest.raises(InputError, match=r"a run on 240 examples, this dataset has 100"):
        wrapped("c", (X[:100], Y[:100])).load_state_dict(loader.state_dict())


@pytest.mark.parametrize("dataset", [(X, Y), Plain(X, Y)])
def test_a_state_loaded_into_a_used_loader_replaces_what_was_fetched_ahead(dataset):
    """Both stand in the middle of epoch 1, which another seed has planned otherwise."""
    loader, other = wrapped("p", dataset), wrapped("p", dataset, seed=2)
    train(loader, steps=6)
    train(other, steps=6)
    assert loader.epoch == other.epoch == 1
    other.load_state_dict(copy.deepcopy(loader.state_dict()))
    assert same(train(other, steps=1), train(loader, steps=1))


def test_a_state_loaded_into_a_used_feed_replaces_what_was_augmented_ahead():
    feeds = []
    for seed in (0, 1):
        sampler, limit = samplers.create("p"), Budget(0.4, "backward", 5 * N)
        sampler.bind(label=Y, budget=limit, epochs=5, batch_size=B, seed=1)
        sampler.error_sum += torch.rand(N, generator=torch.Generator().manual_seed(seed))
        sampler.trained += 1
        feeds.append(Feed(IMAGES, sampler, Pipeline.parse("none"), limit, Meter(), B, seed=1))
        feeds[-1].batch(0.0, None)
    feed, other = feeds
    assert not torch.equal(feed.walk.rows, other.walk.rows)
    other.load_state_dict(feed.state_dict())
    expected = feed.batch(0.0, None)
    assert torch.equal(other.batch(0.0, None).image, expected.image)
    assert torch.equal(expected.image, X[expected.index])


@pytest.mark.parametrize("spec", ["p", "gnorm(tau_min=0.5)", "ordered", "selective_backprop(history=48)"])
def test_soft_rows_are_handed_out_as_they_are_and_choose_alike(spec):
    rows = F.one_hot(Y, CLASSES).float()
    hard, soft = train(wrapped(spec)), train(wrapped(spec, (X, rows)))
    assert all(torch.equal(a.index, b.index) for a, b in zip(hard, soft, strict=True))
    assert torch.equal(soft[0].target, rows[soft[0].index])
    assert torch.equal(hard[0].target, Y[hard[0].index])


@pytest.mark.parametrize("spec", ["p", "rho", "ordered"])
def test_token_ids_are_as_good_as_images(spec):
    tokens = torch.randint(0, 50, (N, 7), generator=torch.Generator().manual_seed(0))

    def make() -> nn.Module:
        return nn.Sequential(nn.EmbeddingBag(50, 8), nn.Linear(8, CLASSES))

    steps = train(wrapped(spec, (tokens, Y), make(), proxy=make))
    assert steps[0].image.dtype == torch.int64
    assert torch.equal(steps[0].image, tokens[steps[0].index])


@pytest.mark.parametrize("spec", ALL + MORE)
def test_data_without_classes_is_trained_or_refused_at_binding_time(spec):
    values = X.flatten(1).sum(1)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 1), nn.Flatten(0))
    needs = samplers.create(spec).needs_labels
    if needs or "by=" in spec:
        message = "needs classes" if needs else "needs classes: use another one"
        with pytest.raises(InputError, match=message):
            train(wrapped(spec, (X, values), model), loss=lambda out, y: (out - y) ** 2, lr=1e-3)
        return
    steps = train(wrapped(spec, (X, values), model), loss=lambda out, y: (out - y) ** 2, lr=1e-3)
    assert torch.equal(steps[0].target, values[steps[0].index])


# --- what cannot work ---


class Endless(IterableDataset):
    def __iter__(self):
        yield X[0], 0


class Reshaping(nn.Module):
    def __init__(self, reshape):
        super().__init__()
        self.network, self.reshape = network(), reshape

    def forward(self, x):
        return self.reshape(self.network(x))


@pytest.mark.parametrize(
    ("dataset", "settings", "message"),
    [
        (Endless(), {}, r"dataset is an IterableDataset, .* an order of its own.* __len__ and __getitem__"),
        (DataLoader(TensorDataset(X, Y)), {}, r"is a DataLoader: give the data set in it, loader.dataset"),
        (iter([]), {}, "has no length"),
        ((X.numpy(), Y.numpy()), {}, "dataset holds arrays: give tensors"),
        ((X,), {}, r"tensors of shape \(240, 1, 4, 4\): give two of one length"),
        ((X, Y[:-1]), {}, r"\(240, 1, 4, 4\), \(239,\): give two of one length"),
        (Plain(X, [{"a": 1}] * N), {}, r"must give pairs \(input, target\)"),
        ((X, Y + 1), {}, "gives the label 4: the model has 4 logits, labels are 0 to 3"),
        ((X, Y - 1), {}, "gives the label -1"),
        ((X, F.one_hot(Y, 5).float()), {}, "targets of 5 classes, the model 4 logits"),
        ((X, Y), {"batch_size": 241}, "batch_size=241 is more than the 240 training examples: set it to at most 240"),
        ((X, Y), {"batch_size": 0}, "batch_size=0 must be at least 1"),
        ((X, Y), {"epochs": 0}, "epochs=0 must be at least 1"),
        ((X, Y), {"budget": 0.01}, "less than one batch: raise budget or epochs"),
        ((X, Y), {"budget": 1.5}, "budget=1.5 must be above 0 and at most 1"),
        ((X, Y), {"budget": "much"}, "budget='much' must be a number"),
        ((X, Y), {"epochs": 2.5}, "epochs=2.5 must be a whole number"),
        ((X, Y), {"batch_size": "all"}, "batch_size='all' must be a whole number"),
        ((X, Y), {"seed": None}, "seed=None must be a whole number"),
        ((X, Y), {"sampler": None}, "sampler=None must be text"),
        ((X, Y), {"unit": 3}, "unit=3 must be text"),
        ((X, Y), {"unit": "hours"}, "unit='hours' is unknown"),
        ((X, Y), {"sampler": "unfi"}, "did you mean 'unif'"),
        ((X, Y), {"sampler": "sgd"}, "use scan"),
        ((X, Y), {"sampler": "rho(presample=11)"}, "more than the 240"),
        ((X, Y), {"model": lambda x: x}, "model is a function: give a torch.nn.Module"),
        (
            (X, Y),
            {"model": Reshaping(lambda z: z.unsqueeze(1))},
            r"shape \(2, 1, 4\) for 2 examples: .* \(2, classes\)",
        ),
        ((X, Y), {"model": Reshaping(lambda z: z.argmax(1))}, r"shape \(2,\) for 2 examples"),
        ((X, Y), {"model": Reshaping(lambda z: {"logits": z})}, "a dict for 2 examples"),
    ],
)
def test_what_cannot_work_is_refused_at_binding_time(dataset, settings, message):
    settings = {"sampler": "p", "batch_size": B, "budget": 0.4, "epochs": 5, "model": network()} | settings
    with pytest.raises(InputError, match=message):
        iskit.wrap(dataset, settings.pop("model"), **settings)


def test_a_label_out_of_range_is_found_where_items_come_one_by_one():
    loader = wrapped("p", Plain(X, [0] * (N - 1) + [9]))
    with pytest.raises(InputError, match="gives the label 9"):
        train(loader)


def test_a_model_that_changes_its_output_is_found_when_it_scores():
    switch = [lambda z: z]
    loader = wrapped("rho(proxy_epochs=1)", model=Reshaping(lambda z: switch[0](z)))
    switch[0] = lambda z: z.mean(1)
    with pytest.raises(InputError, match=r"shape \(240,\) for 240 examples: it must give logits"):
        next(iter(loader))


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (nn.CrossEntropyLoss(), 'a single number, reduced already: give one number .* 24 examples, reduction="none"'),
        (lambda z, y: F.binary_cross_entropy_with_logits(z, z.sigmoid(), reduction="none"), r"of shape \(24, 4\)"),
        (lambda z, y: LOSS(z, y)[:3], r"of shape \(3,\)"),
    ],
)
def test_a_reduced_loss_is_refused_with_the_fix(loss, message):
    with pytest.raises(InputError, match=message):
        train(wrapped("unif"), loss=loss)


def test_logits_that_are_not_of_the_batch_are_refused():
    loader = wrapped("unif")
    for image, target in loader:
        logits = loader.model(image)
        with pytest.raises(InputError, match=r"shape \(23, 4\) for 24 examples"):
            loader.reduce(LOSS(logits, target), logits[1:])
        break


def test_every_batch_is_reduced_once():
    loader = wrapped("unif")
    with pytest.raises(InputError, match=r"left without loader.reduce"):
        for _ in loader:
            pass
    for image, target in loader:  # the batch left behind comes again
        logits = loader.model(image)
        loader.reduce(LOSS(logits, target), logits)
        with pytest.raises(InputError, match="without a new batch"):
            loader.reduce(LOSS(logits, target), logits)
        break
    assert same(train(loader), train(wrapped("unif"))[1:])


def test_a_loss_that_is_not_a_number_stops_the_run_and_names_the_examples():
    loader = wrapped("p")
    bad = torch.tensor([3, 7])

    def loss(logits, target):
        values = LOSS(logits, target)
        if loader.meter.steps < 5:
            return values
        return torch.where(torch.isin(loader.batch.index, bad), torch.nan, values)

    with pytest.raises(
        Diverged, match=r"at step (\d+) \(t=0\.\d+\) for the examples \[[37](, [37])?\]: try a"
    ) as caught:
        train(loader, loss=loss)
    step = int(re.search(r"step (\d+)", str(caught.value))[1])
    assert loader.meter.steps == step >= 5
    assert loader.history.counts.sum() == step * B
    assert all(parameter.isfinite().all() for parameter in loader.model.parameters())
    assert all(value.isfinite().all() for value in loader.sampler.state_dict().values())
