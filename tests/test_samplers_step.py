"""Samplers that choose once a step or once a backward pass, and what every sampler must leave alone."""

import copy
import random
from collections import deque
from math import sqrt
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from iskit.augment import Pipeline
from iskit.budget import Budget, Meter
from iskit.data import Dataset, datasets
from iskit.errors import InputError
from iskit.samplers import Batch, Outcome, samplers
from iskit.samplers.draw import permuted
from iskit.samplers.gnorm import bound, constant_time, constant_variance, probability, tau, with_replacement
from iskit.schedules import linear
from iskit.scorer import Scorer, eval_mode, gradient_norm
from iskit.trainer import Trainer

STEPWISE = [
    "selective_backprop(beta=1, history=48)",
    "selective_backprop(beta=1, history=48, stale=2, control=True)",
    "ordered(ladder=(10, 20))",
    "ordered(ladder=(10, 20), control=True)",
    "gnorm(tau_min=0.5)",
    "gnorm(tau_min=0.5, control=True, k=0.5)",
    "gnorm(tau_min=0.5, score='full')",
    "gnorm(tau_min=0.5, form='constant_time')",
    "gnorm(tau_min=0.5, form='constant_variance')",
    "loss(tau_min=0.5)",
]
EVERY = [*samplers, *STEPWISE]


@pytest.fixture(scope="module")
def data() -> Dataset:
    return datasets.create("digits(limit=100)", Path(".")).load()


def network(data: Dataset) -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(data.channels, 4, 3, stride=2),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(36, len(data.classes)),
    )


def trainer(data: Dataset, spec: str, *, augment: str = "standard", **settings) -> Trainer:
    settings = {"budget": 0.5, "epochs": 5, "batch_size": 16, "lr": 0.1, "schedule": linear, "evals": 1, **settings}
    if spec == "sgd":
        settings |= {"budget": 1.0}
    return Trainer(network(data), data, samplers.create(spec), Pipeline.parse(augment), **settings)


def bound_sampler(spec: str, *, n: int = 64, batch_size: int = 8, budget: float = 0.5, unit: str = "backward", **more):
    """A sampler that has met n examples, for tests that show it pools by hand."""
    epochs = more.pop("epochs", 100)
    sampler = samplers.create(spec)
    sampler.check(budget=budget, unit=unit, epochs=epochs, batch_size=batch_size)
    label = torch.zeros(n, dtype=torch.int64)
    amount = Budget(budget, unit, full=epochs * n)
    sampler.bind(label=label, budget=amount, epochs=epochs, batch_size=batch_size, seed=more.pop("seed", 1))
    return sampler


def pool_of(size: int, start: int = 0, n: int = 64) -> Batch:
    index = (start + torch.arange(size)) % n
    target = F.one_hot(torch.zeros(size, dtype=torch.int64), 2).float()
    return Batch(
        index, torch.zeros_like(index), torch.zeros_like(index), torch.zeros(size, 1), target, torch.ones(size)
    )


class Losses:
    """A score with which row r of the pool has the loss (and the exact norm) given for it."""

    def __init__(self, loss: torch.Tensor):
        self.loss = loss

    def __call__(self, pool: Batch) -> torch.Tensor:
        logits = torch.zeros(len(pool), 2, dtype=self.loss.dtype)
        logits[:, 1] = torch.expm1(self.loss).log()  # log(1 + e^z) = loss
        return logits

    def gradient_norm(self, pool: Batch) -> torch.Tensor:
        return self.loss


def within(seen: float, expected: float, error: float) -> bool:
    """At 3 sigma; error: the standard deviation of `seen`."""
    return abs(seen - expected) < 3 * error


# The control: scores without their information


def test_permuted_is_a_fresh_uniform_permutation_for_each_number():
    score = torch.arange(5.0)
    draws = torch.stack([permuted(score, 1, number) for number in range(1500)])
    assert torch.equal(draws.sort(dim=1).values, score.expand(1500, 5))
    assert torch.equal(draws[7], permuted(score, 1, 7))
    assert not torch.equal(draws, torch.stack([permuted(score, 2, number) for number in range(1500)]))
    share = F.one_hot(draws.long(), 5).double().mean(0)  # [place, value]
    assert ((share - 0.2).abs() < 4 * sqrt(0.16 / 1500)).all()  # 4 sigma: 25 cells at once


@pytest.mark.parametrize("name", ["p", "c"])
def test_control_draws_by_the_same_scores_but_not_by_whose_they_are(name):
    hard = torch.arange(64) < 8
    included = {}
    for spec in (name, f"{name}(control=True)"):
        sampler = bound_sampler(f"{spec[:-1]}, smooth=False)" if "(" in spec else f"{name}(smooth=False)")
        sampler.error_sum.copy_(torch.where(hard, 0.5, 0.01))
        sampler.trained.fill_(1)
        masks = torch.stack([sampler.plan(0.5, epoch, 16) > 0 for epoch in range(400)])
        assert (masks.sum(1) == 16).all()
        included[spec] = masks[:, hard].double().mean().item()
    assert included[name] > 0.9
    assert within(included[f"{name}(control=True)"], 16 / 64, sqrt(0.25 * 0.75 / (400 * 8)))


# Selective backprop


@pytest.mark.parametrize("history", [16, 40])
def test_percentile_is_the_strict_share_of_the_last_losses_over_partial_and_full_rings(history):
    sampler = bound_sampler(f"selective_backprop(beta=2, history={history})", n=16, batch_size=16)
    sampler.warmup = 0
    numbers = torch.Generator().manual_seed(0)
    seen: deque[float] = deque(maxlen=history)
    for size in (5, 16, 7, 13, 16, 16, 1, 16):
        loss = (torch.rand(size, generator=numbers) * 8).ceil() / 4  # with ties
        exact = F.cross_entropy(Losses(loss)(pool_of(size)), pool_of(size).target, reduction="none")
        sampler.select(pool_of(size), Losses(loss))
        seen.extend(exact.tolist())
        expected = [np.mean([h < value for h in seen]) for value in exact.tolist()]
        torch.testing.assert_close(sampler.percentile(exact), torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("beta", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("control", [False, True])
def test_keep_rate_is_1_over_beta_plus_1_and_follows_the_percentile(beta, control):
    sampler = bound_sampler(f"selective_backprop(beta={beta}, control={control})", batch_size=64)
    sampler.warmup = 0
    numbers = torch.Generator().manual_seed(1)
    ranks, kept = [], []
    for number in range(400):
        u = torch.rand(64, generator=numbers, dtype=torch.float64)
        rows, weight = sampler.select(pool_of(64), Losses((0.01 - (1 - 0.99 * u).log()).float()))
        assert torch.equal(weight, torch.ones(len(rows)))
        if number >= 16:  # the history is full
            ranks.append(u)
            kept.append(torch.zeros(64).index_fill_(0, rows, 1))
    rank, keep = torch.cat(ranks), torch.cat(kept).double()
    rate = 1 / (beta + 1)
    assert within(keep.mean().item(), rate, sqrt(rate * (1 - rate) / len(keep)))
    for low in np.arange(0, 1, 0.1):
        inside = (rank >= low) & (rank < low + 0.1)
        law = rate if control else ((low + 0.1) ** (beta + 1) - low ** (beta + 1)) / ((beta + 1) * 0.1)
        assert within(keep[inside].mean().item(), law, sqrt(law * (1 - law) / inside.sum().item()) + 5e-4), low


@pytest.mark.parametrize(
    ("budget", "epochs", "unit", "keep"),
    [
        (1.0, 10, "backward", 1.0),
        (0.3, 200, "backward", (60 - 1) / (200 - 1)),
        (0.15, 10, "backward", (150 - 32) / (1000 - 32)),  # B T < 2: only what fills the history is trained outright
        (1.0, 1, "backward", 1.0),
        (0.5, 20, "cost", (10 - 1) / (20 - 1) - 1 / 3),
    ],
)
def test_beta_spends_the_budget_with_the_last_epoch(budget, epochs, unit, keep):
    sampler = bound_sampler("SB(history=32)", n=100, batch_size=16, budget=budget, epochs=epochs, unit=unit)
    assert sampler.beta == pytest.approx(1 / keep - 1)


@pytest.mark.parametrize(
    ("budget", "epochs", "unit"), [(0.4, 12, "backward"), (0.15, 12, "backward"), (0.7, 8, "cost")]
)
def test_the_derived_beta_meets_the_last_epoch_when_losses_are_stationary(budget, epochs, unit):
    sampler = bound_sampler("SB(history=400)", n=800, batch_size=40, budget=budget, epochs=epochs, unit=unit)
    numbers = torch.Generator().manual_seed(4)
    meter, shown = Meter(), 0
    while sampler.budget.spent(meter) < 1:
        loss = -torch.rand(40, generator=numbers).log() + 0.01
        chosen = sampler.select(pool_of(40), Losses(loss))
        if chosen is None:
            sampler.update(Outcome(pool_of(40), torch.empty(0), loss))
        else:
            meter.scored(40)
        meter.trained(40 if chosen is None else len(chosen[0]))
        shown += 40
    keep = 1 / (1 + sampler.beta)
    selected = meter.backward - sampler.warmup
    assert within(shown, epochs * 800, sqrt(selected * (1 - keep)) / keep + 40)


@pytest.mark.parametrize(("budget", "unit"), [(0.4, "backward"), (0.7, "cost")])
@pytest.mark.parametrize("augment", ["standard", "standard|mixup"])
def test_a_run_of_selective_backprop_ends_about_with_its_last_epoch(data, budget, unit, augment):
    run = trainer(data, "SB(history=64)", augment=augment, budget=budget, unit=unit, epochs=12)
    for _ in run:
        pass
    shown = run.meter.forward_only + run.sampler.warmup
    assert shown == pytest.approx(12 * len(data), rel=0.12)  # losses fall: percentiles are not quite uniform


def test_the_first_epoch_trains_everything_unscored_and_then_every_candidate_is_scored_once(data):
    run = trainer(data, "SB(beta=1)", epochs=8)
    scored: list[tuple[int, int]] = []
    counts_before_scoring = []
    inner = run.score

    def spy(pool):
        if not scored:
            counts_before_scoring.append(run.history.counts.clone())
        scored.extend(zip(pool.epoch.tolist(), pool.index.tolist(), strict=True))
        return inner(pool)

    run.score = spy
    for _ in run:
        pass
    # Six full batches of 16; the walk's last 4 rows share a pool with the first that are selected.
    assert counts_before_scoring[0].sum() == 96
    assert counts_before_scoring[0].max() == 1
    assert len(scored) == len(set(scored)) == run.meter.forward_only
    assert sorted(index for epoch, index in scored if epoch == 1) == list(range(100))
    assert len([epoch for epoch, _ in scored if epoch == 0]) == 4
    assert run.history.counts.min() >= 1


def test_the_first_epochs_last_rows_are_trained_whatever_their_loss_and_its_losses_are_the_first_history():
    sampler = bound_sampler("SB(beta=50, history=32)", n=20, batch_size=8)
    losses = torch.linspace(1, 3, 16)
    for start in (0, 8):
        assert sampler.select(pool_of(8, start, n=20), Losses(losses)) is None
        sampler.update(Outcome(pool_of(8, start, n=20), torch.empty(0), losses[start : start + 8]))
    assert torch.equal(sampler.recent[:16], losses)
    rows, _ = sampler.select(pool_of(8, 16, n=20), Losses(torch.full((8,), 0.5)))  # below all others: percentile 0
    assert rows.tolist() == [0, 1, 2, 3]  # of epoch 0
    sampler.update(Outcome(pool_of(8), torch.empty(0), losses[:8]))  # scored before: not counted twice
    torch.testing.assert_close(sampler.recent[:24], torch.cat([losses, torch.full((8,), 0.5)]))


def test_equivalent_budget_counts_forward_only_passes_as_a_third(data):
    run = trainer(data, "SB(beta=1)", epochs=8)
    for _ in run:
        pass
    row = run.history.rows[-1]
    expected = (row["backward"] + row["forward_only"] / 3) / (8 * len(data))
    assert row["forward_only"] > 0
    assert row["equivalent_budget"] == pytest.approx(expected)


@pytest.mark.parametrize("augment", ["standard", "standard|mixup(alpha=1.0)"])
@pytest.mark.parametrize("spec", ["SB(beta=1)", "gnorm(tau_min=0.5)"])
def test_what_is_scored_is_trained_unchanged(data, spec, augment):
    run = trainer(data, spec, augment=augment, epochs=8)
    scored: dict[tuple[int, int], tuple[torch.Tensor, torch.Tensor, float]] = {}
    modes = set()
    inner = run.score

    def spy(pool):
        logits = inner(pool)
        loss = F.cross_entropy(logits, pool.target, reduction="none")
        for r, key in enumerate(zip(pool.epoch.tolist(), pool.index.tolist(), strict=True)):
            scored[key] = pool.image[r].clone(), pool.target[r].clone(), loss[r].item()
        return logits

    run.score = spy
    run.model.register_forward_hook(lambda model, *_: modes.add((model.training, torch.is_grad_enabled())))
    update, traced = run.sampler.update, 0

    def compare(outcome: Outcome) -> None:
        nonlocal traced
        batch = outcome.batch
        for r, key in enumerate(zip(batch.epoch.tolist(), batch.index.tolist(), strict=True)):
            if key in scored:
                image, target, _ = scored[key]
                assert torch.equal(batch.image[r], image)
                assert torch.equal(batch.target[r], target)
                traced += 1
        update(outcome)

    run.sampler.update = compare
    for _ in run:
        pass
    assert traced > 100
    assert modes == {(True, True), (False, False)}  # trained, and scored or evaluated, never a mixture


def test_stale_scores_every_kth_epoch_and_uses_the_last_loss_between(data):
    run = trainer(data, "SB(beta=1, stale=3)", epochs=16)
    scored = []
    inner = run.score

    def spy(pool):
        scored.append((pool.index.clone(), pool.epoch.clone()))
        return inner(pool)

    run.score = spy
    for _ in run:
        pass
    epochs = torch.cat([epoch for _, epoch in scored]).bincount(minlength=10)
    # A pool over the border of two epochs is scored if either is due: at most a batch too many.
    assert (epochs[[1, 4, 7]] == 100).all()
    assert (epochs[[2, 3, 5, 6, 8, 9]] < 16).all()


def test_stale_losses_decide_while_no_epoch_is_due():
    sampler = bound_sampler("SB(beta=1, history=64, stale=2)", n=64, batch_size=16, budget=1.0)
    sampler.warmup = 0
    loss = torch.linspace(0.1, 5, 64)
    for start in range(0, 64, 16):
        sampler.select(pool_of(16, start), Losses(loss[start : start + 16]))

    def never(pool):
        raise AssertionError("scored in an epoch that is not due")

    kept = torch.zeros(64)
    for start in range(0, 64, 16):
        rows, _ = sampler.select(pool_of(16, start), never)
        kept[rows + start] = 1
        torch.testing.assert_close(sampler.loss(pool_of(16, start), never, 64 + start), loss[start : start + 16])
    assert kept[32:].sum() > kept[:32].sum() + 8


# Ordered SGD


def test_q_halves_with_the_previous_epochs_accuracy_and_never_grows_back():
    sampler = bound_sampler("OSGD", batch_size=64)
    loss = torch.arange(64.0).flip(0)
    trace = []
    for epoch, hits in enumerate([0, 799, 800, 850, 950, 600, 994, 995, 0]):
        sampler.plan(0.0, epoch, 64)
        trace.append(sampler.reduce(loss, torch.ones(64)).item())
        target = torch.tensor([[0.4, 0.6]]).expand(1000, 2)  # a mixed row counts for its heaviest class
        guess = F.one_hot((torch.arange(1000) < hits).long(), 2).float()
        outcome = Outcome(
            Batch(*[torch.zeros(1000, dtype=torch.int64)] * 4, target, torch.ones(1000)), guess, guess[:, 0]
        )
        sampler.update(outcome)
    sampler.plan(0.0, 9, 64)
    trace.append(sampler.reduce(loss, torch.ones(64)).item())
    q = [64, 64, 64, 32, 32, 8, 8, 8, 4, 4]
    assert trace == [pytest.approx(63 - (size - 1) / 2) for size in q]


def test_ordered_divides_by_q_and_leaves_the_other_rows_without_gradient():
    sampler = bound_sampler("ordered", batch_size=8)
    sampler.halvings.fill_(2)
    loss = torch.tensor([3.0, 1, 4, 1, 5, 9, 2, 6], requires_grad=True)
    sampler.reduce(loss, torch.ones(8)).backward()
    assert loss.grad.tolist() == [0, 0, 0, 0, 0, 0.5, 0, 0.5]


def test_the_control_of_ordered_is_q_rows_at_random():
    sampler = bound_sampler("ordered(control=True)", batch_size=8)
    sampler.halvings.fill_(2)
    loss = torch.tensor([3.0, 1, 4, 1, 5, 9, 2, 6])
    outcome = Outcome(pool_of(8), torch.zeros(8, 2), loss)
    means = []
    for _ in range(2000):
        means.append(sampler.reduce(loss, torch.ones(8)).item())
        sampler.update(outcome)
    assert within(np.mean(means), loss.mean().item(), np.std(means) / sqrt(2000))


# Gradient norms


def soft_case(n: int = 12, classes: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    numbers = torch.Generator().manual_seed(2)
    logits = 3 * torch.randn(n, classes, generator=numbers)
    return logits, torch.rand(n, classes, generator=numbers).softmax(1)


def test_the_bound_is_the_norm_of_the_gradient_by_the_logits():
    logits, target = soft_case()
    logits.requires_grad_()
    (gradient,) = torch.autograd.grad(F.cross_entropy(logits, target, reduction="sum"), logits)
    torch.testing.assert_close(bound(logits.detach(), target), gradient.norm(dim=1))


def test_the_exact_norm_is_that_of_each_rows_own_gradient_without_frozen_parts(data):
    model = network(data)
    model[0].weight.requires_grad_(False)
    image = data.normalise(data.image[:7])
    target = F.one_hot(data.label[:7], 10).float() * 0.7 + 0.03
    norms = gradient_norm(model, image, target)
    model.eval()
    trained = [p for p in model.parameters() if p.requires_grad]
    for r in range(7):
        gradient = torch.autograd.grad(F.cross_entropy(model(image[r : r + 1]), target[r : r + 1]), trained)
        expected = torch.stack([g.square().sum() for g in gradient]).sum().sqrt()
        torch.testing.assert_close(norms[r], expected)


def test_exact_norms_do_not_depend_on_the_chunks_they_are_made_in(data, monkeypatch):
    image, target = data.normalise(data.image[:7]), F.one_hot(data.label[:7], 10).float()
    whole = gradient_norm(network(data), image, target)
    monkeypatch.setattr("iskit.scorer.GRADIENT_ELEMENTS", 1000)  # two rows at a time
    torch.testing.assert_close(gradient_norm(network(data), image, target), whole)


def test_tau_is_its_definition_and_its_running_mean_starts_at_0():
    s = torch.tensor([0.1, 0.5, 2.0, 0.0, 7.0])
    g = probability(s)
    u = 1 / 5
    expected = (1 - (g - u).square().sum() / g.square().sum()) ** -0.5
    assert tau(g).item() == pytest.approx(expected.item())
    assert tau(probability(torch.ones(5))).item() == pytest.approx(1)
    sampler = bound_sampler("gnorm")
    for scale in (1, 1000):  # its size must not matter
        sampler.distribution(scale * s)
    assert sampler.tau.item() == pytest.approx((0.1 + 0.09) * expected.item())


@pytest.mark.parametrize("spec", ["gnorm", "loss"])
def test_the_switch_takes_presample_pools_only_above_tau_min(spec):
    sampler = bound_sampler(f"{spec}(presample=4)")
    assert sampler.tau_min == pytest.approx(7 / 3)
    for value, candidates in ((0.0, 8), (2.33, 8), (2.34, 32), (1.0, 8)):
        sampler.tau.fill_(value)
        assert sampler.candidates() == candidates
        assert sampler.on == (candidates == 32)
    assert sampler.select(pool_of(8), Losses(torch.ones(8))) is None


def test_while_off_the_training_forward_feeds_tau():
    logits, target = soft_case()
    batch = Batch(*[torch.zeros(12, dtype=torch.int64)] * 3, torch.zeros(12, 1), target, torch.ones(12))
    loss = F.cross_entropy(logits, target, reduction="none")
    for spec, s in {"gnorm": bound(logits, target), "loss": loss, "gnorm(score='full')": bound(logits, target)}.items():
        sampler = bound_sampler(spec)
        sampler.candidates()
        sampler.update(Outcome(batch, logits, loss))
        assert sampler.tau.item() == pytest.approx(0.1 * tau(probability(s)).item())
        sampler.tau.fill_(9)
        sampler.candidates()
        sampler.update(Outcome(batch, logits, loss))
        assert sampler.tau == 9  # while on the pool has fed it


LOSSES = torch.tensor([0.05, 0.3, 0.9, 1.5, 0.02, 4.0, 2.2, 0.6])
NORMS = sqrt(2) * -torch.expm1(-LOSSES)  # of d loss / d logits with two classes: sqrt(2) (1 - p)
UNBIASED = {
    "gnorm(tau_min=0.5, presample=2)": NORMS,
    "loss(tau_min=0.5, presample=2)": LOSSES,
    "gnorm(score='loss', tau_min=0.5, presample=2)": LOSSES,
    "gnorm(score='full', tau_min=0.5, presample=2)": LOSSES,
    "gnorm(tau_min=0.5, form='constant_time')": NORMS,
    "gnorm(tau_min=0.5, form='constant_variance')": NORMS,
}


def selections(spec: str, times: int = 1500) -> tuple[list[torch.Tensor], list[torch.Tensor], int]:
    """Rows and weights drawn from pools with the losses LOSSES, tau held at 2.5."""
    b = 4 if "presample" in spec else 8
    sampler = bound_sampler(spec, batch_size=b)
    rows, weights = [], []
    for _ in range(times):
        sampler.tau.fill_(2.5)
        n = sampler.candidates()
        chosen = sampler.select(pool_of(n), Losses(LOSSES.repeat(2)[:n]))
        assert chosen is not None
        assert len(chosen[0]) == sampler.size()
        rows.append(chosen[0])
        weights.append(chosen[1])
    return rows, weights, n


@pytest.mark.parametrize("spec", UNBIASED)
@pytest.mark.parametrize("control", [False, True])
def test_weighted_estimates_are_unbiased_for_values_tied_to_the_score(spec, control):
    spec = spec.replace(")", ", control=True)") if control else spec
    rows, weights, n = selections(spec)
    value = LOSSES.repeat(2)[:n]
    estimates = torch.stack([(w * value[r]).mean() for r, w in zip(rows, weights, strict=True)])
    error = estimates.std().item() / sqrt(len(estimates))
    assert within(estimates.mean().item(), value.mean().item(), max(error, 1e-5))
    plain = torch.stack([value[r].mean() for r in rows])
    biased = abs(plain.mean().item() - value.mean().item()) > 5 * plain.std().item() / sqrt(len(plain))
    assert biased == (not control)  # the weights are needed, but for scores that tell nothing


@pytest.mark.parametrize("spec", UNBIASED)
def test_draws_are_as_frequent_as_their_scores(spec):
    rows, _, n = selections(spec)
    s = UNBIASED[spec].repeat(2)[:n].double()
    g = s / s.sum()
    drawn = torch.cat(rows)
    share = drawn.bincount(minlength=n) / len(drawn)
    assert ((share - g).abs() < 3 * (g * (1 - g) / len(drawn)).sqrt()).all()


def test_the_control_keeps_weights_and_tau():
    open_, hidden = (
        bound_sampler(f"gnorm(tau_min=0.5, presample=2, control={on})", batch_size=4) for on in (False, True)
    )
    drawn = []
    for sampler in (open_, hidden):
        sampler.tau.fill_(1)
        sampler.candidates()
        drawn.append(sampler.select(pool_of(8), Losses(LOSSES)))
    assert open_.tau.item() == pytest.approx(hidden.tau.item())
    possible = (1 / (8 * probability(NORMS))).float()
    for _, weight in drawn:
        assert torch.isclose(weight[:, None], possible).any(1).all()


def test_the_biased_weights_are_those_of_the_paper_and_1_is_unbiased():
    s = LOSSES.double()
    g = probability(LOSSES)
    w = 1 / (len(g) * g)
    for k in (0.0, 0.5, 1.0):
        expected = w**k * (w * s).sum() / (w**k * s).sum()
        sampler = bound_sampler(f"gnorm(k={k})")
        torch.testing.assert_close(sampler.weight(g, len(g)), expected)
    torch.testing.assert_close(expected, w)


def test_with_replacement_inverts_the_distribution_function():
    g = torch.tensor([0.25, 0.0, 0.5, 0.25], dtype=torch.float64)
    u = torch.tensor([0.0, 0.2499, 0.25, 0.7499, 0.75, 1 - 1e-12, 1.0], dtype=torch.float64)
    assert with_replacement(g, u).tolist() == [0, 0, 2, 2, 3, 3, 3]


def test_scores_that_are_all_zero_draw_uniformly():
    g = probability(torch.zeros(4))
    assert g.tolist() == [0.25] * 4


def test_constant_time_and_constant_variance_take_the_sizes_of_their_formulas():
    # (tau, scored, trained) at b = 128, by hand: a = max(25.6, 128 / tau)
    for value, scored, trained in ((2.0, 160, 74), (4.0, 208, 58), (100.0, 217, 55)):
        assert constant_time(value, 128, 3) == (scored, trained)
        assert abs(scored + 3 * trained - 3 * 128) < 3  # what a uniform step costs
    for value, trained in ((2.5, 76), (4.0, 57), (100.0, 26)):
        assert constant_variance(value, 128, 3) == (128, trained)
    assert bound_sampler("gnorm(form='constant_time')").tau_min == 2
    assert bound_sampler("gnorm(form='constant_variance')").tau_min == pytest.approx(15 / 7)


@pytest.mark.parametrize("form", ["constant_time", "constant_variance"])
def test_forms_with_smaller_batches_train_exactly_what_they_drew(data, form):
    run = trainer(data, f"gnorm(form='{form}', tau_min=0.5)", epochs=6)
    sizes, pools = set(), []
    inner = run.score
    run.score = lambda pool: (pools.append(len(pool)), inner(pool))[1]
    update = run.sampler.update
    run.sampler.update = lambda outcome: (sizes.add((len(outcome.batch), run.sampler.trained)), update(outcome))
    for _ in run:
        assert run.feed.kept is None
        run.sampler.tau.fill_(3)
    assert all(rows == planned for rows, planned in sizes)
    assert min(sizes)[0] < 16
    assert run.meter.forward_only == sum(pools)


# What holds for every sampler


@pytest.mark.parametrize("augment", ["standard", "standard|mixup"])
@pytest.mark.parametrize(
    "spec",
    ["SB", "SB(beta=0, history=32)", "OSGD(ladder=())", "gnorm(presample=1, tau_min=0)", "loss(presample=1)", "p", "c"],
)
def test_at_its_neutral_setting_a_method_is_sgd_bit_for_bit(data, spec, augment):
    runs = [trainer(data, name, augment=augment, budget=1.0, epochs=3) for name in ("sgd", spec)]
    for run in runs:
        for _ in run:
            pass
    for a, b in zip(*(run.model.state_dict().values() for run in runs), strict=True):
        assert torch.equal(a, b)
    assert runs[0].meter.steps == runs[1].meter.steps == -(-300 // 16)


@pytest.mark.parametrize("unit", ["backward", "cost"])
@pytest.mark.parametrize("spec", EVERY)
def test_the_run_ends_with_the_first_step_past_its_budget(data, spec, unit):
    run = trainer(data, spec, budget=0.6, unit=unit)
    before = 0.0
    for _ in run:
        assert before < 1
        before = run.budget.spent(run.meter)
    assert before >= 1
    if unit == "backward":
        assert run.meter.backward - run.budget.examples < 16
    assert run.history.counts.sum() == run.meter.backward


def snapshot(model: nn.Module) -> list:
    return [
        {name: value.clone() for name, value in model.state_dict().items()},
        {name: None if p.grad is None else p.grad.clone() for name, p in model.named_parameters()},
        {name: module.training for name, module in model.named_modules()},
        {name: p.requires_grad for name, p in model.named_parameters()},
    ]


@pytest.mark.parametrize("spec", EVERY)
def test_choosing_leaves_no_trace_in_the_model_or_in_global_random_state(data, spec):
    run = trainer(data, spec, epochs=8)
    run.model[1].eval()  # a frozen part must stay as it is
    for p in run.model.parameters():
        p.grad = torch.ones_like(p)
    torch.manual_seed(5), np.random.seed(5), random.seed(5)  # noqa: NPY002
    for _ in range(12):
        before = snapshot(run.model), torch.get_rng_state(), np.random.get_state()[1], random.getstate()  # noqa: NPY002
        batch = run.feed.batch(run.budget.spent(run.meter), run.score)
        logits = torch.randn(16, 10, generator=torch.Generator().manual_seed(0))[: len(batch)]
        loss = F.cross_entropy(logits, batch.target, reduction="none")
        run.sampler.reduce(loss, batch.weight)
        run.sampler.update(Outcome(batch, logits, loss))
        after = snapshot(run.model), torch.get_rng_state(), np.random.get_state()[1], random.getstate()  # noqa: NPY002
        torch.testing.assert_close(after[0], before[0], rtol=0, atol=0)
        assert torch.equal(after[1], before[1])
        assert np.array_equal(after[2], before[2])
        assert after[3] == before[3]


@pytest.mark.parametrize("spec", STEPWISE)
def test_a_run_goes_on_from_a_checkpoint_with_the_same_numbers(data, spec):
    whole, first, second = (trainer(data, spec, epochs=8, augment="standard|mixup") for _ in range(3))
    for _ in whole:
        pass
    for steps, _ in enumerate(first):
        if steps == 9:
            break
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for _ in second:
        pass
    for a, b in zip(whole.model.state_dict().values(), second.model.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    assert whole.meter.forward_only == second.meter.forward_only


@pytest.mark.parametrize("seeds", [(1, 2)])
@pytest.mark.parametrize("spec", ["SB(beta=1)", "gnorm(tau_min=0.5)"])
def test_draws_follow_the_seed(spec, seeds):
    drawn = []
    for seed in (*seeds, seeds[0]):
        sampler = bound_sampler(spec, seed=seed)
        sampler.warmup = 0
        if "gnorm" in spec:
            sampler.tau.fill_(2)
        drawn.append(
            [
                sampler.select(pool_of(sampler.candidates()), Losses(LOSSES.repeat(3)[: sampler.candidates()]))[0]
                for _ in range(8)
            ]
        )
    alike = [all(torch.equal(a, b) for a, b in zip(drawn[0], other, strict=True)) for other in drawn[1:]]
    assert alike == [False, True]


def test_the_exact_norm_is_charged_as_a_forward_and_a_backward_pass(data):
    meter = Meter()
    score = Scorer(network(data), meter)
    index = torch.arange(5)
    target = F.one_hot(data.label[:5], 10).float()
    pool = Batch(index, index, data.label[:5], data.normalise(data.image[:5]), target, torch.ones(5))
    assert score(pool).shape == (5, 10)
    assert (meter.forward_only, meter.backward) == (5, 0)
    score.gradient_norm(pool)
    assert (meter.forward_only, meter.backward) == (5 + 15, 0)


def test_eval_mode_is_left_also_after_an_error(data):
    model = network(data)
    model[1].eval()
    with pytest.raises(InputError), eval_mode(model):
        raise InputError("a question that cannot be answered")
    with eval_mode(model):
        assert not any(module.training for module in model.modules())
    assert [module.training for module in model] == [True, False, True, True, True]


@pytest.mark.parametrize(
    ("spec", "settings", "message"),
    [
        ("SB(beta=-0.5)", {}, "beta=-0.5"),
        ("SB(history=0)", {}, "history=0"),
        ("SB(history=15)", {}, "history=15 must hold a batch: set it to 16"),
        ("SB(stale=0)", {}, "stale=0"),
        ("SB", {"unit": "seconds"}, "unit='seconds' is none: give beta"),
        ("SB", {"budget": 0.2}, "budget=0.2 is 100 examples, but the first 100"),
        ("SB", {"unit": "cost", "budget": 0.45}, "budget=0.45 in unit='cost' does not pay for scoring"),
        ("OSGD(ladder=(90, 80))", {}, r"ladder=\(90, 80\)"),
        ("OSGD(ladder=(0, 80))", {}, r"ladder=\(0, 80\)"),
        ("OSGD(ladder=('a',))", {}, r"ladder=\('a',\)"),
        ("gnorm(presample=0)", {}, "presample=0"),
        ("loss(presample=-1)", {}, "presample=-1"),
        ("gnorm(tau_min=-1)", {}, "tau_min=-1"),
        ("gnorm(k=1.5)", {}, "k=1.5"),
        ("gnorm(score='norm')", {}, "score='norm'"),
        ("gnorm(form='other')", {}, "form='other'"),
        ("gnorm(presample=7)", {}, "pools of 112 candidates, more than the 100 training examples"),
        ("loss(presample=7)", {}, "lower presample=7"),
        ("gnorm(form='constant_time')", {"batch_size": 64}, "pools of 108 candidates"),
    ],
)
def test_impossible_settings_are_refused_before_training(data, spec, settings, message):
    with pytest.raises(InputError, match=message):
        trainer(data, spec, **settings)
