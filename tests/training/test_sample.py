"""The fixed sample of the training set, and what an evaluation finds, against the same by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from iskit.training import sample as module
from iskit.training.evaluation import measure
from iskit.training.stats import flagged


@pytest.fixture
def ten(monkeypatch):
    monkeypatch.setattr(module, "SIZE", 50)


@pytest.mark.parametrize("augment", ["none", "standard|mixup"])
def test_loss_and_probability_of_the_examples_as_they_are(make, tiny, ten, augment):
    trainer = make("p", augment, evals=3)
    for _ in trainer:
        pass
    frame = trainer.sample.frame()
    assert list(frame.columns) == ["t", "index", "loss", "prob", "drawn"]
    assert [len(part) for _, part in frame.groupby("t")] == [50] * 3
    last = frame[frame["t"] == 1]
    index = torch.tensor(last["index"].to_numpy())
    with torch.no_grad():
        logits = trainer.model.eval()(tiny.normalise(tiny.image[index]))
    loss = F.cross_entropy(logits, tiny.label[index], reduction="none")
    np.testing.assert_allclose(last["loss"], loss.numpy(), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(last["prob"], np.exp(-loss.numpy()), rtol=1e-4)
    row = trainer.history.rows[-1]
    assert row["sample_loss"] == pytest.approx(last["loss"].mean(), rel=1e-5)
    assert row["sample_accuracy"] == pytest.approx(100 * (logits.argmax(1) == tiny.label[index]).double().mean().item())
    assert frame["t"].unique().tolist() == [row["t"] for row in trainer.history.rows]


def test_draws_since_the_last_evaluation_add_up_to_the_counts(make, ten):
    trainer = make("p", budget=1, epochs=6, evals=4)
    seen = []
    for _ in trainer:
        if len(trainer.history.rows) > len(seen):
            seen.append(trainer.history.counts.clone())
    frame, index = trainer.sample.frame(), trainer.sample.index
    past = torch.zeros_like(seen[0])
    for (_, part), counts in zip(frame.groupby("t"), seen, strict=True):
        np.testing.assert_array_equal(part["drawn"], (counts - past)[index])
        past = counts
    np.testing.assert_array_equal(frame.groupby("index")["drawn"].sum(), trainer.history.counts[index])


def test_it_is_drawn_by_the_seed_alone(make, ten):
    one, same, other = (make(spec, seed=seed).sample.index for spec, seed in (("p", 1), ("unif", 1), ("p", 2)))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(one, one.unique())
    assert len(one) == 50


def test_of_a_smaller_set_it_is_all(make, tiny):
    assert torch.equal(make().sample.index, torch.arange(len(tiny)))


def test_without_an_evaluation_it_is_an_empty_table(make, tmp_path):
    frame = make().sample.frame()
    assert list(frame.columns) == ["t", "index", "loss", "prob", "drawn"]
    assert frame.empty


def test_the_worst_class_and_what_was_right(tiny):
    guess = torch.zeros(len(tiny.test_label), 5)
    guess[:, 0] = 1  # always the first class
    some = replace(tiny, classes=(*tiny.classes, "never in the test set"))
    given = iter([guess])
    found = measure(lambda image: next(given), some)
    assert torch.equal(found.correct, tiny.test_label == 0)
    assert found.worst_class_accuracy == 0
    right = F.one_hot(tiny.test_label, 5).float()
    rows = (tiny.test_label == 2).nonzero().squeeze(1)
    right[rows[:3]] = 0
    right[rows[:3], 1] = 1
    given = iter([right])
    found = measure(lambda image: next(given), some)
    assert found.worst_class_accuracy == pytest.approx(100 * (1 - 3 / len(rows)))
    assert found.accuracy == pytest.approx(100 * (1 - 3 / len(right)))


def test_shares_of_what_was_trained():
    counts = torch.tensor([3, 0, 1, 4])
    flags = {"rare": torch.tensor([True, True, False, False]), "copy": torch.tensor([False, False, True, True])}
    assert flagged(counts, flags) == {"share_rare": 3 / 8, "share_copy": 5 / 8}


def test_a_run_tells_the_shares_of_its_flags(make, tiny):
    flag = torch.arange(len(tiny)) % 4 == 0
    trainer = make("p", data=replace(tiny, flags={"mislabelled": flag}))
    for _ in trainer:
        pass
    counts = trainer.history.counts
    assert trainer.history.rows[-1]["share_mislabelled"] == pytest.approx((counts[flag].sum() / counts.sum()).item())
