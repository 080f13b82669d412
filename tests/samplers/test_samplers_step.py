"""The random control, ordered SGD, and what every sampler must leave alone."""

import copy
import random
from math import sqrt

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from stepwise import Losses, bound_sampler, network, pool_of, small, trainer, within
from torch import nn

from iskit.budget import Meter
from iskit.data import Dataset
from iskit.errors import InputError
from iskit.samplers import Batch, Outcome, samplers
from iskit.samplers.draw import permuted
from iskit.training.scorer import Scorer, eval_mode

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
    return small()


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
def test_the_run_ends_with_the_first_step_past_its_budget(spec, unit):
    run = trainer(small(200), spec, budget=0.6, unit=unit)
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
def test_choosing_leaves_no_trace_in_the_model_or_in_global_random_state(spec):
    run = trainer(small(200), spec, epochs=8)
    next(iter(run))
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


@pytest.mark.parametrize("spec", ["SB(beta=1)", "gnorm(tau_min=0.5)"])
def test_draws_follow_the_seed(spec):
    drawn = []
    for seed in (1, 2, 1):
        sampler = bound_sampler(spec, seed=seed)
        sampler.warmup = 0
        if "gnorm" in spec:
            sampler.tau.fill_(2)
        losses = torch.linspace(0.1, 3, sampler.candidates())
        drawn.append([sampler.select(pool_of(len(losses)), Losses(losses))[0] for _ in range(8)])
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
