"""The contract of every registered sampler, and the draws of unif, p and c against closed forms and NumPy."""

import itertools

import numpy as np
import pytest
import torch
from scipy import stats

from iskit.budget import Budget
from iskit.errors import InputError
from iskit.randomness import Stream, uniform_all
from iskit.samplers import Batch, Outcome, Sampler, samplers
from iskit.samplers.draw import successive
from iskit.training import contract
from iskit.training.contract import equal, finish, weights

ALL = list(samplers)
# sgd is the full run: its card says that it is always neutral, and a smaller budget is refused.
FULL = [name for name in ALL if samplers.card(name).neutral == "always"]
BUDGETED = [name for name in ALL if name not in FULL]


# Where a method's defaults need a budget counted in examples, the remedy that its refusal names.
REMEDY = {
    ("selective_backprop", "cost"): "(beta=3)",
    ("selective_backprop", "seconds"): "(beta=3)",
    ("subset", "seconds"): "(keep=0.5)",
}


# --- what every sampler promises ---


@pytest.mark.parametrize("name", ALL)
def test_at_its_neutral_setting_every_sampler_is_sgd(make, name):
    _, budget = samplers.card(name).setting
    assert budget == 1
    assert contract.is_neutral(make, name) == ""


@pytest.mark.parametrize("name", BUDGETED)
def test_below_its_budget_no_sampler_is_sgd_by_accident(make, name):
    """The opposite of the test above: at its defaults and a small budget a method does change something."""
    full = finish(make("sgd", budget=1))
    assert not equal(weights(finish(make(name, budget=0.3))), weights(full))


@pytest.mark.parametrize("unit", ["backward", "cost"])
@pytest.mark.parametrize("budget", [0.29, 1])
@pytest.mark.parametrize("name", ALL)
def test_every_sampler_lands_on_its_budget_within_one_batch(make, name, budget, unit):
    if name in FULL and budget < 1:
        with pytest.raises(InputError, match=rf"budget={budget} {unit} .* use scan"):
            make(name, budget=budget, unit=unit)
        return
    trainer = make(name + REMEDY.get((name, unit), ""), budget=budget, unit=unit, evals=1)
    meter, batch = trainer.meter, 16
    full = 4 * 200
    goal, spent = (
        (budget * full, lambda: meter.backward) if unit == "backward" else (3 * budget * full, lambda: meter.cost)
    )
    before = [0]
    for _ in trainer:
        before.append(spent())
    assert before[-2] < round(goal) <= before[-1]
    step = max(np.diff(before))
    assert before[-1] - goal < (batch if unit == "backward" else 3 * batch)  # what training one batch costs
    if unit == "backward":
        assert step == batch
    elif meter.forward_only == 0:
        assert step == 3 * batch
    assert meter.backward == meter.forward == meter.steps * batch == trainer.history.counts.sum()


@pytest.mark.parametrize("name", ALL)
def test_every_sampler_lands_on_its_seconds(make, name):
    clock = itertools.count()  # a second passes between any two looks at it
    if name in FULL:
        with pytest.raises(InputError, match="use scan"):
            make(name, budget=30, unit="seconds")
        return
    spec = name + REMEDY.get((name, "seconds"), "")
    trainer = make(spec, budget=30, unit="seconds", clock=lambda: float(next(clock)), evals=5)
    spent = [0.0]
    for _ in trainer:
        spent.append(trainer.meter.training_seconds)
    assert spent[-2] < 30 <= spent[-1]
    assert spent[-1] - 30 < max(np.diff(spent))
    assert trainer.meter.seconds["eval"] == len(trainer.history.rows)  # a second each, paid by nobody
    assert trainer.history.rows[-1]["t"] == 1


@pytest.mark.parametrize("name", ALL)
def test_the_state_of_every_sampler_goes_through_a_file(make, name, tmp_path):
    budget = 1 if name in FULL else 0.5
    trained, fresh = (make(name, budget=budget) for _ in range(2))
    for t in trained:
        if t > 0.6:
            break
    torch.save(trained.sampler.state_dict(), tmp_path / "sampler.pt")
    fresh.sampler.load_state_dict(torch.load(tmp_path / "sampler.pt", weights_only=True))
    assert equal(fresh.sampler.state_dict(), trained.sampler.state_dict())
    plans = [trainer.sampler.plan(0.7, 4, 100) for trainer in (trained, fresh)]
    assert plans[0] is plans[1] is None or torch.equal(*plans)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize(
    "kept",
    [
        *(contract.answers_whole, contract.keeps_its_state_in_place, contract.leaves_global_random_states),
        *(contract.follows_the_common_order, contract.repeats_itself, contract.has_a_card, contract.tells_how_far),
    ],
)
def test_what_every_sampler_promises(make, name, kept):
    assert kept(make, name) == ""


@pytest.mark.parametrize("spec", [*ALL, "gnorm(tau_min=0.5)", "online_batch(recompute=1)", "SB(official=True)"])
def test_whatever_changes_in_a_sampler_is_its_state(make, spec):
    """What is no tensor is in no checkpoint."""
    settings = {} if spec in [*FULL, "selective_backprop"] else {"budget": 0.6, "unit": "cost"}
    assert contract.changes_only_tensors(make, spec, **settings) == ""


# --- unif ---


def bound(spec: str, n: int, *, budget: float = 0.3, epochs: int = 10, seed: int = 1) -> Sampler:
    sampler = samplers.create(spec)
    label = torch.arange(n) % 2
    sampler.bind(label=label, budget=Budget(budget, "backward", epochs * n), epochs=epochs, batch_size=4, seed=seed)
    return sampler


def drawn(sampler: Sampler, size: int, epochs: int, t: float = 0.5) -> np.ndarray:
    """(epochs, N) bool: who was drawn in each epoch."""
    masks = torch.stack([sampler.plan(t, epoch, size) for epoch in range(epochs)])
    assert ((masks == 0) | (masks == 1)).all()
    return masks.bool().numpy()


@pytest.mark.parametrize("spec", ["unif", "p", "c", "p(warmup=1)"])
@pytest.mark.parametrize("size", [0, 1, 17, 49])
def test_draws_have_the_exact_size(spec, size):
    masks = drawn(bound(spec, 50), size, 20)
    assert (masks.sum(1) == size).all()
    if size == 17:
        assert len({tuple(mask) for mask in masks}) == 20  # each epoch afresh


@pytest.mark.parametrize("spec", ["unif", "p", "c"])
def test_a_full_epoch_takes_all_as_they_are(spec):
    assert bound(spec, 50).plan(0.5, 3, 50) is None
    assert bound(spec, 50).plan(0.5, 3, 51) is None


@pytest.mark.parametrize("spec", ["unif", "p(warmup=1)", "p", "c"])  # p and c: nothing seen yet, so all are equal
def test_all_examples_and_all_pairs_are_drawn_equally_often(spec):
    n, size, epochs = 20, 6, 2000
    masks = drawn(bound(spec, n), size, epochs).astype(float)
    single = masks.mean(0)
    expected = size / n
    assert np.abs(single - expected).max() < 4 * np.sqrt(expected * (1 - expected) / epochs)
    together = (masks.T @ masks / epochs)[np.triu_indices(n, 1)]
    expected = size * (size - 1) / (n * (n - 1))
    assert np.abs(together - expected).max() < 4.5 * np.sqrt(expected * (1 - expected) / epochs)  # 190 pairs


def test_epochs_and_seeds_draw_independently():
    masks = drawn(bound("unif", 2000), 600, 3).astype(float)
    other = drawn(bound("unif", 2000, seed=2), 600, 3).astype(float)
    correlation = np.corrcoef([*masks, *other])
    assert np.abs(correlation[np.triu_indices(6, 1)]).max() < 4 / np.sqrt(2000)


@pytest.mark.parametrize("budget", [0.05, 0.07, 0.3, 1 / 3, 0.999])
def test_the_epochs_of_unif_train_the_budget_exactly(make, budget):
    """However B x N rounds, T plans hold round(B x T x N) examples, and none differs from another by more than one."""
    sizes = []
    trainer = make("unif", budget=budget, epochs=5, batch_size=7)
    plan = trainer.sampler.plan
    trainer.sampler.plan = lambda t, epoch, size: sizes.append(size) or plan(t, epoch, size)
    finish(trainer)
    assert sum(sizes[:5]) == round(budget * 5 * 200) == trainer.budget.examples
    assert max(sizes) - min(sizes) <= 1
    assert len(sizes) <= 6  # the sixth fills the last batch


# --- p and c, against a plain reading of the definitions ---


class Plain:
    """p and c in NumPy, an example at a time, after methods.md."""

    def __init__(self, n: int, which: str, smooth: bool, average: bool):
        self.which, self.smooth, self.average = which, smooth, average
        self.errors: list[list[float]] = [[] for _ in range(n)]

    def see(self, index, prob) -> None:
        for i, p in zip(index, prob, strict=True):
            self.errors[i].append(1 - p)

    def probability(self) -> np.ndarray:
        known = {i: np.mean(e) if self.average else e[-1] for i, e in enumerate(self.errors) if e}
        most = max(known.values(), default=1.0)
        m = np.array([known.get(i, most) for i in range(len(self.errors))])
        s = m if self.which == "p" else m * (1 - m)
        s = np.where(s <= 1e-10, 1e-10, s)  # zeros count as 1e-10
        s = s + s.mean() if self.smooth else s
        return s / s.sum()


def outcome(index: list[int], prob: list[float]) -> Outcome:
    """A training step in which example i, of class i % 2, got its true class with probability prob."""
    index_, p = torch.tensor(index), torch.tensor(prob, dtype=torch.float64)
    label = index_ % 2
    logits = torch.stack([torch.where(label == 0, p, 1 - p), torch.where(label == 1, p, 1 - p)], dim=1).log()
    target = torch.nn.functional.one_hot(label, 2).float()
    rows = len(index)
    batch = Batch(index_, torch.zeros_like(index_), label, torch.zeros(rows, 1, 1, 1), target, torch.ones(rows))
    return Outcome(batch, logits.float(), torch.zeros(rows))


SWITCHES = list(itertools.product(["p", "c"], [True, False], [True, False]))


@pytest.mark.parametrize(("which", "smooth", "average"), SWITCHES)
def test_the_probabilities_of_p_and_c(which, smooth, average):
    n = 12
    sampler, plain = bound(f"{which}(smooth={smooth}, average={average})", n), Plain(n, which, smooth, average)
    assert np.allclose(sampler.probability(), plain.probability())  # nothing seen: all equal
    numbers = np.random.default_rng(0)
    for _ in range(6):
        index = numbers.permutation(9)[:4].tolist()  # 9, 10, 11 are never seen
        prob = numbers.uniform(0.01, 0.99, 4).tolist()
        sampler.update(outcome(index, prob))
        plain.see(index, prob)
        assert np.allclose(sampler.probability(), plain.probability(), rtol=1e-5)
    assert sampler.probability().sum().item() == pytest.approx(1)


@pytest.mark.parametrize(("which", "smooth", "average"), SWITCHES)
def test_certain_and_hopeless_examples(which, smooth, average):
    """Scores of 0: prob 1 for p, prob 0 or 1 for c. They can still be drawn, and nothing divides by zero."""
    sampler, plain = bound(f"{which}(smooth={smooth}, average={average})", 6), Plain(6, which, smooth, average)
    for index, prob in (([0, 1, 2, 3], [1.0, 0.0, 1.0, 0.5]), ([0, 1, 2, 3], [1.0, 0.0, 0.5, 0.5])):
        sampler.update(outcome(index, prob))
        plain.see(index, prob)
        assert np.allclose(sampler.probability(), plain.probability(), rtol=1e-5, atol=0)
    assert (sampler.probability() > 0).all()
    everything_known = bound(f"{which}(smooth={smooth}, average={average})", 4)
    everything_known.update(outcome([0, 1, 2, 3], [1.0] * 4))
    assert np.allclose(everything_known.probability(), 0.25)


def test_the_never_seen_take_the_current_maximum():
    p, c = bound("p(smooth=False)", 4), bound("c(smooth=False)", 4)
    for sampler in (p, c):
        sampler.update(outcome([0, 1], [0.1, 0.5]))
    assert np.allclose(p.probability(), np.array([0.9, 0.5, 0.9, 0.9]) / 3.2)
    assert np.allclose(c.probability(), np.array([0.09, 0.25, 0.09, 0.09]) / 0.52)


def test_an_example_that_is_twice_in_a_batch_counts_twice():
    sampler = bound("p(smooth=False)", 2)
    sampler.update(outcome([0, 0, 1], [0.2, 0.6, 0.5]))
    assert np.allclose(sampler.mean_error(), [0.6, 0.5])


@pytest.mark.parametrize("which", ["p", "c"])
def test_a_score_is_kept_under_the_row_s_own_label_though_mixed(which):
    clean, mixed = bound(which, 4), bound(which, 4)
    clean.update(outcome([0, 1], [0.3, 0.8]))
    step = outcome([0, 1], [0.3, 0.8])
    step.batch.target[:] = torch.tensor([[0.4, 0.6], [0.6, 0.4]])  # mostly another's
    mixed.update(step)
    assert torch.equal(clean.probability(), mixed.probability())


@pytest.mark.parametrize("which", ["p", "c"])
def test_warmup_draws_as_unif_does_and_learns_meanwhile(which):
    sampler, unif = bound(f"{which}(warmup=0.35)", 40), bound("unif", 40)
    sampler.update(outcome(list(range(20)), np.linspace(0.01, 0.99, 20).tolist()))
    assert torch.equal(sampler.plan(0.3499, 7, 12), unif.plan(0.3499, 7, 12))
    after = sampler.plan(0.35, 7, 12)
    draws = uniform_all(1, Stream.CHOICE, 7, 40)
    assert torch.equal(after.bool(), successive(sampler.probability().double(), 12, draws))
    assert any(not torch.equal(sampler.plan(0.35, e, 12), unif.plan(0.35, e, 12)) for e in range(5))
    assert not torch.allclose(sampler.probability(), torch.full((40,), 1 / 40))


@pytest.mark.parametrize("which", ["p", "c"])
@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.35, 1.0])
def test_officially_a_warmup_of_so_many_epochs_has_one_less(which, warmup):
    sampler, unif = (bound(spec, 400, epochs=20) for spec in (f"{which}(warmup={warmup}, official=True)", "unif"))
    sampler.update(outcome(list(range(200)), np.linspace(0.01, 0.99, 200).tolist()))
    uniform = [torch.equal(sampler.plan(0.0, epoch, 120), unif.plan(0.0, epoch, 120)) for epoch in range(21)]
    expected = max(0, round(warmup * 20) - 1)
    assert uniform[:expected] == [True] * expected
    assert not any(uniform[expected:])


@pytest.mark.parametrize("value", [-0.1, 1.1])
def test_an_impossible_warmup_is_refused(value):
    with pytest.raises(InputError, match=f"warmup={value}"):
        samplers.create(f"p(warmup={value})")


# --- the law of the draws ---


def inclusion(p: np.ndarray, size: int) -> np.ndarray:
    """(N,) exact probability that each is among `size` draws without replacement: over all ordered draws."""
    out = np.zeros(len(p))
    for order in itertools.permutations(range(len(p)), size):
        chance, left = 1.0, 1.0
        for i in order:
            chance, left = chance * p[i] / left, left - p[i]
        out[list(order)] += chance
    return out


def within_sigmas(counts: np.ndarray, repeats: int, share: np.ndarray, sigmas: float = 4) -> bool:
    return bool((np.abs(counts - repeats * share) < sigmas * np.sqrt(repeats * share * (1 - share)) + 1e-9).all())


def test_p_includes_by_numpy_s_law_of_choice_without_replacement():
    errors = np.array([0.02, 0.1, 0.3, 0.5, 0.9, 0.98])
    sampler = bound("p(smooth=False)", 6)
    sampler.update(outcome(list(range(6)), (1 - errors).tolist()))
    p, size, repeats = errors / errors.sum(), 3, 3000
    exact = inclusion(p, size)
    numbers = np.random.default_rng(0)
    numpys = sum(np.bincount(numbers.choice(6, size, replace=False, p=p), minlength=6) for _ in range(repeats))
    ours = drawn(sampler, size, repeats).sum(0)
    assert within_sigmas(numpys, repeats, exact)  # the closed form is NumPy's law
    assert within_sigmas(ours, repeats, exact)
    # and not that of size x p, clipped, which peers take it for
    assert not within_sigmas(ours, repeats, np.minimum(size * p, 1 - 1e-9))


def test_successive_draws_whole_sets_by_the_closed_form():
    p, repeats = np.array([0.1, 0.2, 0.3, 0.4]), 4000
    score = torch.from_numpy(p) * 7  # need not sum to 1
    sets = [
        tuple(np.flatnonzero(successive(score, 2, uniform_all(3, Stream.CHOICE, epoch, 4)))) for epoch in range(repeats)
    ]
    pairs = list(itertools.combinations(range(4), 2))
    expected = [repeats * p[i] * p[j] * (1 / (1 - p[i]) + 1 / (1 - p[j])) for i, j in pairs]
    assert stats.chisquare([sets.count(pair) for pair in pairs], expected).pvalue > 1e-3


def test_tiny_scores_lose_to_large_ones_and_still_fill_the_draw():
    score = torch.tensor([1e-10, 1.0, 1e-10, 1.0], dtype=torch.float64)
    draws = uniform_all(1, Stream.CHOICE, 0, 4)
    assert successive(score, 2, draws).tolist() == [False, True, False, True]
    assert successive(score, 3, draws).sum() == 3
    assert successive(score, 0, draws).sum() == 0
