"""Rare classes, copies, wrong labels: how many, which, drawn by the run's seed, after the validation set."""

from pathlib import Path

import pytest
import torch
from published_files import MAKERS

from iskit.data import CONDITIONS, Dataset, datasets
from iskit.data.conditions import apportioned, conditioned, duplicated, mislabelled, thinned
from iskit.errors import InputError
from iskit.runs.experiment import Experiment
from iskit.runs.parts import load
from iskit.runs.run import Run
from iskit.samplers import samplers
from iskit.samplers.base import ProxyRun

CPU = torch.device("cpu")


def some(n: int = 1000, classes: int = 10) -> Dataset:
    """Example i shows an image of the level i % 251."""
    image = (torch.arange(n) % 251).to(torch.uint8)[:, None, None, None].expand(n, 4, 4, 1).contiguous()
    label = torch.arange(n) % classes
    return Dataset(image, label, image[:20], label[:20], (0.5,), (0.5,), tuple(map(str, range(classes))))


def view(data: Dataset, seed: int = 1, imbalance: float = 1, duplicates: float = 0, noise: float = 0) -> Dataset:
    return conditioned(data, imbalance=imbalance, duplicates=duplicates, noise=noise, seed=seed)


ALL = {"imbalance": 0.1, "duplicates": 0.4, "noise": 0.3}


# --- imbalance ---


def test_a_long_tail_has_the_sizes_of_its_definition():
    label = torch.arange(5000) % 10
    rows, rare = thinned(label, 10, 0.05, 1)
    sizes = label[rows].bincount(minlength=10).sort(descending=True).values
    assert sizes.tolist() == [round(500 * 0.05 ** (k / 9)) for k in range(10)]
    assert len(rows) / len(label) == pytest.approx(0.34, abs=0.005)
    assert rare.sum() == 5
    assert label[rows].bincount()[rare].max() < label[rows].bincount()[~rare].min()
    assert (rows.diff() > 0).all()


def test_which_class_is_rare_is_drawn_uniformly():
    """400 seeds: each class has each rank 400 / 4 times, within 4 sigma."""
    label = torch.arange(80) % 4
    sizes = torch.stack([label[thinned(label, 4, 0.1, seed)[0]].bincount(minlength=4) for seed in range(400)])
    for size in sizes[0].tolist():
        assert ((sizes == size).sum(0) - 100).abs().max() < 4 * (400 * 0.25 * 0.75) ** 0.5


def test_classes_smaller_than_their_place_in_the_tail_stay_whole():
    label = torch.cat([torch.zeros(100, dtype=torch.int64), torch.ones(3, dtype=torch.int64)])
    sizes = label[thinned(label, 2, 0.5, 3)[0]].bincount()
    assert sorted(sizes.tolist()) in ([3, 50], [3, 100])


def test_a_class_that_would_be_emptied_is_refused_with_what_keeps_it():
    label = torch.arange(100) % 10
    with pytest.raises(InputError, match=r"imbalance=0.01 leaves a class without .* 0.1 keeps one"):
        thinned(label, 10, 0.01, 1)
    assert label[thinned(label, 10, 0.1, 1)[0]].bincount(minlength=10).min() == 1


# --- duplicates ---


@pytest.mark.parametrize("share", [0.05, 0.5, 0.9])
def test_copies_are_of_a_tenth_of_the_originals_all_as_often(share):
    label = torch.arange(2000) % 10
    rows, copy = duplicated(label, 10, share, 1)
    assert len(rows) == 2000
    assert copy.sum() == round(share * 2000)
    originals = rows[~copy]
    assert len(originals.unique()) == len(originals)
    assert set(rows[copy].tolist()) <= set(originals.tolist())
    times = rows[copy].bincount()
    times = times[times > 0]
    assert len(times) == min(round(len(originals) / 10), int(copy.sum()))
    assert times.max() - times.min() <= 1


def test_classes_keep_their_shares():
    label = torch.cat([torch.zeros(600, dtype=torch.int64), torch.ones(400, dtype=torch.int64)])
    rows, copy = duplicated(label, 2, 0.5, 1)
    assert label[rows[~copy]].bincount().tolist() == [300, 200]
    assert label[rows].bincount().tolist() == pytest.approx([600, 400], abs=1)


def test_apportioned_parts_are_within_one_of_exact():
    size = torch.tensor([7, 1, 13, 0, 29])
    for count in range(51):
        parts = apportioned(size, count)
        assert parts.sum() == count
        assert ((parts - size * count / 50).abs() < 1).all()


# --- noise ---


def test_a_share_of_the_images_gets_another_class_a_higher_share_these_and_more():
    label, row = torch.arange(1000) % 10, torch.arange(1000)
    (less, wrong), (more, all_wrong) = (mislabelled(label, row, 10, share, 1) for share in (0.25, 0.5))
    for found, flag, share in ((less, wrong, 0.25), (more, all_wrong, 0.5)):
        assert torch.equal(found != label, flag)
        assert flag.sum() == round(share * 1000)
        assert 0 <= found.min() <= found.max() < 10
    assert torch.equal(less[wrong], more[wrong])


def test_wrong_labels_are_uniform_over_the_other_classes():
    label = torch.arange(40_000) % 4
    found, _ = mislabelled(label, torch.arange(40_000), 4, 1.0, 1)
    counts = torch.zeros(4, 4).index_put_((label, found), torch.ones(len(label)), accumulate=True)
    assert counts.diagonal().sum() == 0
    share = counts[~torch.eye(4, dtype=torch.bool)] / 10_000
    assert (share - 1 / 3).abs().max() < 4 * (1 / 3 * 2 / 3 / 10_000) ** 0.5


def test_a_copy_is_as_wrong_as_its_original():
    data = view(some(), **ALL)
    for image in data.row.unique():
        assert len(data.label[data.row == image].unique()) == 1
    wrong = data.flags["mislabelled"]
    assert torch.equal(wrong, data.label != data.whole.label[data.row])
    assert wrong[data.row.argsort(stable=True)].sum() > 0
    assert len(data.row[wrong].unique()) == round(0.3 * len(data.row.unique()))


@pytest.mark.parametrize("condition", ["imbalance=0.5", "noise=0.1"])
def test_one_class_alone_is_refused(condition, tmp_path):
    with pytest.raises(InputError, match=condition.partition("=")[0]):
        load(f"digits(classes=(3,), {condition})", tmp_path, 0, CPU, 1)


# --- the view ---


def test_the_examples_of_a_view_show_their_images():
    whole = some()
    data = view(whole, **ALL)
    index = torch.tensor([5, 0, len(data) - 1])
    assert torch.equal(data.images(index), whole.image[data.row[index]])
    assert data.image.data_ptr() == whole.image.data_ptr()
    assert len(data) == len(data.label) == len(data.row) < len(whole)
    assert {name: len(flag) for name, flag in data.flags.items()} == dict.fromkeys(
        ("rare", "copy", "mislabelled"), len(data)
    )
    assert torch.equal(data.test_label, whole.test_label)
    assert data.digest == whole.digest


def test_copies_share_their_origin():
    data = view(some(), duplicates=0.5)
    assert data.origin.max() + 1 == len(data.row.unique())
    assert torch.equal(data.origin[:, None] == data.origin[None], data.row[:, None] == data.row[None])
    assert some(7).origin.tolist() == list(range(7))


@pytest.mark.parametrize("condition", [{name: value} for name, value in ALL.items()] + [ALL])
def test_conditions_are_drawn_by_the_seed_alone(condition):
    one, again, other = (view(some(), seed, **condition) for seed in (1, 1, 2))
    assert torch.equal(one.row, again.row)
    assert torch.equal(one.label, again.label)
    assert not (torch.equal(one.row, other.row) and torch.equal(one.label, other.label))


def test_without_conditions_it_is_the_set_itself():
    data = some()
    assert view(data) is data


def test_validation_is_held_out_first_and_stays_clean(tmp_path):
    """Of digits: no image of the training part is in the validation part, whose labels are the true ones."""
    clean = load("digits", tmp_path, 200, CPU, 1)
    dirty = load("digits(imbalance=0.3, duplicates=0.5, noise=0.4)", tmp_path, 200, CPU, 1)
    assert torch.equal(dirty.test_image, clean.test_image)
    assert torch.equal(dirty.test_label, clean.test_label)
    assert dirty.image.data_ptr() == clean.image.data_ptr()  # one set of images in memory for all conditions
    with pytest.raises(InputError, match="whole set"):
        dirty.with_validation(10)


@pytest.mark.parametrize("made", MAKERS.values(), ids=MAKERS)
def test_every_data_set_takes_the_conditions(made, tmp_path, monkeypatch):
    spec = made(tmp_path, monkeypatch)[0]
    name, options = datasets.parse(spec)
    found = load(datasets.spec(name, {**options, "duplicates": 0.5, "noise": 0.5}), tmp_path, 0, CPU, 3)
    assert len(found) == len(load(spec, tmp_path, 0, CPU, 3))
    assert found.flags["copy"].sum() == len(found) - round(0.5 * len(found))
    assert set(CONDITIONS) <= set(datasets.options(name))


@pytest.mark.parametrize("official", [False, True])
def test_rho_keeps_a_copy_with_its_original(official):
    data = view(some(200, 4), duplicates=0.5)

    class Watching:
        origin = data.origin

        def __call__(self, model: str, epochs: int, train: torch.Tensor, held: torch.Tensor | None = None) -> ProxyRun:
            assert not set(data.row[train].tolist()) & set(data.row[held].tolist())
            assert len(train) + len(held) == len(data)
            empty = torch.empty(0)
            return ProxyRun(empty, torch.ones(len(held)), *[empty] * 7)

    sampler = samplers.create(f"rho(presample=2, official={official})")
    sampler.bind(label=data.label, budget=None, epochs=2, batch_size=8, seed=1)
    sampler.prepare(Watching())
    plan = sampler.plan(0.0, 0, 100)
    if official:
        assert not set(data.row[plan > 0].tolist()) & set(data.row[plan == 0].tolist())


@pytest.mark.parametrize("sampler", ["unif", "rho(proxy_epochs=1, presample=2)", "subset(by='kcenter')"])
def test_a_run_on_a_view_trains_its_own_examples(sampler, tmp_path):
    """Another seed has another view; the run knows its data again by the set that it is a view of."""
    spec = "digits(limit=300, imbalance=0.3, duplicates=0.5, noise=0.2)"
    settings = {"dataset": spec, "model": "cnn(width=4)", "epochs": 3, "sampler": sampler, "budget": 0.5, "evals": 2}
    run = Run(Experiment.parse(settings), Path(tmp_path))
    run.train()
    Run(Experiment.parse(settings), Path(tmp_path)).check()
    assert run.trainer is not None
    assert run.trainer.data.flags["copy"].any()
    assert run.result["examples"] == len(run.trainer.data) < 300
