"""The samplers that choose once an epoch or once a run, and rho: laws, expectations, rules, preparations."""

from dataclasses import fields
from itertools import permutations
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from iskit.augment import Pipeline
from iskit.bench.select import PER_EPOCH, _measure
from iskit.budget import Budget, Meter
from iskit.data import Dataset
from iskit.errors import InputError
from iskit.models import models
from iskit.randomness import Stream, permutation, uniform
from iskit.samplers import Batch, ProxyRun, Sampler, samplers
from iskit.samplers.coreset import SCORES
from iskit.samplers.draw import inclusion, permuted, ranking, successive
from iskit.samplers.subset import By
from iskit.training.proxy import ProxyTrainer
from iskit.training.trainer import Trainer

SMALL = "proxy='cnn(width=2)', proxy_epochs=2"
SPECS = [
    "online_batch",
    "online_batch(recompute=2)",
    "loss_history",
    "infobatch",
    "subset",
    f"subset(by='kcenter', {SMALL})",
    f"rho(presample=3, {SMALL})",
    f"rho(presample=3, official=True, {SMALL})",
]


def dataset(n: int = 120, seed: int = 0) -> Dataset:
    """Grey 6 x 6 images of 3 classes, told apart by their brightness, in noise."""
    random = torch.Generator().manual_seed(seed)
    label = torch.randint(3, (n + 30,), generator=random)
    image = (torch.randint(0, 120, (n + 30, 6, 6, 1), generator=random) + 50 * label[:, None, None, None]).byte()
    return Dataset(image[:n], label[:n], image[n:], label[n:], (0.4,), (0.2,), ("a", "b", "c"), flip=False, pad=1)


def trainer(spec: str, data: Dataset | None = None, **settings: Any) -> Trainer:
    settings = {"budget": 0.5, "epochs": 6, "batch_size": 16, "evals": 1, "seed": 3} | settings
    data = data or dataset()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = models.create("cnn(width=2)", 3, 1, 6)
    sampler = samplers.create(spec)
    return Trainer(model, data, sampler, Pipeline.parse("none"), lr=0.05, schedule=lambda t: 1 - t, **settings)


def bound(spec: str, n: int, *, budget: float = 0.5, batch_size: int = 1, seed: int = 5) -> Any:
    sampler = samplers.create(spec)
    label = torch.arange(n) % 3
    sampler.bind(label=label, budget=Budget(budget, "backward", 10 * n), epochs=10, batch_size=batch_size, seed=seed)
    return sampler


def shares(sampler: Sampler, size: int, epochs: int, t: float = 0.0) -> np.ndarray:
    """How often each example is planned."""
    drawn = torch.zeros(sampler.n)
    for epoch in range(epochs):
        weight = sampler.plan(t, epoch, size)
        assert weight is not None
        assert (weight > 0).sum() == size
        drawn += weight > 0
    return (drawn / epochs).numpy()


def set_law(p: np.ndarray, size: int) -> dict[frozenset[int], float]:
    """Probability of each set under one draw after the other without replacement: the sum over its orders."""
    p = p / p.sum()
    law: dict[frozenset[int], float] = {}
    for order in permutations(range(len(p)), size):
        probability, left = 1.0, 1.0
        for i in order:
            probability, left = probability * p[i] / left, left - p[i]
        law[frozenset(order)] = law.get(frozenset(order), 0.0) + probability
    return law


def inclusion_law(p: np.ndarray, size: int) -> np.ndarray:
    return np.array([sum(q for members, q in set_law(p, size).items() if i in members) for i in range(len(p))])


def assert_shares(observed: np.ndarray, expected: np.ndarray, trials: int, sigmas: float = 3) -> None:
    assert (np.abs(observed - expected) <= sigmas * np.sqrt(expected * (1 - expected) / trials) + 1e-12).all()


# Draws


def test_successive_has_the_law_of_numpys_choice_without_replacement():
    p, size, trials = np.array([0.4, 0.3, 0.15, 0.1, 0.05]), 2, 20_000
    law = set_law(p, size)
    draws = uniform(1, Stream.CHOICE, 0, torch.arange(trials), len(p))
    sets = [frozenset(successive(torch.tensor(p), size, u).nonzero().ravel().tolist()) for u in draws]
    random = np.random.default_rng(0)
    numpys = [frozenset(random.choice(len(p), size, replace=False, p=p).tolist()) for _ in range(trials)]
    expected = np.array(list(law.values()))
    for drawn in (sets, numpys):
        assert_shares(np.array([drawn.count(members) / trials for members in law]), expected, trials)


def test_drawn_values_over_their_inclusion_sum_to_the_whole():
    score = torch.tensor([8.0, 4.0, 2.0, 1.0, 0.5, 0.25], dtype=torch.float64)
    value = score.square()  # tied to the score: weights that are dropped, or those of another law, show
    estimates, naive = [], []
    for u in uniform(2, Stream.CHOICE, 0, torch.arange(20_000), len(score)):
        drawn = successive(score, 3, u)
        estimates.append((value / inclusion(score, drawn, u))[drawn].sum().item())
        naive.append((value / (3 * score / score.sum()))[drawn].sum().item())
    error = np.std(estimates) / len(estimates) ** 0.5
    assert abs(np.mean(estimates) - value.sum().item()) < 3 * error
    assert abs(np.mean(naive) - value.sum().item()) > 30 * error  # the weights of draws with replacement


def test_permuted_keeps_the_scores_and_loses_the_order():
    score = torch.arange(1000.0)
    control = permuted(score, 1, 7)
    assert torch.equal(control.sort().values, score)
    assert abs(np.corrcoef(score, control)[0, 1]) < 0.1
    assert torch.equal(control, permuted(score, 1, 7))
    assert not torch.equal(control, permuted(score, 1, 8))
    assert not torch.equal(control, permuted(score, 2, 7))


def test_ranking_breaks_ties_at_random():
    score = torch.tensor([1.0, 3.0, 1.0, 1.0])
    firsts = [ranking(score, permutation(1, Stream.TIES, epoch, 4)).tolist() for epoch in range(3000)]
    assert {order[0] for order in firsts} == {1}
    assert_shares(np.bincount([order[1] for order in firsts], minlength=4) / 3000, np.array([1, 0, 1, 1]) / 3, 3000)


# Methods with a memory of the last loss


def test_last_loss_is_kept_under_the_examples_own_index():
    run = trainer("loss_history", budget=0.9)
    seen: dict[int, float] = {}
    original = run.sampler.update

    def update(outcome: Any) -> None:
        seen.update(zip(outcome.batch.index.tolist(), outcome.loss.tolist(), strict=True))
        original(outcome)

    run.sampler.update = update  # type: ignore[method-assign]
    for _ in run:
        pass
    assert {i: v for i, v in enumerate(run.sampler.loss.tolist()) if v < np.inf} == seen  # type: ignore[attr-defined]


@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.0])
def test_loss_history_draws_in_proportion_to_the_loss(alpha: float):
    sampler = bound(f"loss_history(alpha={alpha})", 5)
    sampler.loss.copy_(torch.tensor([0.1, 1.0, 2.0, torch.inf, 0.5]))
    loss = np.array([0.1, 1.0, 2.0, 2.0, 0.5])  # never trained: the current maximum
    assert_shares(shares(sampler, 2, 3000), inclusion_law(loss**alpha, 2), 3000)


def test_loss_history_before_any_loss_is_uniform():
    assert_shares(shares(bound("loss_history", 5), 2, 3000), np.full(5, 0.4), 3000)


def test_loss_history_weights_undo_the_bias():
    n, size = 2000, 600
    loss = -torch.from_numpy(np.log(np.random.default_rng(1).random(n)))
    biased, corrected = bound("loss_history(alpha=1, beta=0)", n), bound("loss_history(alpha=1, beta=1)", n)
    means: dict[Any, list[float]] = {biased: [], corrected: []}
    for sampler, found in means.items():
        sampler.loss.copy_(loss)
        for epoch in range(60):
            weight = sampler.plan(0.2, epoch, size).double()
            assert weight.max() == 1
            found.append(((weight * loss).sum() / weight.sum()).item())
    error = np.std(means[corrected]) / 60**0.5
    assert abs(np.mean(means[corrected]) - loss.mean().item()) < 3 * error + 1 / size
    assert np.mean(means[biased]) > 1.4 * loss.mean().item()


@pytest.mark.parametrize("spec", ["loss_history", "infobatch(anneal=0)"])
def test_every_row_is_trained_with_its_planned_weight(spec: str):
    run = trainer(spec, budget=0.6)
    plans: list[Tensor] = []
    plan, update = run.sampler.plan, run.sampler.update

    def planned(*args: Any) -> Tensor | None:
        plans.append(plan(*args))  # type: ignore[arg-type]
        return plans[-1]

    def updated(outcome: Any) -> None:
        rows = outcome.batch
        assert rows.weight.tolist() == [plans[e][i].item() for e, i in zip(rows.epoch, rows.index, strict=True)]
        update(outcome)

    run.sampler.plan, run.sampler.update = planned, updated  # type: ignore[method-assign]
    for _ in run:
        pass
    assert len({value for weight in plans for value in weight.tolist()}) > 2


def test_loss_history_weights_are_the_formula():
    sampler = bound("loss_history(alpha=.5, beta=.7)", 50)
    sampler.loss.copy_(torch.rand(50, generator=torch.Generator().manual_seed(0)))
    weight = sampler.plan(0.0, 0, 20).double()
    drawn = weight > 0
    score = sampler.loss.double().sqrt()
    # From the weights alone: weight = c (1 - exp(-score / key)) ** -.7, so one key must explain all of them.
    largest = weight.argmax()

    def misfit(key: float) -> float:
        raw = -torch.expm1(-score / key)
        return float(((raw / raw[largest]) ** -0.7 - weight)[drawn].abs().max())

    assert min(misfit(key) for key in np.geomspace(0.01, 10, 20_000)) < 1e-3


def test_online_batch_draws_by_rank():
    sampler = bound("online_batch(pressure=50)", 5)
    sampler.loss.copy_(torch.tensor([0.3, 9.0, 0.1, torch.inf, 0.2]))
    rank = np.array([3, 2, 5, 1, 4])
    for t in (0.0, 0.5):
        p = np.exp(-np.log(50 ** (1 - t)) * rank / 5)
        assert_shares(shares(sampler, 2, 3000, t), inclusion_law(p, 2), 3000)


def test_online_batch_before_any_loss_is_uniform():
    assert_shares(shares(bound("online_batch", 5), 2, 3000), np.full(5, 0.4), 3000)


def test_online_batch_recomputes_losses_in_walks_that_train_nothing():
    sampler = bound("online_batch(recompute=2)", 60)
    assert sampler.plan(0.1, 1, 30) is not None
    assert sampler.plan(0.1, 2, 30) is None  # the third walk sees everything
    pool = pool_of(torch.arange(20, 32))
    pool.epoch = torch.tensor([1] * 5 + [2] * 7)
    logits = torch.randn(12, 3, generator=torch.Generator().manual_seed(0))
    rows, weight = sampler.select(pool, lambda asked: logits[asked.index - 20])
    assert rows.tolist() == list(range(5))
    assert torch.equal(weight, pool.weight[:5])
    expected = torch.full((60,), torch.inf)
    expected[25:32] = F.cross_entropy(logits[5:], pool.target[5:], reduction="none")
    torch.testing.assert_close(sampler.loss, expected)


def test_online_batch_recomputes_over_a_whole_run():
    run = trainer("online_batch(recompute=2)", budget=0.5, epochs=12)
    epochs: set[int] = set()
    scored: list[tuple[int, int]] = []
    original = run.score

    def score(pool: Batch) -> Tensor:
        scored.extend(zip(pool.epoch.tolist(), pool.index.tolist(), strict=True))
        return original(pool)

    run.score = score  # type: ignore[method-assign]
    run.sampler.update = lambda outcome: epochs.update(outcome.batch.epoch.tolist())  # type: ignore[method-assign]
    for _ in run:
        pass
    assert epochs == set(range(max(epochs) + 1)) - {2, 5, 8, 11, 14}
    assert {2, 5, 8} <= {epoch for epoch, _ in scored} <= {2, 5, 8, 11, 14, 17}
    assert sorted(index for epoch, index in scored if epoch == 5) == list(range(120))
    assert run.meter.forward_only == len(scored)


# infobatch


def exponential(n: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(3).exponential(size=n)).float()


@pytest.mark.parametrize("prune", [0.3, 0.5, 0.8])
def test_infobatch_estimates_the_mean(prune: float):
    sampler, published = (bound(f"infobatch(prune={prune}, kept_mean={k})", 400) for k in (False, True))
    loss = exponential(400)
    sampler.loss.copy_(loss)
    published.loss.copy_(loss)
    value = loss + 1  # tied to the loss, and not small where examples are dropped
    batch_means, sums, factors = [], [], []
    for epoch in range(1, 400):
        weight, raw = sampler.plan(0.1, epoch, 1), published.plan(0.1, epoch, 1)
        kept = weight > 0
        batch_means.append((weight * value)[kept].mean().item())
        sums.append((raw * value).sum().item())
        factors.append((raw * value)[kept].mean().item() / batch_means[-1] * kept.float().mean().item())
        assert torch.equal(kept, raw > 0)
        assert kept[loss >= loss.mean()].all()
        assert np.isin(raw.numpy(), np.float32([0, 1, 1 / (1 - prune)])).all()
    for found, expected in ((batch_means, value.mean().item()), (sums, value.sum().item())):
        assert abs(np.mean(found) - expected) < 3 * np.std(found) / len(found) ** 0.5
    assert np.allclose(factors, 1)  # as published: larger by N / |kept| in every step


def test_infobatch_as_published_enlarges_steps_by_half_for_exponential_losses():
    sampler = bound("infobatch(kept_mean=True)", 50_000)
    sampler.loss.copy_(exponential(50_000))
    weight = sampler.plan(0.1, 3, 1)
    assert weight[weight > 0].mean().item() == pytest.approx(1 / (1 - 0.5 * (1 - np.exp(-1))), abs=0.01)  # 1.46


def test_infobatch_drops_nothing_in_the_first_epoch_and_never_what_it_has_not_seen():
    sampler = bound("infobatch", 100)
    assert torch.equal(sampler.plan(0.0, 0, 1), torch.ones(100))
    sampler.loss[:50] = exponential(50)
    dropped = torch.stack([sampler.plan(0.1, epoch, 1) == 0 for epoch in range(1, 30)]).any(0)
    assert torch.equal(dropped, sampler.loss < sampler.loss[:50].mean())  # the mean of what is known


def test_infobatch_anneals_on_everything():
    sampler = bound("infobatch(anneal=.2)", 100)
    sampler.loss.copy_(exponential(100))
    assert (sampler.plan(0.79, 7, 1) == 0).any()
    assert sampler.plan(0.8, 8, 1) is None
    run = trainer("infobatch(anneal=.4)", budget=1.0, epochs=8)
    weights: list[tuple[float, bool]] = []
    original = run.feed.batch

    def batch(t: float, score: Any) -> Batch:
        result = original(t, score)
        weights.append((t, bool((result.weight == 1).all())))
        return result

    run.feed.batch = batch  # type: ignore[method-assign]
    for _ in run:
        pass
    assert weights[0][1]
    assert not all(plain for t, plain in weights if 0.2 < t < 0.6)
    assert all(plain for t, plain in weights if t > 0.8)  # no weights left in place


def test_infobatch_prunes_by_its_seed_and_epoch():
    plans = []
    for seed, epoch in ((1, 1), (2, 1), (1, 2), (1, 1)):
        sampler = bound("infobatch", 200, seed=seed)
        sampler.loss.copy_(exponential(200))
        plans.append(sampler.plan(0.1, epoch, 1))
    assert torch.equal(plans[0], plans[3])
    assert not torch.equal(plans[0], plans[1])
    assert not torch.equal(plans[0], plans[2])


# Control


@pytest.mark.parametrize("name", ["online_batch", "loss_history", "infobatch"])
def test_control_has_the_scores_without_their_information(name: str):
    n = 400
    loss = torch.linspace(0.01, 1, n).square()
    high = {}
    for control in (False, True):
        sampler = bound(f"{name}(control={control})", n)
        sampler.loss.copy_(loss)
        drawn = torch.stack([sampler.plan(0.1, epoch, 200) > 0 for epoch in range(1, 40)]).double()
        high[control] = drawn[:, n // 2 :].mean().item() - drawn[:, : n // 2].mean().item()
        assert torch.equal(sampler.loss, loss)
    assert high[False] > 0.2
    assert abs(high[True]) < 0.02


# subset


def proxy_run(**given: Tensor) -> ProxyRun:
    empty = torch.empty(0)
    return ProxyRun(**dict.fromkeys((field.name for field in fields(ProxyRun)), empty) | given)


def test_every_way_to_choose_a_subset_is_known():
    assert set(get_args(By)) == set(SCORES) | {"random"}


def test_forgetting_counts_hand_made_traces():
    traces = {  # right in each epoch -> times forgotten
        "11111": 0.0,
        "00111": 0.0,
        "10000": 1.0,
        "10101": 2.0,
        "01010": 2.0,
        "00001": 0.0,
        "00000": float("inf"),
    }
    correct = torch.tensor([[c == "1" for c in trace] for trace in traces]).T
    assert SCORES["forgetting"](proxy_run(correct=correct), 3).tolist() == list(traces.values())


def test_uncertainties_are_their_formulas():
    logits = torch.randn(40, 5, generator=torch.Generator().manual_seed(0))
    p = np.sort(np.exp(logits.numpy()) / np.exp(logits.numpy()).sum(1, keepdims=True), axis=1)
    expected = {
        "confidence": 1 - p[:, -1],
        "entropy": -(p * np.log(p)).sum(1),
        "margin": 1 - (p[:, -1] - p[:, -2]),
    }
    for name, score in expected.items():
        np.testing.assert_allclose(SCORES[name](proxy_run(logits=logits), 3), score, rtol=1e-5)


def naive_kcenter(x: np.ndarray, size: int) -> list[int]:
    distance = np.linalg.norm(x[:, None] - x[None], axis=2)
    kept = [int(np.linalg.norm(x - x.mean(0), axis=1).argmin())]
    while len(kept) < size:
        nearest = distance[:, kept].min(1)
        nearest[kept] = -1
        kept.append(int(nearest.argmax()))
    return kept


def naive_herding(x: np.ndarray, size: int) -> list[int]:
    kept: list[int] = []
    while len(kept) < size:
        errors = [np.inf if j in kept else np.linalg.norm(x[[*kept, j]].mean(0) - x.mean(0)) for j in range(len(x))]
        kept.append(int(np.argmin(errors)))
    return kept


def picks(by: str, feature: Tensor, size: int) -> list[int]:
    score = SCORES[by](proxy_run(feature=feature), size)
    assert (score > 0).sum() == size
    return score.argsort(descending=True)[:size].tolist()


@pytest.mark.parametrize(("by", "naive"), [("kcenter", naive_kcenter), ("herding", naive_herding)])
def test_greedy_core_sets_equal_naive_references(by: str, naive: Any):
    feature = torch.randn(80, 6, generator=torch.Generator().manual_seed(1)) + 3
    assert picks(by, feature, 30) == naive(feature.double().numpy(), 30)


@pytest.mark.parametrize("by", ["kcenter", "herding"])
def test_greedy_core_sets_pick_nothing_twice(by: str):
    feature = torch.randn(4, 3, generator=torch.Generator().manual_seed(1)).repeat(5, 1)  # each image five times
    assert len(set(picks(by, feature, 20))) == 20


def test_herding_meets_the_mean_and_kcenter_covers():
    feature = torch.randn(500, 4, generator=torch.Generator().manual_seed(2))
    random = permutation(0, 1, 0, 500)[:50]
    herded, covering = feature[picks("herding", feature, 50)], feature[picks("kcenter", feature, 50)]
    assert (herded.mean(0) - feature.mean(0)).norm() < 0.1 * (feature[random].mean(0) - feature.mean(0)).norm()
    radius = [torch.cdist(feature, kept).amin(1).max() for kept in (covering, feature[random])]
    assert radius[0] < 0.7 * radius[1]


class FakeProxy:
    """Gives every example its own index as the loss, logits ever more certain with the index, and notes the calls."""

    def __init__(self, n: int = 0) -> None:
        self.calls: list[tuple[str, int, list[int], list[int] | None]] = []
        self.origin = torch.arange(n)

    def __call__(self, model: str, epochs: int, train: Tensor, held: Tensor | None = None, number: int = 0) -> ProxyRun:
        asked = train if held is None else held
        self.calls.append((model, epochs, train.tolist(), None if held is None else held.tolist()))
        logits = torch.stack([asked * 0.1, torch.zeros(len(asked)), torch.zeros(len(asked))], dim=1)
        right = torch.ones(epochs, len(train), dtype=torch.bool)
        return ProxyRun(right, asked.float(), logits, logits, *[right.float()] * 5)


@pytest.mark.parametrize("by", ["confidence", "entropy", "margin"])
def test_subset_keeps_the_highest_scores_for_the_whole_run(by: str):
    sampler, proxy = bound(f"subset(by={by!r}, keep=.3, proxy='cnn', proxy_epochs=4)", 40), FakeProxy()
    sampler.prepare(proxy)
    assert proxy.calls == [("cnn", 4, list(range(40)), None)]
    for t, epoch in ((0.0, 0), (0.9, 7)):
        assert sampler.plan(t, epoch, 20).tolist() == [1.0] * 12 + [0.0] * 28


def test_subset_control_keeps_others():
    kept = []
    for control in (False, True):
        sampler = bound(f"subset(by='entropy', control={control})", 200)
        sampler.prepare(FakeProxy())
        kept.append(sampler.plan(0.0, 0, 1))
    assert kept[0][:100].sum() == 100
    assert kept[1].sum() == 100
    assert 35 < kept[1][:100].sum() < 65


def test_subset_ties_are_kept_at_random():
    drawn = np.zeros(6)
    for seed in range(2000):
        sampler = bound("subset(by='forgetting')", 6, seed=seed)
        sampler.prepare(FakeProxy())  # nothing is ever forgotten
        drawn += sampler.plan(0.0, 0, 1).numpy()
    assert_shares(drawn / 2000, np.full(6, 0.5), 2000)


@pytest.mark.parametrize(("spec", "size"), [("subset", 60), ("subset(keep=.2)", 24), ("subset(keep=1)", 120)])
def test_subset_trains_nothing_else(spec: str, size: int):
    run = trainer(spec)
    for _ in run:
        pass
    assert (run.history.counts > 0).sum() == size
    assert run.meter.prepared == 0


def test_random_subset_differs_between_seeds_and_is_uniform():
    drawn = np.zeros(5)
    for seed in range(3000):
        sampler = bound("subset(keep=.4)", 5, seed=seed)
        sampler.prepare(FakeProxy())
        drawn += sampler.plan(0.0, 0, 1).numpy()
    assert_shares(drawn / 3000, np.full(5, 0.4), 3000)


# rho


def pool_of(index: Tensor) -> Batch:
    target = F.one_hot(index % 3, 3).float()
    return Batch(index, torch.zeros_like(index), index % 3, torch.zeros(len(index), 1, 2, 2), target, index / 100 + 1)


def test_rho_trains_the_highest_reducible_losses():
    sampler = bound("rho(presample=5)", 60, batch_size=4)
    sampler.irreducible.copy_(torch.rand(60, generator=torch.Generator().manual_seed(0)) * 3)
    pool = pool_of(permutation(1, 1, 0, 60)[:20])
    logits = torch.randn(20, 3, generator=torch.Generator().manual_seed(1))
    probability = np.exp(logits.double().numpy())
    probability /= probability.sum(1, keepdims=True)
    reducible = -np.log(probability[np.arange(20), pool.label]) - sampler.irreducible[pool.index].numpy()
    assert sampler.candidates() == 20
    rows, weight = sampler.select(pool, lambda _: logits)
    assert set(rows.tolist()) == set(np.argsort(-reducible)[:4].tolist())
    assert torch.equal(weight, pool.weight[rows])


def test_rho_asks_only_models_that_never_trained_the_example():
    sampler, proxy = bound("rho(presample=2, proxy='cnn', proxy_epochs=3)", 11), FakeProxy(11)
    sampler.prepare(proxy)
    assert sampler.irreducible.tolist() == list(range(11))
    assert sorted(i for call in proxy.calls for i in call[3] or []) == list(range(11))
    for model, epochs, train, held in proxy.calls:
        assert (model, epochs) == ("cnn", 3)
        assert set(train).isdisjoint(held or [])
        assert len(train) + len(held or []) == 11
    assert sampler.plan(0.0, 0, 5) is None


def test_rho_official_trains_the_even_half_against_a_model_of_the_odd():
    sampler, proxy = bound("rho(presample=2, official=True)", 11), FakeProxy(11)
    sampler.prepare(proxy)
    assert [call[2:] for call in proxy.calls] == [(list(range(1, 11, 2)), list(range(0, 11, 2)))]
    assert sampler.plan(0.0, 0, 5).nonzero().ravel().tolist() == list(range(0, 11, 2))
    run = trainer(SPECS[-1])
    for _ in run:
        pass
    assert run.history.counts[1::2].sum() == 0


def test_rho_control_selects_blindly_and_afresh_each_time():
    sampler = bound("rho(presample=4, control=True)", 400, batch_size=50)
    pool = pool_of(torch.arange(200))
    logits = torch.zeros(200, 3)
    sampler.irreducible.copy_(torch.arange(400))
    chosen = [set(sampler.select(pool, lambda _: logits)[0].tolist()) for _ in range(40)]
    assert chosen[0] != chosen[1]
    low = np.mean([i < 100 for rows in chosen for i in rows])
    assert abs(low - 0.5) < 3 * 0.5 / 2000**0.5
    state = sampler.state_dict()
    resumed = bound("rho(presample=4, control=True)", 400, batch_size=50)
    resumed.load_state_dict(state)
    assert set(resumed.select(pool, lambda _: logits)[0].tolist()) == set(
        sampler.select(pool, lambda _: logits)[0].tolist()
    )


# Preparations


def proxy_trainer(data: Dataset, cache: Path | None = None, seed: int = 1, batch_size: int = 16) -> ProxyTrainer:
    clock = iter(range(1000))
    return ProxyTrainer(
        data, Meter(), batch_size=batch_size, seed=seed, cache=cache, clock=lambda: float(10 * next(clock))
    )


def test_proxy_counts_its_passes_apart():
    data = dataset(50)
    proxy = proxy_trainer(data)
    run = proxy("cnn(width=2)", 3, torch.arange(0, 50, 2), torch.arange(1, 50, 2))
    assert proxy.meter.prepared == 3 * 3 * 25 + 3 * 25  # three epochs of training, three of asking
    assert proxy.meter.cost == 0
    assert run.correct.shape == (3, 25)
    assert run.logits.shape == (25, 3)
    assert run.feature.shape == (25, 4)
    torch.testing.assert_close(run.loss, F.cross_entropy(run.logits, data.label[1::2], reduction="none"))
    proxy = proxy_trainer(data)
    proxy("cnn(width=2)", 3, torch.arange(50))
    assert proxy.meter.prepared == 3 * 3 * 50 + 50  # asked once, at the end


def test_proxy_learns():
    run = proxy_trainer(dataset(200))("cnn(width=4)", 8, torch.arange(200))
    assert run.correct[0].float().mean() < run.correct[-1].float().mean()
    assert run.correct[-1].float().mean() > 0.8


def test_proxy_traces_belong_to_their_examples(monkeypatch: pytest.MonkeyPatch):
    data = dataset(60)
    always_b = nn.Sequential(nn.Flatten(), nn.Linear(36, 3))
    nn.init.zeros_(always_b[1].weight)  # type: ignore[arg-type]
    always_b[1].bias.data = torch.tensor([0.0, 1.0, 0.0])  # type: ignore[union-attr]
    monkeypatch.setattr("iskit.training.proxy.LR", 0.0)
    monkeypatch.setattr(models, "create", lambda *_: always_b)
    train = permutation(0, 1, 0, 60)[:40]
    run = proxy_trainer(data)("cnn", 3, train)
    assert torch.equal(run.correct, (data.label[train] == 1).expand(3, 40))
    torch.testing.assert_close(run.feature, data.normalise(data.image[train]).flatten(1))


def test_proxy_answers_from_the_epoch_of_the_lowest_held_out_loss(monkeypatch: pytest.MonkeyPatch):
    losses = iter([0.9, 0.4, 0.2, 0.7])
    monkeypatch.setattr(
        ProxyTrainer,
        "_ask",
        lambda self, model, index: {
            "loss": torch.full((len(index),), next(losses)),
            "logits": torch.zeros(len(index), 3),
            "feature": torch.zeros(len(index), 2),
        },
    )
    run = proxy_trainer(dataset(40))("cnn(width=2)", 4, torch.arange(20), torch.arange(20, 40))
    assert run.loss[0] == torch.tensor(0.2)


def test_proxy_is_trained_once_and_its_cost_told_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    data, rows = dataset(40), torch.arange(40)
    first = proxy_trainer(data, tmp_path)
    made = first("cnn(width=2)", 2, rows)
    monkeypatch.setattr(ProxyTrainer, "_train", lambda *_: pytest.fail("trained again"))
    again = proxy_trainer(data, tmp_path)
    read = again("CNN(width=2)", 2, rows)
    for name, tensor in vars(made).items():
        assert torch.equal(tensor, getattr(read, name))
    assert again.meter.prepared == first.meter.prepared > 0
    assert again.meter.seconds["prepare"] == 10  # the clock moves by 10 between two looks
    assert first.meter.seconds["prepare"] == 0  # the trainer's own stopwatch was running
    assert again.meter.training_seconds == 0


def test_proxy_cache_knows_all_that_matters(tmp_path: Path):
    data, rows = dataset(40), torch.arange(40)
    relabelled = Dataset(**{**vars(data), "label": (data.label + 1) % 3})
    scaled = Dataset(**{**vars(data), "mean": (0.5,)})
    ways: list[tuple[ProxyTrainer, tuple[Any, ...]]] = [
        (proxy_trainer(data, tmp_path), ("cnn(width=2)", 1, rows)),
        (proxy_trainer(data, tmp_path), ("cnn(width=3)", 1, rows)),
        (proxy_trainer(data, tmp_path), ("cnn(width=2)", 2, rows)),
        (proxy_trainer(data, tmp_path), ("cnn(width=2)", 1, rows[:30])),
        (proxy_trainer(data, tmp_path), ("cnn(width=2)", 1, rows[:30], rows[30:])),
        (proxy_trainer(data, tmp_path, seed=2), ("cnn(width=2)", 1, rows)),
        (proxy_trainer(data, tmp_path, batch_size=8), ("cnn(width=2)", 1, rows)),
        (proxy_trainer(relabelled, tmp_path), ("cnn(width=2)", 1, rows)),
        (proxy_trainer(scaled, tmp_path), ("cnn(width=2)", 1, rows)),
        (proxy_trainer(dataset(40, seed=1), tmp_path), ("cnn(width=2)", 1, rows)),
    ]
    for number, (proxy, arguments) in enumerate(ways, start=1):
        proxy(*arguments)
        assert len(list(tmp_path.glob("*.npz"))) == number


def test_proxy_that_diverges_says_so(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("iskit.training.proxy.LR", float("inf"))
    with pytest.raises(RuntimeError, match="proxy 'cnn'"):
        proxy_trainer(dataset(40))("cnn", 1, torch.arange(40))


@pytest.mark.parametrize("spec", [SPECS[5], SPECS[6]])
def test_preparation_happens_once_and_survives_a_checkpoint(spec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    whole, cut, resumed = (trainer(spec, cache=tmp_path) for _ in range(3))
    for _ in whole:
        pass
    for t in cut:
        if t > 0.4:
            break
    torch.save(cut.state_dict(), tmp_path / "state.pt")
    monkeypatch.setattr(ProxyTrainer, "__call__", lambda *_: pytest.fail("prepared again"))
    resumed.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=False))
    for _ in resumed:
        pass
    assert resumed.meter.prepared == whole.meter.prepared > 0
    assert resumed.meter.seconds["prepare"] > 0
    assert torch.equal(resumed.history.counts, whole.history.counts)
    for a, b in zip(resumed.model.parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(a, b)


# All of them


@pytest.mark.parametrize("unit", ["backward", "cost"])
@pytest.mark.parametrize("spec", SPECS)
def test_budgets_land_within_one_step(spec: str, unit: str):
    run = trainer(spec, unit=unit, batch_size=10)
    charges = [0]
    for _ in run:
        charges.append(run.meter.backward if unit == "backward" else run.meter.cost)
    whole = 360 if unit == "backward" else 3 * 360  # half of 6 x 120 examples
    assert charges[-2] < whole <= charges[-1]
    assert (run.meter.prepared > 0) == ("proxy" in spec)


@pytest.mark.parametrize(
    ("spec", "plain", "budget"),
    [
        ("online_batch", "sgd", 1.0),
        ("online_batch(control=True)", "sgd", 1.0),
        ("loss_history", "sgd", 1.0),
        ("loss_history(beta=1)", "sgd", 1.0),
        ("subset", "sgd", 1.0),
        (f"subset(by='herding', {SMALL})", "sgd", 1.0),
        ("subset(by='forgetting', keep=1)", "scan", 0.4),
        ("infobatch(prune=0)", "scan", 0.4),
        ("infobatch(anneal=1)", "sgd", 1.0),
        ("rho(presample=1)", "scan", 0.4),
    ],
)
def test_neutral_settings_are_plain_sgd_bit_for_bit(spec: str, plain: str, budget: float):
    runs = [trainer(name, budget=budget, batch_size=17) for name in (spec, plain)]
    for run in runs:
        for _ in run:
            pass
    assert runs[0].meter.prepared == runs[0].meter.forward_only == 0
    assert torch.equal(runs[0].history.counts, runs[1].history.counts)
    for a, b in zip(runs[0].model.state_dict().values(), runs[1].model.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_proxy_repeats_itself_with_dropout_and_leaves_random_state_alone(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(
        models, "create", lambda *_: nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(36, 3), nn.Dropout(0.5))
    )
    before = torch.get_rng_state()
    first = proxy_trainer(dataset(40))("cnn", 2, torch.arange(40))
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(7)
    again = proxy_trainer(dataset(40))("cnn", 2, torch.arange(40))
    assert torch.equal(first.logits, again.logits)


@pytest.mark.parametrize("spec", [SPECS[5], SPECS[6]])
def test_preparing_leaves_global_random_state_alone(spec: str):
    run = trainer(spec)
    torch.rand(3)  # away from any state that an earlier preparation may have left
    before, numpys = torch.get_rng_state(), str(np.random.get_state())  # noqa: NPY002
    run.sampler.prepare(run.proxy)
    assert run.meter.prepared > 0
    assert torch.equal(torch.get_rng_state(), before)
    assert str(np.random.get_state()) == numpys  # noqa: NPY002


@pytest.mark.parametrize(
    ("spec", "named"),
    [
        ("online_batch(pressure=.5)", "pressure=0.5"),
        ("online_batch(recompute=-1)", "recompute=-1"),
        ("loss_history(alpha=-.1)", "alpha=-0.1"),
        ("loss_history(beta=1.1)", "beta=1.1"),
        ("infobatch(prune=1)", "prune=1.0"),
        ("infobatch(prune=-.1)", "prune=-0.1"),
        ("infobatch(anneal=1.5)", "anneal=1.5"),
        ("subset(keep=0)", "keep=0.0"),
        ("subset(keep=1.01)", "keep=1.01"),
        ("subset(by='luck')", "by='luck'"),
        ("subset(proxy='nonet')", "'nonet'"),
        ("subset(proxy_epochs=1)", "proxy_epochs=1"),
        ("subset(keep=.001)", "keep=0.001"),  # of 120 examples: none
        ("rho(presample=0)", "presample=0"),
        ("rho(proxy_epochs=0)", "proxy_epochs=0"),
        ("rho(proxy='cnn(depth=2)')", "depth"),
        ("rho(presample=8)", "presample=8"),  # 8 x 16 > 120
        ("rho(presample=4, official=True)", "presample=4"),  # 4 x 16 > 60
    ],
)
def test_impossible_settings_are_refused_before_any_work(spec: str, named: str):
    with pytest.raises(InputError, match=named.replace("(", r"\(").replace(".", r"\.")):
        trainer(spec)


def test_a_subset_of_seconds_needs_a_share():
    with pytest.raises(InputError, match="set keep="):
        trainer("subset", unit="seconds", budget=5)
    trainer("subset(keep=.5)", unit="seconds", budget=5)


def test_the_largest_pool_that_fits_is_accepted():
    trainer("rho(presample=7)")
    trainer("rho(presample=3, official=True)")


@pytest.mark.parametrize("spec", PER_EPOCH)
def test_the_bench_plans_whole_epochs(spec: str):
    row = _measure(1000, spec, budget=0.3, repeats=1)
    assert row["chosen"] == 300 or spec == "infobatch"
    assert set(row) == {"sampler", "examples", "chosen", "seconds", "bytes_an_example"}
