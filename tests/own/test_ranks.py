"""A run on several ranks, gradients in parts, inputs by name: the same run as one process on whole batches."""

import copy
import os
import subprocess
import sys
from pathlib import Path

import pytest
import rank_work
import torch
import torch.nn.functional as F
from rank_work import CLASSES, SPECS, TRAINED, N, X, Y, chosen, loader_of, trained, whole
from torch import Tensor, nn
from torch.utils.data import Dataset, IterableDataset

import iskit
from iskit.errors import InputError

ROOT = Path(__file__).parents[2]


# So many processes, on two cores, take half a minute and a whole one.
@pytest.fixture(scope="module", params=[pytest.param(count, marks=pytest.mark.engines) for count in (2, 4)])
def ranks(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    """What each of so many processes saw."""
    folder = tmp_path_factory.mktemp("ranks")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, rank_work.__file__]
    processes = [
        subprocess.Popen(
            [*command, str(rank), str(request.param), str(folder)], env=environment, stderr=subprocess.PIPE, text=True
        )
        for rank in range(request.param)
    ]
    try:
        said = [process.communicate(timeout=240)[1] for process in processes]
    finally:  # one that failed leaves the others waiting for it
        for process in processes:
            process.kill()
    assert not any(process.returncode for process in processes), "".join(said)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(request.param)]


@pytest.mark.parametrize("spec", SPECS)
def test_the_plan_and_the_counts_are_those_of_one_process(ranks: list[dict], spec: str):
    alone = chosen(whole(), spec)
    assert alone["passes"][1] == alone["counts"].sum() > 0
    for seen in ranks:
        for name, value in alone.items():
            if name == "told":
                torch.testing.assert_close(seen["chosen"][spec][name], value)
            else:
                assert torch.equal(seen["chosen"][spec][name], value), name


@pytest.mark.parametrize("spec", TRAINED)
def test_the_gradients_are_those_of_one_process(ranks: list[dict], spec: str):
    alone = trained(whole(), spec)
    for seen in ranks:
        for one, other in zip(seen["trained"][spec], alone, strict=True):
            torch.testing.assert_close(one, other, rtol=2e-4, atol=2e-5)


def test_a_model_that_is_shared_only_later_trains_alike(ranks: list[dict]):
    """As frameworks do it: the loader is made of the plain model, and told with whom it will be shared."""
    for seen in ranks:
        for one, other in zip(seen["later"], seen["trained"]["loss_history"], strict=True):
            assert torch.equal(one, other)


def test_ranks_and_parts_together_are_the_same_run(ranks: list[dict]):
    alone = trained(whole(), "loss_history")
    for seen in ranks:
        for one, other in zip(seen["parts"][:-1], alone[:-1], strict=True):
            torch.testing.assert_close(one, other, rtol=2e-4, atol=2e-5)


def test_ranks_that_disagree_and_batches_they_do_not_divide_are_refused_on_all(ranks: list[dict]):
    for seen in ranks:
        said = seen["refused"]
        assert f"a batch of 17 examples cannot be divided by {len(ranks)} ranks" in said["batch_size"]
        assert "unit='seconds' is not for several ranks" in said["unit"]
        assert "another one on each rank after the first step: put it into DistributedData" in said["never"]
        if len(ranks) == 4:
            assert "seed is 0 on rank 0, 0 on rank 1, 1 on rank 2, 1 on rank 3" in said["seed"]
        else:
            assert said["seed"] == ""


def test_the_example_on_several_ranks_resumes(ranks: list[dict]):
    for seen in ranks:
        once, cut, resumed = seen["example"]
        for one, other in zip(once, resumed, strict=True):
            # Two numbers have one sum; of four, DistributedDataParallel's first step adds in an order of its own.
            rounding = 0 if len(ranks) == 2 else 1e-4
            torch.testing.assert_close(one, other, rtol=rounding, atol=rounding)
        assert not any(torch.equal(one, other) for one, other in zip(once, cut, strict=True))


def test_examples_are_short():
    for path in (ROOT / "examples").glob("*.py"):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 40, path.name


# --- gradients in parts ---


@pytest.mark.parametrize("parts", [2, 3, 16])
@pytest.mark.parametrize("spec", ["unif", "loss_history", "gnorm(tau_min=0.5)"])
def test_gradients_of_parts_add_up_to_that_of_the_batch(spec: str, parts: int):
    for one, other in zip(trained(whole(), spec, parts), trained(whole(), spec), strict=True):
        torch.testing.assert_close(one, other, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("spec", ["p", "selective_backprop(beta=1, history=32)", "kakurenbo(confidence=0.3)"])
def test_what_is_chosen_does_not_depend_on_the_parts(spec: str):
    one, other = (chosen(whole(), spec, parts) for parts in (1, 4))
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


def test_a_run_in_parts_goes_on_from_between_two_steps():
    model = whole()
    loader, seen = loader_of(model, "p"), []
    for number, step in enumerate(loader.accumulate(2)):
        if number == 4:
            state = copy.deepcopy(loader.state_dict())  # of a batch handed out, not reduced: handed out again
            break
        for image, _ in step:
            loader.reduce(LOSSES_OF(loader), model(image).detach())
    for goes_on in (loader, again := loader_of(model, "p")):
        if goes_on is again:
            again.load_state_dict(state)
        rest = []
        for step in goes_on.accumulate(2):
            for image, _ in step:
                rest.append(goes_on.batch.index)
                goes_on.reduce(LOSSES_OF(goes_on), model(image).detach())
        seen.append(torch.cat(rest))
    assert torch.equal(*seen)


def LOSSES_OF(loader) -> Tensor:
    return rank_work.LOSSES[loader.batch.index].clone()


def test_parts_that_cannot_be_are_refused():
    for parts in (0, 17):
        with pytest.raises(InputError, match=f"parts={parts} must be from 1 to the 16"):
            loader_of(whole(), "unif").accumulate(parts)
    with pytest.raises(InputError, match="Ordered compares the losses of a whole batch"):
        loader_of(whole(), "ordered").accumulate(2)
    steps = loader_of(whole(), "unif").accumulate(4)
    assert len(list(next(steps))) == 4
    with pytest.raises(InputError, match=r"without loader\.reduce"):
        next(steps)


# --- inputs by name ---


class Records(Dataset):
    def __len__(self) -> int:
        return N

    def __getitem__(self, i: int) -> dict:
        return {"low": X[i, :2], "kind": int(Y[i]), "high": X[i, 2:]}


class Pairs(Records):
    def __getitem__(self, i: int):
        return X[i], int(Y[i])


class Output:
    def __init__(self, logits: Tensor):
        self.logits = logits


class TakesNames(nn.Module):
    """The model of the tensors, given its inputs by name, as some libraries' models are."""

    def __init__(self, wrapped: bool = True):
        super().__init__()
        self.inner, self.wrapped = whole(), wrapped

    def forward(self, low: Tensor, high: Tensor):
        logits = self.inner(torch.cat([low, high], dim=1))
        return Output(logits) if self.wrapped else logits


@pytest.mark.parametrize("wrapped", [True, False])
@pytest.mark.parametrize("spec", ["unif", "gnorm(tau_min=0.5)", "divbs(presample=2)", "rho(presample=2)",
                                  "selective_backprop(beta=1, history=32)"])  # fmt: skip
def test_dictionaries_are_trained_as_the_tensors_in_them(spec: str, wrapped: bool):
    plain = iskit.wrap(Pairs(), whole(), sampler=spec, batch_size=16, budget=0.3, epochs=6, proxy=whole)
    named = iskit.wrap(
        Records(), model := TakesNames(wrapped), sampler=spec, batch_size=16, budget=0.3, epochs=6, target="kind",
        proxy=TakesNames,
    )  # fmt: skip
    theirs, ours = [], []
    for image, target in plain:
        logits = plain.model(image)
        plain.reduce(F.cross_entropy(logits, target, reduction="none"), logits)
        theirs.append((plain.batch.index, target))
    for number, batch in enumerate(named):
        assert set(batch) == {"low", "high", "kind"}
        assert torch.equal(torch.cat([batch["low"], batch["high"]], 1), X[named.batch.index])
        found = model(batch["low"], batch["high"])
        logits = found.logits if wrapped else found
        named.reduce(F.cross_entropy(logits, batch["kind"], reduction="none"), logits)
        ours.append((named.batch.index, batch["kind"]))
        if number == 2:
            named.load_state_dict(named.state_dict())
    assert len(ours) == len(theirs)
    assert all(
        torch.equal(a, b) for one, other in zip(ours, theirs, strict=True) for a, b in zip(one, other, strict=True)
    )
    assert named.meter.forward_only == plain.meter.forward_only


def test_the_state_of_a_run_on_dictionaries_is_plain(tmp_path: Path):
    loader = iskit.wrap(
        Records(), TakesNames(), sampler="selective_backprop(beta=3, history=16)", batch_size=16, budget=0.5, epochs=6,
        target="kind",
    )  # fmt: skip
    for number, batch in enumerate(loader):
        if number == 8:
            break
        logits = loader.model(batch["low"], batch["high"]).logits
        loader.reduce(F.cross_entropy(logits, batch["kind"], reduction="none"), logits)
    torch.save(loader.state_dict(), tmp_path / "state.pt")
    loader.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    again = next(iter(loader))
    assert all(torch.equal(batch[name], again[name]) for name in batch)


class Stream(IterableDataset):
    def __iter__(self):
        yield from zip(X, Y, strict=True)


class Words(Records):
    def __getitem__(self, i: int) -> dict:
        return {"text": "a", "kind": 1}


@pytest.mark.parametrize(
    ("data", "target", "named"),
    [
        (Records(), None, "dictionaries with the keys low, kind, high: say which is the label, target="),
        (Records(), "label", "target='label' must be one of dataset's keys"),
        (Pairs(), "kind", "target='kind' names a key, but dataset gives no dictionaries"),
        ((X, Y), "kind", "target='kind' names a key, but dataset holds two tensors"),
        (Words(), "kind", "key 'text' holds no tensors"),
        (Stream(), None, "an IterableDataset, which gives its examples in an order of its own"),
    ],
)
def test_data_that_cannot_be_chosen_from_is_refused_with_the_reason(data, target, named: str):
    with pytest.raises(InputError, match=named):
        iskit.wrap(data, TakesNames(), sampler="unif", batch_size=16, budget=0.3, epochs=6, target=target)


def test_a_model_that_cannot_take_the_names_is_told_them():
    with pytest.raises(InputError, match=r"the model cannot take inputs low \(2,\), high \(4,\) from dataset"):
        iskit.wrap(Records(), whole(), sampler="unif", batch_size=16, budget=0.3, epochs=6, target="kind")


def test_exact_norms_need_one_tensor():
    with pytest.raises(InputError, match="gradients an example"):
        iskit.wrap(
            Records(), TakesNames(), sampler="gnorm(score='full')", batch_size=16, budget=0.3, epochs=6, target="kind"
        )


def test_the_classes_are_those_of_the_model():
    assert chosen(whole(), "unif")["counts"].sum() == 480
    assert whole()(X).shape == (N, CLASSES)
