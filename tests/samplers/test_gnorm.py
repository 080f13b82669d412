"""Gradient-norm and loss sampling: scores against autograd, draws against their law, weights in expectation."""

from math import sqrt

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from stepwise import Losses, bound_sampler, network, pool_of, small, trainer, within

from iskit.data import Dataset
from iskit.errors import InputError
from iskit.samplers import Batch, Outcome, samplers
from iskit.samplers.gnorm import bound, constant_time, constant_variance, probability, tau, with_replacement
from iskit.training.scorer import gradient_norm


@pytest.fixture(scope="module")
def data() -> Dataset:
    return small()


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
    monkeypatch.setattr("iskit.training.scorer.GRADIENT_ELEMENTS", 1000)  # two rows at a time
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
        assert len(chosen[0]) == sampler.size(0)
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
    run.sampler.update = lambda outcome: (sizes.add((len(outcome.batch), int(run.sampler.trained))), update(outcome))
    for _ in run:
        assert run.feed.kept is None
        run.sampler.tau.fill_(3)
    assert all(rows == planned for rows, planned in sizes)
    assert min(sizes)[0] < 16
    assert run.meter.forward_only == sum(pools)


def test_smooth_is_added_before_scores_are_normalised():
    sampler = bound_sampler("gnorm(smooth=0.5)")
    s = torch.tensor([0.1, 0.4, 2.0, 0.0])
    expected = (s + 0.5).double().numpy() / (s + 0.5).double().numpy().sum()
    np.testing.assert_allclose(sampler.distribution(s).numpy(), expected, rtol=1e-6)
    assert sampler.tau.item() == pytest.approx(0.1 * np.sqrt(4 * (expected**2).sum()))
    with pytest.raises(InputError, match=r"smooth=-0\.1"):
        samplers.create("gnorm(smooth=-0.1)")
