"""The one-line form: the trainer's run, to the last bit, on a user's own model, data and optimizer."""

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

import iskit
from iskit.augment import Pipeline
from iskit.data import Dataset
from iskit.errors import Diverged, InputError
from iskit.samplers import samplers
from iskit.training.schedules import schedules
from iskit.training.trainer import Trainer

N, TEST, CLASSES = 240, 60, 4


def random_images() -> Dataset:
    random = torch.Generator().manual_seed(0)
    label = torch.randint(CLASSES, (N + TEST,), generator=random)
    image = torch.randint(0, 200, (N + TEST, 4, 4, 1), generator=random).to(torch.uint8)
    image[:, 0, :, 0] = (label * 60).to(torch.uint8)[:, None]
    names = tuple(map(str, range(CLASSES)))
    return Dataset(image[:N], label[:N], image[N:], label[N:], (0.4,), (0.2,), names, flip=False, pad=1)


IMAGES = random_images()
TRAIN = (IMAGES.normalise(IMAGES.image), IMAGES.label)
HELD = (IMAGES.normalise(IMAGES.test_image), IMAGES.test_label)


def network() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, CLASSES))


def fit(model: nn.Module | None = None, **settings):
    defaults = {"sampler": "unif", "budget": 0.4, "optimizer": "sgd", "lr": 0.05, "epochs": 5, "batch_size": 24}
    settings = {"train": TRAIN} | defaults | settings
    return iskit.fit(model or network(), settings.pop("train"), **settings)


@pytest.mark.parametrize("schedule", ["linear", "step"])
@pytest.mark.parametrize("sampler", ["unif", "p", "gnorm(tau_min=0.5)", "infobatch"])
def test_it_is_the_run_of_the_trainer(sampler, schedule):
    trainer = Trainer(
        network(),
        IMAGES,
        samplers.create(sampler),
        Pipeline.parse("none"),
        budget=0.4,
        epochs=5,
        batch_size=24,
        lr=0.05,
        schedule=schedules.partial(schedule),
        weight_decay=0,
        evals=4,
    )
    for _ in trainer:
        pass
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, fused=True)
    history = fit(model, sampler=sampler, optimizer=optimizer, lr=None, schedule=schedule, validation=HELD, evals=4)
    for a, b in zip(model.parameters(), trainer.model.parameters(), strict=True):
        assert torch.equal(a, b)
    assert torch.equal(history.counts, trainer.history.counts)
    ours, theirs = history.frame(), trainer.history.frame()
    assert set(theirs) - set(ours) == {"worst_class_accuracy", "sample_loss", "sample_accuracy"}
    assert set(ours) < set(theirs)
    assert len(ours) == 4
    exact = ["t", "epoch", "step", "lr", "accuracy", "train_accuracy", "forward_only", "backward", "entropy"]
    exact += ["acted", "on", "weighted", "unique_examples", *(name for name in ours if name.startswith("sampler_"))]
    assert ours[exact].equals(theirs[exact])
    for name in ("loss", "train_loss", "equivalent_budget"):
        assert ours[name].to_list() == pytest.approx(theirs[name].to_list(), rel=1e-6)


@pytest.mark.parametrize(("optimizer", "kind"), [("sgd", torch.optim.SGD), ("adam", torch.optim.Adam)])
def test_an_optimizer_by_name_is_torchs(optimizer, kind):
    named, given = network(), network()
    options = {"momentum": 0.9} if optimizer == "sgd" else {}
    fit(named, optimizer=optimizer, lr=0.01)
    fit(given, optimizer=kind(given.parameters(), lr=0.01, **options), lr=None)
    assert all(torch.equal(a, b) for a, b in zip(named.parameters(), given.parameters(), strict=True))


def test_it_learns_evaluates_in_eval_mode_and_leaves_the_model_so():
    modes: dict[bool, set[bool]] = {True: set(), False: set()}

    class Watched(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            modes[torch.is_grad_enabled()].add(self.training)
            return x

    model = nn.Sequential(Watched(), network()).eval()
    history = fit(model, budget=1, epochs=10, validation=TensorDataset(HELD[0][:50], HELD[1][:50]), evals=3)
    assert modes == {True: {True}, False: {False}}
    frame = history.frame()
    assert len(frame) == 3
    assert frame["accuracy"].iloc[-1] > 90
    assert frame["train_loss"].iloc[-1] < 0.5 < frame["train_loss"].iloc[0]
    assert not any(module.training for module in model.modules())


def test_without_validation_the_training_is_still_recorded():
    frame = fit(evals=2).frame()
    assert "accuracy" not in frame
    assert frame["train_accuracy"].between(0, 100).all()
    assert frame["t"].to_list() == pytest.approx([0.5, 1])


def test_a_budget_in_seconds_is_not_spent_by_evaluation():
    """A clock that is moved by hand: the loss of a step takes 1 s, that of a batch of the evaluation 100 s."""
    now = [0.0]

    def slow(logits: Tensor, target: Tensor) -> Tensor:
        now[0] += 1 if logits.requires_grad else 100
        return nn.functional.cross_entropy(logits, target, reduction="none")

    frame = fit(
        unit="seconds", budget=20, loss=slow, validation=(HELD[0][:48], HELD[1][:48]), evals=4, clock=lambda: now[0]
    ).frame()
    assert frame["step"].to_list() == frame["seconds_train"].to_list()
    assert frame["step"].iloc[-1] == 20
    assert frame["seconds_eval"].to_list() == [200, 400, 600, 800]


def test_a_loss_of_ones_own_and_targets_that_are_no_classes():
    values = TRAIN[0].flatten(1)[:, :4].sum(1)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 1), nn.Flatten(0))
    frame = fit(
        model,
        train=(TRAIN[0], values),
        validation=(TRAIN[0][:100], values[:100]),
        loss=lambda out, y: (out - y).square(),
        budget=1,
        optimizer="adam",
        lr=0.02,
        epochs=20,
    ).frame()
    assert frame["loss"].iloc[-1] < 0.05 * frame["loss"].iloc[0]
    assert frame["accuracy"].isna().all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"optimizer": "adm"}, "optimizer='adm' is unknown: did you mean 'adam'"),
        ({"lr": None}, "lr=None must be a number above 0 for optimizer='sgd'"),
        ({"lr": -1.0}, "lr=-1.0 must be"),
        ({"schedule": "linaer"}, "did you mean 'linear'"),
        ({"evals": 0}, "evals=0 must be at least 1"),
        ({"validation": (HELD[0],)}, "validation holds tensors"),
        ({"loss": nn.CrossEntropyLoss()}, 'reduction="none"'),
        ({"budget": 0}, "budget=0.0 must be above 0"),
        ({"lr": "fast"}, "lr='fast' must be a number"),
        ({"evals": 2.5}, "evals=2.5 must be a whole number"),
        ({"optimizer": None}, "optimizer=None must be text"),
        ({"validation": (HELD[0], HELD[1] + 9)}, r"validation gives the label \d+: the model has \d+ logits"),
        ({"validation": (HELD[0][:0], HELD[1][:0])}, "validation is empty"),
        ({"validation": (HELD[0], HELD[0].flatten(1)[:, 0])}, "are classes, those of validation no classes"),
    ],
)
def test_what_cannot_work_is_refused_before_the_model_changes(settings, message):
    model = network()
    before = [p.clone() for p in model.parameters()]
    with pytest.raises(InputError, match=message):
        fit(model, **settings)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), before, strict=True))


def test_an_optimizer_of_another_model_is_refused():
    other = torch.optim.SGD(nn.Linear(3, 2).parameters(), lr=0.1)
    train = torch.zeros(40, 3), torch.zeros(40, dtype=torch.int64)
    with pytest.raises(InputError, match="no parameter of this model"):
        iskit.fit(nn.Linear(3, 2), train, sampler="unif", budget=0.5, optimizer=other, epochs=2, batch_size=8)


def test_lr_beside_an_optimizer_is_refused():
    model = network()
    with pytest.raises(InputError, match=r"lr=0.05 is given beside an optimizer"):
        fit(model, optimizer=torch.optim.SGD(model.parameters(), lr=0.1))


def test_a_run_that_diverges_keeps_what_it_had():
    with pytest.raises(Diverged, match=r"not a finite number at step \d+") as caught:
        fit(loss=lambda z, y: nn.functional.cross_entropy(z, y, reduction="none") / (z.detach().max() < 3), evals=20)
    history = caught.value.history
    assert len(history.rows) >= 1
    assert history.counts.sum() == 24 * int(str(caught.value).split("step ")[1].split()[0])
