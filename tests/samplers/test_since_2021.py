"""ies, kakurenbo, seta, egreedy and divbs: each rule against a hand-made trace or a plain reading of it."""

import re
from math import sqrt
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from stepwise import bound_sampler, network, pool_of, small, within
from torch import Tensor, nn

from iskit.budget import Meter
from iskit.errors import InputError
from iskit.samplers import Batch, samplers
from iskit.samplers.divbs import diverse, gram
from iskit.samplers.seta import grouped
from iskit.training.contract import equal, finish, weights
from iskit.training.scorer import Scorer


def rows_of(index: Tensor, classes: int = 2, epoch: int = 0) -> Batch:
    label = index % classes
    epochs, ones = torch.full_like(index, epoch), torch.ones(len(index))
    return Batch(index, epochs, label, ones[:, None], F.one_hot(label, classes).float(), ones)


def out_of(weight_or_sampler: Any, epoch: int) -> list[int]:
    return weight_or_sampler.out[epoch % 2].nonzero().ravel().tolist()


# --- what leaves examples out but scores them ---


@pytest.mark.parametrize("spec", ["ies(threshold=None)", "ies(threshold=0.02)", "kakurenbo(confidence=0.26)"])
def test_each_epoch_trains_or_scores_every_example_once_and_charges_for_it(make, spec):
    trainer = make(spec, budget=0.5, epochs=14, lr=0.1)
    trained: list[tuple[int, int]] = []
    scored: list[tuple[int, int]] = []
    update, score = trainer.sampler.update, trainer.score
    out: dict[int, set[int]] = {}
    plan = trainer.sampler.plan

    def pairs(batch: Batch) -> list[tuple[int, int]]:
        return list(zip(batch.epoch.tolist(), batch.index.tolist(), strict=True))

    def planned(t: float, epoch: int, size: int) -> Tensor | None:
        weight = plan(t, epoch, size)
        out[epoch] = set(out_of(trainer.sampler, epoch))
        return weight

    def asked(pool: Batch) -> Tensor:
        scored.extend(pairs(pool))
        return score(pool)

    trainer.sampler.plan, trainer.score = planned, asked
    trainer.sampler.update = lambda outcome: (trained.extend(pairs(outcome.batch)), update(outcome))
    finish(trainer)
    assert any(out.values())
    assert trainer.meter.forward_only == len(scored) > 0
    last = max(epoch for epoch, _ in trained)
    for epoch in range(last):
        assert {i for e, i in scored if e == epoch} == out[epoch]
        together = [i for e, i in trained + scored if e == epoch]
        assert sorted(together) == list(range(200))


def see(sampler: Any, losses: dict[int, float], by_scoring: bool = False) -> None:
    index = torch.tensor(list(losses))
    rows = rows_of(index)
    logits = torch.zeros(len(index), 2)
    sampler.learn(rows, logits, torch.tensor(list(losses.values())))


def test_ies_by_a_hand_made_trace():
    """Straight losses stop early, curved ones never, and one that curves again returns."""
    trace = {
        0: [8, 7, 6, 5, 4, 3, 2, 1, 0, 0, 0, 0],  # straight until the ninth
        1: [8, 4, 2, 1, 0.5, 0.25, 0.125, 0.0625, 0.0312, 0.0156, 0.0078, 0.0039],
        2: [1, 1, 1, 1, 1, 1, 1, 5, 1, 1, 1, 1],  # jumps in the eighth epoch
        3: [3, 1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1],
    }

    def expected(epoch: int) -> list[int]:
        found = []
        for i, loss in trace.items():
            d = [loss[e] - 2 * loss[e - 1] + loss[e - 2] for e in range(2, epoch)]
            if len(d) >= 4 and np.mean(np.abs(d[-3:])) < 0.05:
                found.append(i)
        return found

    sampler = bound_sampler("ies(threshold=0.05)", n=4, batch_size=1)
    seen = []
    for epoch in range(12):
        sampler.plan(0.0, epoch, 4)
        assert out_of(sampler, epoch) == expected(epoch)
        seen.append(out_of(sampler, epoch))
        see(sampler, {i: loss[epoch] for i, loss in trace.items()})
    assert seen[:6] == [[]] * 6
    assert seen[6] == [0, 2]
    assert 2 not in seen[8]
    assert 0 not in seen[10]
    assert 1 in seen[11]


def test_ies_leaves_out_strictly_below_its_threshold():
    sampler = bound_sampler("ies(threshold=0.5)", n=4, batch_size=1)
    for loss in (0.0, 0.0, 0.5, 1.5, 3.0, 5.0):  # d = .5 each
        see(sampler, {0: loss, 1: loss * 0.99, 2: loss * 1.01})
    sampler.plan(0.0, 6, 4)
    assert out_of(sampler, 6) == [1]


def test_ies_officially_keeps_the_exclusions_of_before_where_none_qualifies():
    found = {}
    for official in (False, True):
        sampler = bound_sampler(f"ies(threshold=0.05, official={official})", n=2, batch_size=1)
        for _ in range(6):
            see(sampler, {0: 1.0, 1: np.random.default_rng(1).random()})
        see(sampler, {1: 7.0})
        sampler.plan(0.0, 6, 2)
        assert out_of(sampler, 6) == [0]
        see(sampler, {0: 5.0, 1: 1.0})
        sampler.plan(0.0, 7, 2)
        found[official] = out_of(sampler, 7)
    assert found == {False: [], True: [0]}


def test_ies_with_the_budgets_share_trains_the_most_curved():
    n = 40
    sampler = bound_sampler("ies(threshold=None)", n=n, batch_size=1)
    losses = np.random.default_rng(0).normal(size=(9, n)).cumsum(0)
    uniform = []
    for epoch, row in enumerate(losses):
        sampler.plan(0.0, epoch, 12)
        if epoch < 6:
            uniform.append(tuple(out_of(sampler, epoch)))
            assert float(sampler.heard()) == 0
        else:
            d = np.abs(np.diff(losses[:epoch], n=2, axis=0)[-3:]).mean(0)
            assert set(range(n)) - set(out_of(sampler, epoch)) == set(np.argsort(-d)[:12].tolist())
            assert float(sampler.heard()) == pytest.approx(1 - 12 / n)
        assert len(out_of(sampler, epoch)) == 28
        see(sampler, dict(enumerate(row.tolist())))
    assert len(set(uniform)) == 6


def test_ies_trains_the_budgets_share_exactly(make):
    trainer = make("ies(threshold=None)", budget=0.3, epochs=10)
    finish(trainer)
    assert trainer.meter.backward == 608  # 600, and the batch that was begun
    assert 9 * 140 <= trainer.meter.forward_only <= 10 * 140 + 140


def test_ies_never_leaves_out_all_at_once():
    sampler = bound_sampler("ies(threshold=5)", n=8)
    for _ in range(6):
        see(sampler, dict.fromkeys(range(8), 1.0))
    assert sampler.plan(0.0, 6, 8) is None
    see(sampler, {3: 99.0})
    sampler.plan(0.0, 7, 8)
    assert out_of(sampler, 7) == [0, 1, 2, 4, 5, 6, 7]


def confident(right: list[bool], probability: list[float]) -> tuple[Batch, Tensor]:
    """Rows 0, 1, ... of class i % 2 whose predicted class, right or wrong, has that probability."""
    rows = rows_of(torch.arange(len(right)))
    shown = torch.where(torch.tensor(right), rows.label, 1 - rows.label)
    p = torch.tensor(probability)
    logits = torch.zeros(len(right), 2).scatter(1, shown[:, None], (p / (1 - p)).log()[:, None])
    return rows, logits


@pytest.mark.parametrize(("t", "factor"), [(0.0, 1.0), (0.29, 1.0), (0.3, 0.8), (0.6, 0.6), (0.8, 0.4), (0.99, 0.4)])
def test_kakurenbo_hides_the_lowest_that_are_right_and_sure(t: float, factor: float):
    n = 50
    numbers = np.random.default_rng(2)
    right, p = (numbers.random(n) < 0.8).tolist(), numbers.uniform(0.5, 1, n).tolist()
    loss = numbers.random(n)
    sampler = bound_sampler("kakurenbo(hide=0.4)", n=n, batch_size=1)
    rows, logits = confident(right, p)
    sampler.learn(rows, logits, torch.from_numpy(loss))
    sampler.plan(t, 3, n)
    lowest = np.argsort(loss)[: round(0.4 * factor * n)]
    expected = sorted(i for i in lowest.tolist() if right[i] and p[i] >= 0.7)
    assert out_of(sampler, 3) == expected
    assert 0 < len(expected) < len(lowest)
    # It says aloud that it steps further, by what is really hidden.
    assert sampler.rate(t, lambda t: 0.5) == pytest.approx(0.5 / (1 - len(expected) / n))


def test_kakurenbo_hides_nothing_before_it_knows_and_moves_back_what_is_no_longer_sure():
    sampler = bound_sampler("kakurenbo(hide=0.5)", n=8, batch_size=1)
    assert sampler.plan(0.0, 0, 8) is None
    assert sampler.rate(0.0, lambda t: 1 - t) == 1
    loss = torch.arange(8.0)
    sampler.learn(*confident([True] * 8, [0.9] * 8), loss)
    sampler.plan(0.1, 1, 8)
    assert out_of(sampler, 1) == [0, 1, 2, 3]
    sampler.learn(*confident([True] * 8, [0.9, 0.69, 0.71] + [0.9] * 5), loss)
    sampler.plan(0.1, 2, 8)
    assert out_of(sampler, 2) == [0, 2, 3]


def test_kakurenbo_officially_asks_the_batch_and_divides_by_what_it_meant_to_hide():
    ours, theirs = (bound_sampler(f"kakurenbo(hide=0.5, official={o})", n=4, batch_size=1) for o in (False, True))
    rows, logits = confident([True] * 4, [0.99, 0.85, 0.9, 0.8])
    for sampler in (ours, theirs):
        sampler.learn(rows, logits, torch.arange(4.0))
        sampler.plan(0.0, 1, 4)
    over_rows = np.exp(logits.numpy()) / np.exp(logits.numpy()).sum(0)
    assert (over_rows.max(1) >= 0.7).tolist() == [True, False, False, False]
    assert (out_of(ours, 1), out_of(theirs, 1)) == ([0, 1], [0])
    assert theirs.rate(0.0, lambda t: 1.0) == 1 / (1 - 0.5)
    assert ours.rate(0.0, lambda t: 1.0) == 1 / (1 - 0.5)
    theirs.plan(0.85, 2, 4)
    assert theirs.rate(0.0, lambda t: 1.0) == pytest.approx(1 / (1 - 0.2))


@pytest.mark.parametrize("spec", ["ies(threshold=None", "kakurenbo(hide=0.4"])
def test_controls_leave_out_as_many_but_others(spec: str):
    kept = {}
    for control in (False, True):
        sampler = bound_sampler(f"{spec}, control={control})", n=200, batch_size=1)
        low = torch.arange(200) < 80
        for epoch in range(7):
            loss = torch.where(low, 0.0, torch.rand(200, generator=torch.Generator().manual_seed(epoch)) + 1)
            sampler.learn(rows_of(torch.arange(200)), F.one_hot(torch.arange(200) % 2).float() * 9, loss)
        counts, share = [], []
        for epoch in range(7, 27):
            sampler.plan(0.0, epoch, 120)
            counts.append(len(out_of(sampler, epoch)))
            share.append(np.mean(np.array(out_of(sampler, epoch)) < 80))
        assert set(counts) == {80}
        kept[control] = np.mean(share)
    assert kept[False] == 1
    assert within(kept[True], 0.4, sqrt(0.24 / (20 * 80)))


# --- seta ---


def plain_kmeans(value: np.ndarray, k: int) -> list[int]:
    """Sizes of the groups by Lloyd's steps on the values themselves, from equal parts of their order."""
    value = np.sort(value)
    group = np.searchsorted(np.arange(1, k) * len(value) // k, np.arange(len(value)), side="right")
    while True:
        centre = np.array([value[group == g].mean() for g in range(k)])
        new = np.abs(value[:, None] - centre).argmin(1)
        if (new == group).all():
            return np.bincount(group, minlength=k).tolist()
        group = new


@pytest.mark.parametrize("k", [2, 5, 10])
def test_groups_are_those_of_k_means(k: int):
    for seed in range(5):
        value = np.random.default_rng(seed).gamma(0.7, size=300)
        edges = grouped(torch.from_numpy(np.sort(value)), k)
        assert edges.diff().tolist() == plain_kmeans(value, k)


@pytest.mark.parametrize("value", [torch.zeros(20), torch.arange(20.0) // 7])
def test_groups_are_equal_parts_where_k_means_leaves_one_empty(value: Tensor):
    assert grouped(value, 5).tolist() == [0, 4, 8, 12, 16, 20]


def test_seta_slides_its_window_from_easy_to_hard_again_and_again():
    n = 1000
    loss = np.random.default_rng(1).gamma(0.7, size=n)
    sampler = bound_sampler("seta(prune=0, groups=10, scale=0.4)", n=n, batch_size=1)
    sampler.loss.copy_(torch.from_numpy(loss))
    sizes = plain_kmeans(loss.astype(np.float32), 10)
    edges = np.concatenate([[0], np.cumsum(sizes)])
    order = np.argsort(loss)
    assert sampler.plan(0.0, 0, n) is None  # the first epoch trains all groups
    for epoch in range(1, 20):
        weight = sampler.plan(0.1, epoch, n)
        s = epoch % 7
        assert set(weight.nonzero().ravel().tolist()) == set(order[edges[s] : edges[s + 4]].tolist())
        assert sampler.heard() == pytest.approx(1 - (edges[s + 4] - edges[s]) / n)
    assert sampler.plan(0.875, 20, n) is None


def test_seta_groups_a_random_part_and_ends_on_one():
    n = 200
    sampler = bound_sampler("seta(prune=0.3)", n=n, batch_size=1)
    for t, epoch in ((0.0, 0), (0.9, 30), (0.95, 31)):
        masks = [sampler.plan(t, epoch + 100 * k, n) > 0 for k in range(2 if epoch else 1)]
        assert all(mask.sum() == 140 for mask in masks)
    sampler.loss.copy_(torch.arange(float(n)))
    share = torch.stack([sampler.plan(0.1, 6 * k + 1, n) > 0 for k in range(1, 301)]).double().mean(0)
    # Groups 1 to 5 of 10: the second to the sixth tenth of the losses, .7 of each time.
    assert within(share[30:110].mean().item(), 0.7, sqrt(0.21 / (300 * 80)) + 0.003)
    assert share[:5].max() == 0
    assert share[140:].max() == 0


def test_seta_counts_what_was_never_trained_as_3():
    sampler = bound_sampler("seta(prune=0, groups=2, scale=0.5)", n=6, batch_size=1)
    sampler.loss.copy_(torch.tensor([0.1, 0.2, torch.inf, 2.9, 0.3, torch.inf]))
    assert sampler.plan(0.0, 2, 6).tolist() == [1, 1, 0, 0, 1, 0]
    assert sampler.plan(0.0, 1, 6).tolist() == [0, 0, 1, 1, 0, 1]


# --- egreedy ---


def test_egreedy_trains_the_highest_and_some_at_random():
    n, size, epochs = 60, 20, 800
    sampler = bound_sampler("egreedy(eps=0.25)", n=n, batch_size=1)
    score = torch.rand(n, generator=torch.Generator().manual_seed(0))
    sampler.score.copy_(score)
    drawn = torch.stack([sampler.plan(0.0, 6 * k, size) for k in range(epochs)]).numpy()
    assert (drawn.sum(1) == size).all()
    highest = np.argsort(-score.numpy())
    assert (drawn[:, highest[:15]] == 1).all()
    rest = drawn[:, highest[15:]].mean(0)
    expected = 5 / 45
    assert (np.abs(rest - expected) < 3.5 * sqrt(expected * (1 - expected) / epochs)).all()  # 45 at once


def test_egreedy_is_uniform_before_its_first_scores():
    sampler = bound_sampler("egreedy", n=20, batch_size=1)
    share = torch.stack([sampler.plan(0.0, 6 * k, 8) for k in range(1000)]).mean(0).numpy()
    assert (np.abs(share - 0.4) < 3.5 * sqrt(0.24 / 1000)).all()
    assert (sampler.heard() == 1).all()


def test_egreedy_averages_what_its_scoring_walks_find(make):
    trainer = make("egreedy(period=2, alpha=0.7)", budget=0.5, epochs=10)
    walks: dict[int, dict[int, float]] = {}
    refresh = trainer.sampler.refresh
    epoch_of: list[Tensor] = []
    select = trainer.sampler.select
    trainer.sampler.select = lambda pool, score: (epoch_of.append(pool.epoch), select(pool, score))[1]

    def heard(index: Tensor, loss: Tensor) -> None:
        scored = {e for e in epoch_of[-1].tolist() if e % 3 == 2}
        assert len(scored) == 1
        walks.setdefault(scored.pop(), {}).update(zip(index.tolist(), loss.tolist(), strict=True))
        refresh(index, loss)

    trainer.sampler.refresh = heard
    finish(trainer)
    whole = [found for found in walks.values() if len(found) == 200]
    assert sorted(walks)[:3] == [2, 5, 8]
    assert trainer.meter.forward_only == sum(map(len, walks.values()))
    expected = np.zeros(200)
    for found in walks.values():
        for i, loss in found.items():
            expected[i] = 0.3 * expected[i] + 0.7 * loss
    np.testing.assert_allclose(trainer.sampler.score.numpy(), expected, rtol=1e-5)
    assert len(whole) >= 3


def test_egreedy_control_is_greedy_for_nothing():
    sampler = bound_sampler("egreedy(eps=0.0, control=True)", n=100, batch_size=1)
    sampler.score.copy_(torch.arange(100.0))
    drawn = torch.stack([sampler.plan(0.0, 6 * k, 30) for k in range(300)])
    assert within(drawn[:, 50:].mean().item(), 0.3, sqrt(0.21 / (300 * 50)))


# --- divbs ---


def plain_divbs(g: np.ndarray, draws: np.ndarray) -> list[int]:
    """Gram-Schmidt on the vectors themselves, as it is written."""
    residual = g.mean(0)
    length = np.abs(g @ residual).max()
    basis: list[np.ndarray] = []
    chosen: list[int] = []
    for draw in draws:
        mass = np.abs(g @ residual)
        mass[chosen] = 0
        if mass.max() <= 1e-9 * length:
            mass = np.ones(len(g))
            mass[chosen] = 0
        i = int((mass / draw).argmax())
        chosen.append(i)
        q = g[i] - sum((g[i] @ one) * one for one in basis)
        if q @ q > 1e-9 * (g[i] @ g[i]):
            q = q / np.linalg.norm(q)
            basis.append(q)
            residual = residual - (residual @ q) * q
    return chosen


@pytest.mark.parametrize(("k", "d"), [(3, 2), (4, 6), (10, 40)])
def test_divbs_chooses_as_gram_schmidt_on_outer_products(k: int, d: int):
    """With few directions the residual is used up: 3 x 2 of them for 12 rows."""
    for seed in range(10):
        numbers = np.random.default_rng(seed)
        error, feature = numbers.normal(size=(60, k)), numbers.normal(size=(60, d))
        g = np.einsum("ik,id->ikd", error, feature).reshape(60, -1)
        inner = gram(torch.from_numpy(error), torch.from_numpy(feature))
        np.testing.assert_allclose(inner.numpy(), g @ g.T, rtol=1e-9, atol=1e-12)
        draws = numbers.exponential(size=(12, 60))
        rows = diverse(inner, torch.from_numpy(draws)).tolist()
        assert rows == plain_divbs(g, draws)
        assert len(set(rows)) == 12


def test_divbs_never_chooses_twice_of_copies_and_of_zeros():
    for inner in (torch.ones(30, 30), torch.zeros(30, 30), torch.eye(30).repeat_interleave(1, 0)):
        draws = torch.rand(20, 30, generator=torch.Generator().manual_seed(0)).double()
        assert len(set(diverse(inner.double(), draws).tolist())) == 20


def test_divbs_draws_its_first_by_the_inner_product_with_the_mean():
    numbers = np.random.default_rng(5)
    error, feature = torch.from_numpy(numbers.normal(size=(8, 3))), torch.from_numpy(numbers.normal(size=(8, 4)))
    inner = gram(error, feature)
    expected = (inner.mean(1).abs() / inner.mean(1).abs().sum()).numpy()
    trials = 4000
    first = [int(diverse(inner, torch.from_numpy(numbers.exponential(size=(1, 8))))) for _ in range(trials)]
    share = np.bincount(first, minlength=8) / trials
    assert (np.abs(share - expected) < 3 * np.sqrt(expected * (1 - expected) / trials)).all()


def test_divbs_asks_the_last_layers_input_once_and_pays_for_a_forward():
    data = small()
    model, meter = network(data), Meter()
    score = Scorer(model, meter)
    sampler = bound_sampler("divbs(presample=3)", n=100, batch_size=8)
    rows = Batch(
        *[torch.arange(24)] * 3, data.normalise(data.image[:24]), F.one_hot(data.label[:24], 10).float(), torch.ones(24)
    )
    seen: list[Tensor] = []
    feature = score.feature
    asked = SimpleNamespace(feature=lambda pool: (seen.extend(found := feature(pool)), found)[1])
    chosen, weight = sampler.select(rows, asked)
    assert meter.forward_only == 24
    model.eval()
    with torch.no_grad():
        torch.testing.assert_close(seen[1], model[:-1](rows.image))
        torch.testing.assert_close(seen[0], model(rows.image))
    assert len(set(chosen.tolist())) == 8
    assert weight.tolist() == [1] * 8
    assert torch.equal(sampler.heard(), gram(seen[0].softmax(1) - rows.target, seen[1]).mean(1).abs())


def test_divbs_control_chooses_blindly():
    error = torch.ones(40, 2)
    error[:10] *= 50  # where the gradient is
    high = {}
    for control in (False, True):
        sampler = bound_sampler(f"divbs(presample=5, control={control})", n=64, batch_size=8)
        pool = pool_of(40)
        features = torch.randn(40, 30, generator=torch.Generator().manual_seed(1)) * error[:, :1]
        found = torch.zeros(40, 2), features
        answer = SimpleNamespace(feature=lambda _, found=found: found)
        chosen = [sampler.select(pool, answer)[0] for _ in range(200)]
        high[control] = torch.cat(chosen).lt(10).double().mean().item()
    assert high[False] > 0.5
    assert within(high[True], 0.25, sqrt(0.1875 / 1600))


def test_a_model_without_a_linear_layer_is_told_what_divbs_wants():
    score = Scorer(nn.Sequential(nn.Conv2d(1, 2, 8), nn.Flatten()), Meter())
    pool = pool_of(4)
    pool.image = torch.zeros(4, 1, 8, 8)
    with pytest.raises(InputError, match="the model has no linear layer"):
        score.feature(pool)


# --- all of them ---


@pytest.mark.parametrize(
    "spec",
    [
        "ies(threshold=None)",
        "kakurenbo(hide=0)",
        "seta(prune=0, scale=1)",
        "egreedy(period=1)",
        "divbs(presample=1)",
        "ies(threshold=1e-9)",
        "kakurenbo(hide=0, official=True)",
        "seta(prune=0, anneal=1)",
    ],
)
def test_neutral_settings_are_plain_sgd_and_free(make, spec):
    ours, full = (finish(make(one, "standard|mixup", budget=1, epochs=3)) for one in (spec, "sgd"))
    assert equal(weights(ours), weights(full))
    assert ours.meter.forward_only == 0


@pytest.mark.parametrize("official", ["ies(threshold=0.2, official=True)", "kakurenbo(confidence=0.1, official=True)"])
def test_official_ways_train(make, official):
    assert finish(make(official, epochs=12)).meter.backward == 1200


@pytest.mark.parametrize(
    ("spec", "named"),
    [
        ("ies(threshold=0)", "threshold=0.0 would leave out none or all"),
        ("ies(threshold=-1)", "threshold=-1.0 would leave out none or all"),
        ("ies(threshold=None, official=True)", "official=True has no meaning"),
        ("kakurenbo(hide=1)", "hide=1.0"),
        ("kakurenbo(confidence=1)", "confidence=1.0 .* keeps all"),
        ("seta(prune=1)", "prune=1.0"),
        ("seta(groups=0)", "groups=0"),
        ("seta(scale=0.01)", "scale=0.01 of 10 groups"),
        ("seta(scale=1.1)", "scale=1.1"),
        ("seta(groups=191)", "groups=191 is more than the 180 examples .* no member"),
        ("egreedy(eps=1.1)", "eps=1.1"),
        ("egreedy(alpha=0)", "alpha=0.0"),
        ("egreedy(period=0)", "period=0"),
        ("divbs(presample=0)", "presample=0"),
        ("divbs(presample=13)", "presample=13 x batch_size=16 is more than the 200"),
    ],
)
def test_impossible_settings_are_refused_at_binding(make, spec: str, named: str):
    with pytest.raises(InputError, match=named):
        make(spec)


def test_the_cards_name_what_the_published_code_does():
    for name in ("ies", "kakurenbo"):
        assert re.search(r"official=True", samplers.card(name).differs)
