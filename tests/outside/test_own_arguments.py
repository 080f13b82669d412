"""`wrap` and `fit` with whatever a user gives: a run, or one InputError of one line (Diverged, if it trains astray)."""

import pytest
import torch
from campaign import campaign, result_or_one_line
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from iskit import fit, wrap
from iskit.errors import Diverged, InputError

IMAGE, LABEL = torch.randn(24, 4), torch.arange(24) % 3


class Lies(torch.utils.data.Dataset):
    """Says that it has `said` examples and gives `has`."""

    def __init__(self, said, has=24):
        self.said, self.has = said, has

    def __len__(self):
        return self.said

    def __getitem__(self, i):
        if i >= self.has:
            raise IndexError(i)
        return IMAGE[i % 24], LABEL[i % 24]


class Ragged(Lies):
    def __getitem__(self, i):
        return torch.zeros(i + 1), 0


def model(outputs=3):
    return nn.Sequential(nn.Linear(4, outputs))


GOOD = {
    "sampler": "unif", "budget": 0.5, "optimizer": "adam", "lr": 1e-3, "epochs": 2, "batch_size": 8, "evals": 1,
}  # fmt: skip
FOUND = {
    "loss": ["x", None, nn.CrossEntropyLoss(), lambda logits, target: 1.0, lambda logits: logits, nn.MSELoss()],
    "schedule": [3, None, "x", "step(at=('a',))", "linear(final=2.0)"],
    "sampler": [None, 3, "", "p(smooth=1)", "gnorm(presample=1)", "nothing", b"p"],
    "optimizer": [None, 3, "x", torch.optim.SGD, torch.optim.SGD(model().parameters(), 0.1)],
    "lr": [None, -1.0, "x", float("nan"), 10**400, []],
    "budget": [0, 2, float("nan"), None, "half", True],
    "unit": ["x", 3, None],
    "epochs": [0, -1, 1.5, None, 10**30, "many"],
    "batch_size": [0, 25, None, 10**30],
    "seed": [-1, 2**40, None, "x"],
    "evals": [0, None, 10**9],
    "num_workers": [-1, 10**9, None],
    "proxy": [3, "x"],
    "validation": [
        3, (), (IMAGE, LABEL + 9), (IMAGE[:, :2], LABEL), (IMAGE, LABEL[:3]), Lies(30), (IMAGE[:0], LABEL[:0]),
    ],
    "model": [None, 3, "cnn", nn.Identity(), nn.Linear(5, 3), model(2), nn.Module(), nn.Flatten],
    "train": [
        None, 3, "x", (), (IMAGE,), (IMAGE, LABEL[:5]), (IMAGE, LABEL - 1), (IMAGE.numpy(), LABEL.numpy()),
        Lies(30), Lies(0), Lies(-1), Lies(2**70), Lies(10**15), Lies("x"), Lies(24, 1), Ragged(24),
        [1, 2, 3], {"a": 1}, iter([1]), torch.zeros(3),
    ],
}  # fmt: skip
CASES = [(name, value) for name, values in FOUND.items() for value in values]


def call(**changes):
    arguments = {**GOOD, **changes}
    network, train = arguments.pop("model", None), arguments.pop("train", (IMAGE, LABEL))
    if "model" not in changes:
        network = model()

    def run():
        try:
            return fit(network, train, **arguments).frame()
        except Diverged:
            return "diverged"

    fitted = result_or_one_line(run)
    for name in ("optimizer", "lr", "evals", "loss", "schedule", "validation"):
        arguments.pop(name, None)
    loader = result_or_one_line(wrap, train, network, **arguments)
    return fitted, loader


def test_what_is_right_trains():
    fitted, loader = call()
    assert len(fitted) == 1
    assert len(loader) == 3


@pytest.mark.parametrize(("name", "value"), CASES, ids=[f"{name}-{type(value).__name__}" for name, value in CASES])
def test_found_arguments_give_a_run_or_one_line(name, value):
    call(**{name: value})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"loss": "x"}, "loss='x' must be a function"),
        ({"schedule": 3}, "schedule=3 must be text"),
        ({"model": None}, "model is a NoneType"),
        ({"train": Lies(30)}, "says that it has 30 examples, but cannot give one of"),
        ({"train": Lies(10**15)}, "GB are free: correct its length"),
        ({"train": Lies(-1)}, "has no length"),
        ({"model": nn.Linear(5, 3)}, "the model cannot take an input of shape"),
        ({"num_workers": 10**9}, "num_workers=1000000000 must be from 0 to"),
    ],
)
def test_what_was_a_traceback_names_the_argument(changes, message):
    arguments = {**GOOD, "model": model(), "train": (IMAGE, LABEL), **changes}
    with pytest.raises(InputError, match=message):
        fit(arguments.pop("model"), arguments.pop("train"), **arguments)


values = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 40), st.integers(), st.floats(), st.text(max_size=5),
    st.binary(max_size=3), st.lists(st.integers(), max_size=2), st.sampled_from(["p", "sgd", "cost", "cosine"]),
)  # fmt: skip


@campaign
@given(st.dictionaries(st.sampled_from([*FOUND]), values, min_size=1, max_size=2))
def test_any_arguments_give_a_run_or_one_line(changes):
    for name in ("epochs", "num_workers"):  # what is meant is done, however long it takes
        if isinstance(changes.get(name), int | float) and changes[name] > 3:
            changes.pop(name)
    if changes.get("num_workers"):
        changes.pop("num_workers")
    call(**changes)
