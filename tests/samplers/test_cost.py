"""Budgets in unit=cost: scoring is paid for, and is left out where it would leave nothing to train with."""

import pytest

SMALL = "proxy='cnn(width=2)', proxy_epochs=1"
SCORING = [
    "gnorm(tau_min=0.5)",
    "gnorm(tau_min=0.5, presample=10)",
    "gnorm(tau_min=0.5, score='full')",
    "gnorm(tau_min=0.5, form='constant_time')",
    "gnorm(tau_min=0.5, form='constant_variance')",
    "loss(tau_min=0.5)",
    "selective_backprop(beta=3)",
    "selective_backprop(beta=3, official=True)",
    "online_batch(recompute=1)",
    f"rho(presample=10, {SMALL})",
    f"rho(presample=3, official=True, {SMALL})",
]


@pytest.mark.parametrize("spec", SCORING)
@pytest.mark.parametrize("budget", [0.4, 0.47, 0.6])
def test_a_run_ends_within_the_cost_of_one_trained_batch(make, spec, budget):
    trainer = make(spec, budget=budget, unit="cost", evals=1)
    meter, whole = trainer.meter, 3 * round(budget * 4 * 200)
    scored = meter.scored

    def charge(examples: int) -> None:
        scored(examples)
        assert meter.cost < whole  # something is left to train with

    meter.scored = charge
    for t in trainer:
        assert t == min(meter.cost / whole, 1)
        if "form" in spec:
            trainer.sampler.tau.fill_(3)  # on
    assert whole <= meter.cost < whole + 3 * 16
    assert meter.forward_only > 0


@pytest.mark.parametrize(("budget", "walks"), [(0.1, []), (0.3, [1]), (0.6, [1, 3])])
def test_a_recompute_that_the_budget_does_not_pay_for_is_skipped(make, budget, walks):
    """Each walk that only scores is whole or none, and what comes after the last one is trained by what it found."""
    trainer = make("online_batch(recompute=1)", budget=budget, unit="cost", evals=1)
    scored: dict[int, int] = {}
    score = trainer.score

    def asked(pool):
        for epoch in pool.epoch.tolist():
            scored[epoch] = scored.get(epoch, 0) + 1
        return score(pool)

    trainer.score = asked
    for _ in trainer:
        pass
    assert scored == dict.fromkeys(walks, 200)
    assert trainer.meter.forward_only == 200 * len(walks)
    assert trainer.feed.epoch >= 3


def test_where_scoring_is_free_nothing_is_left_out(make):
    trainer = make("online_batch(recompute=1)", budget=0.5, unit="backward", evals=1)
    for _ in trainer:
        pass
    walks = [epoch for epoch in range(trainer.feed.epoch) if epoch % 2]
    assert trainer.meter.forward_only >= 200 * len(walks) > 0
