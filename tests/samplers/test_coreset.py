"""Scores of a proxy's whole run, strata, and what of the run each of them reads: against plain NumPy."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import stats
from test_samplers_epoch import assert_shares, bound, dataset, proxy_run, proxy_trainer, trainer
from torch import Tensor

from iskit.errors import InputError
from iskit.samplers import ProxyRun
from iskit.samplers.coreset import SCORES, beta_density, stratified
from iskit.training.proxy import ProxyTrainer, Trace

EPOCHS, N, K = 14, 30, 4


def history() -> tuple[np.ndarray, np.ndarray]:
    """Logits (T, N, K) of a run that learns, and labels (N,)."""
    numbers = np.random.default_rng(0)
    label = numbers.integers(K, size=N)
    logits = numbers.normal(size=(EPOCHS, N, K))
    logits[:, np.arange(N), label] += np.linspace(0, 4, EPOCHS)[:, None] * numbers.uniform(-0.3, 1, N)
    return logits, label


LOGITS, LABEL = history()
P = np.exp(LOGITS) / np.exp(LOGITS).sum(2, keepdims=True)
OWN = P[:, np.arange(N), LABEL]


def others(values: np.ndarray) -> np.ndarray:
    """(T, N): the highest of the classes but the true one."""
    return np.array([[max(np.delete(values[t, i], LABEL[i])) for i in range(N)] for t in range(EPOCHS)])


@pytest.fixture(scope="module")
def run() -> ProxyRun:
    """What is kept of that run, seen in batches in another order each epoch."""
    trace = Trace(EPOCHS, N, K, torch.device("cpu"))
    for epoch in range(EPOCHS):
        for rows in torch.from_numpy(np.random.default_rng(epoch).permutation(N)).split(7):
            trace.see(epoch, rows, torch.from_numpy(LOGITS[epoch])[rows], torch.from_numpy(LABEL)[rows])
    return proxy_run(**trace.kept)


def windows(values: np.ndarray, j: int) -> list[np.ndarray]:
    return [values[first : first + j] for first in range(len(values) - j + 1)]


def plain_tdds(j: int) -> np.ndarray:
    """Window by window, difference by difference."""
    log = np.log(P + 1e-8)
    change = np.abs(P[1:] * (log[1:] - log[:-1])).sum(2)  # (T - 1, N)
    found = []
    for first in range(EPOCHS - j + 1):
        inside = change[first : first + j - 1]
        found.append(np.sqrt(((inside - inside.mean(0)) ** 2).sum(0)))
    count = len(found)
    return sum(0.9 * 0.1 ** (count - w) * one for w, one in enumerate(found, start=1))


def test_the_scores_of_a_run_are_their_formulas(run: ProxyRun):
    one_hot = np.eye(K)[LABEL]
    own_logit = LOGITS[:, np.arange(N), LABEL]
    expected = {
        "el2n": np.linalg.norm(P[-1] - one_hot, axis=1),
        "aum": -(OWN - others(P)).mean(0),
        "dynunc": np.mean([part.std(0, ddof=1) for part in windows(OWN, 10)], axis=0),
        "dual": np.mean([part.std(0, ddof=1) * (1 - part.mean(0)) for part in windows(OWN, 10)], axis=0),
        "tdds": plain_tdds(10),
    }
    for name, score in expected.items():
        np.testing.assert_allclose(SCORES[name](run, 3), score, rtol=2e-4, atol=2e-5, err_msg=name)
    np.testing.assert_allclose(SCORES["aum"](run, 3, logits=True), -(own_logit - others(LOGITS)).mean(0), rtol=1e-4)
    np.testing.assert_allclose(SCORES["tdds"](run, 3, window=5), plain_tdds(5), rtol=2e-4, atol=2e-5)
    np.testing.assert_allclose(SCORES["el2n"](run.first(2), 3), np.linalg.norm(P[1] - one_hot, axis=1), rtol=1e-5)


def test_a_run_is_read_up_to_the_epoch_asked_for(run: ProxyRun):
    assert torch.equal(run.first(4).prob, run.prob[:4])
    assert len(run.first(4).change) == len(run.first(4).correct) == 4


def test_the_trace_of_a_trained_proxy_is_its_own(monkeypatch: pytest.MonkeyPatch):
    """Every number kept belongs to the example and the epoch it was trained in."""
    seen: dict[tuple[int, int], Tensor] = {}
    see = Trace.see

    def watched(self: Trace, epoch: int, rows: Tensor, logits: Tensor, label: Tensor) -> None:
        seen.update({(epoch, row): (z, y) for row, z, y in zip(rows.tolist(), logits, label, strict=True)})
        see(self, epoch, rows, logits, label)

    monkeypatch.setattr(Trace, "see", watched)
    data = dataset(50)
    found = proxy_trainer(data)("cnn(width=2)", 3, torch.arange(10, 50))
    assert len(seen) == 3 * 40
    for (epoch, row), (z, y) in seen.items():
        assert y == data.label[10 + row]
        assert found.prob[epoch, row] == z.softmax(0)[y]
        assert found.error[epoch, row].item() == pytest.approx((z.softmax(0) - F.one_hot(y, 3)).norm().item(), rel=1e-5)
        assert found.correct[epoch, row] == (z.argmax() == y)
    assert (found.change[0] == 0).all()
    assert (found.change[1:] > 0).all()


# --- what subset makes of them ---


class Traced:
    """A proxy whose runs, one a number, are given; it notes what it was asked."""

    origin = torch.arange(0)

    def __init__(self, *runs: ProxyRun):
        self.runs, self.calls = runs, []

    def __call__(self, model, epochs, train, held=None, number=0):
        self.calls.append((model, epochs, len(train), held, number))
        return self.runs[number]


def kept(spec: str, *runs: ProxyRun, n: int = N, **settings) -> set[int]:
    sampler = bound(spec, n, **settings)
    sampler.prepare(Traced(*runs))
    return set(sampler.plan(0.0, 0, 1).nonzero().ravel().tolist())


def highest(score: np.ndarray, size: int) -> set[int]:
    return set(np.argsort(-score)[:size].tolist())


def test_each_score_reads_its_part_of_the_one_run(run: ProxyRun):
    error = np.linalg.norm(P - np.eye(K)[LABEL], axis=2)
    ask = f"proxy='cnn', proxy_epochs={EPOCHS}, keep=.4"
    assert kept(f"subset(by='el2n', {ask})", run) == highest(error[0], 12)  # a tenth of 14 epochs
    assert kept(f"subset(by='el2n', until=6, {ask})", run) == highest(error[5], 12)
    assert kept(f"subset(by='aum', {ask})", run) == highest(-(OWN - others(P)).mean(0), 12)
    dual = np.mean([part.std(0) * (1 - part.mean(0)) for part in windows(OWN[:9], 4)], axis=0)
    assert kept(f"subset(by='dual', window=4, until=9, {ask})", run) == highest(dual, 12)


def test_el2n_is_a_mean_over_its_models(run: ProxyRun):
    other = proxy_run(**{name: value.flip(-1) for name, value in vars(run).items() if value.ndim == 2})
    sampler, proxy = bound("subset(by='el2n', seeds=2, proxy='cnn', keep=.4)", N), Traced(run, other)
    sampler.prepare(proxy)
    assert proxy.calls == [("cnn", 10, N, None, 0), ("cnn", 10, N, None, 1)]
    mean = (run.error[0] + other.error[0]).numpy() / 2
    assert set(sampler.kept.nonzero().ravel().tolist()) == highest(mean, 12)


def test_one_proxy_run_serves_all_scores_and_each_model_has_a_seed_of_its_own(tmp_path: Path):
    ask = "proxy='cnn(width=2)', proxy_epochs=10"
    for by in ("el2n", "aum", "dynunc", "dual", "tdds", "forgetting"):
        run = trainer(f"subset(by={by!r}, {ask})", cache=tmp_path)
        run.sampler.prepare(run.proxy)
        assert len(list(tmp_path.glob("*.npz"))) == 1
    run = trainer(f"subset(by='el2n', seeds=3, {ask})", cache=tmp_path)
    run.sampler.prepare(run.proxy)
    assert len(list(tmp_path.glob("*.npz"))) == 3
    assert run.meter.prepared == 3 * (10 * 3 * 120 + 120)
    first, second = (proxy_trainer(dataset())("cnn(width=2)", 2, torch.arange(120), None, k) for k in (0, 1))
    assert not torch.equal(first.prob, second.prob)


def test_a_proxy_model_of_number_0_is_the_one_of_before(monkeypatch: pytest.MonkeyPatch):
    """Rho and the older scores keep their numbers."""
    seeds = []
    monkeypatch.setattr(ProxyTrainer, "_train", lambda self, *_: seeds.append(self.seed) or pytest.skip.Exception)
    with pytest.raises(TypeError):
        proxy_trainer(dataset(40), seed=7)("cnn", 1, torch.arange(40))
    from iskit.randomness import Stream, generator

    assert seeds == [int(generator(7, Stream.PROXY, 0).integers(2**32))]


def test_the_density_of_dual_is_a_beta_distribution():
    numbers = np.random.default_rng(3)
    prob, score = numbers.uniform(0.05, 0.95, (6, 40)), numbers.uniform(size=40)
    top = prob.mean(0)[np.argsort(-score)[:10]].mean()
    b = 15 * (1 - top) * (1 - 0.8**4)
    expected = stats.beta(16 - b, b).pdf(prob.mean(0))
    found = beta_density(torch.from_numpy(prob), torch.from_numpy(score), 0.8, 4).numpy()
    np.testing.assert_allclose(found / found.sum(), expected / expected.sum(), rtol=1e-9)


def test_dual_draws_by_score_times_density(run: ProxyRun):
    """The share of each example, drawn first and alone."""
    drawn, trials = np.zeros(N), 1000
    score = np.mean([part.std(0, ddof=1) * (1 - part.mean(0)) for part in windows(OWN[:10], 10)], axis=0)
    left_out = 1 - 1 / N
    b = 15 * (1 - OWN[:10].mean(0)[np.argsort(-score)[:10]].mean()) * (1 - left_out**4)
    law = score * stats.beta(16 - b, b).pdf(OWN[:10].mean(0))
    for seed in range(trials):
        drawn[list(kept(f"subset(by='dual', beta=4., keep={1 / N}, proxy='cnn')", run, seed=seed))] += 1
    law = law / law.sum()
    likely = law * trials >= 5  # of the others a single draw would be many sigmas
    assert likely.sum() >= 5
    assert_shares((drawn / trials)[likely], law[likely], trials)
    assert_shares(drawn[~likely].sum(keepdims=True) / trials, law[~likely].sum(keepdims=True), trials)


# --- strata ---


def plain_strata(score: np.ndarray, strata: int, size: int) -> list[int]:
    """How many each stratum gives, by the rule as it is written."""
    edges = np.linspace(score.min(), score.max(), strata + 1)
    filled = [
        int(((score >= low) & ((score < high) | (last and score == high))).sum())
        for low, high, last in zip(edges[:-1], edges[1:], [*[False] * (strata - 1), True], strict=True)
    ]
    taken, left = [0] * strata, size
    for done, one in enumerate(np.argsort(filled, kind="stable")):
        taken[one] = min(filled[one], left // (strata - done))
        left -= taken[one]
    return taken


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("size", [6, 40, 111, 200])
def test_strata_give_what_the_rule_says(size: int, sign: int):
    score = sign * np.random.default_rng(1).gamma(2, size=200).round(6)  # all negative: the highest is kept too
    rows = stratified(torch.from_numpy(score), 5, size).numpy()
    assert len(set(rows.tolist())) == size
    place = np.minimum(((score - score.min()) / np.ptp(score) * 5).astype(int), 4)
    assert np.bincount(place[rows], minlength=5).tolist() == plain_strata(score, 5, size)


def test_within_a_stratum_all_are_kept_equally_often(run: ProxyRun):
    trials = 500
    drawn = np.zeros(N)
    for seed in range(trials):
        drawn[list(kept("subset(by='el2n', strata=3, keep=.4, proxy='cnn')", run, seed=seed))] += 1
    score = run.error[0].double().numpy()
    place = np.minimum(((score - score.min()) / np.ptp(score) * 3).astype(int), 2)
    taken = plain_strata(score, 3, 12)
    expected = np.array([taken[k] / (place == k).sum() for k in place])
    assert_shares(drawn / trials, expected, trials, sigmas=3.5)


@pytest.mark.parametrize("rest", ["", ", strata=3"])
def test_the_hardest_share_of_all_is_left_out_by_aum_whatever_score_is_kept_by(run: ProxyRun, rest: str):
    wrong = set(np.argsort((OWN - others(P)).mean(0))[:9].tolist())
    ask = f"proxy='cnn', proxy_epochs={EPOCHS}, until={EPOCHS}, keep=.4, hardest=.3{rest}"
    found = kept(f"subset(by='el2n', {ask})", run)
    assert len(found) == 12
    assert not found & wrong
    if not rest:
        score = run.error[-1].numpy().copy()
        score[list(wrong)] = -1
        assert found == highest(score, 12)


def test_the_control_leaves_out_and_keeps_blindly(run: ProxyRun):
    """No example is favoured over seeds, though all of strata, hardest and the score are at work."""
    drawn, trials = np.zeros(N), 400
    for seed in range(trials):
        spec = "subset(by='dynunc', strata=2, hardest=.2, keep=.3, control=True, proxy='cnn')"
        drawn[list(kept(spec, run, seed=seed))] += 1
    assert_shares(drawn / trials, np.full(N, 0.3), trials, sigmas=3.5)


def test_never_learnt_lies_in_the_highest_stratum():
    score = torch.tensor([0.0, 0.0, 1.0, 2.0, 3.0, torch.inf, torch.inf])
    assert set(stratified(score, 5, 6).tolist()) >= {2, 3, 4, 5}


@pytest.mark.parametrize(
    ("spec", "named"),
    [
        ("subset(strata=5)", "strata has no meaning with by='random'"),
        ("subset(by='aum', strata=-1)", "strata=-1"),
        ("subset(by='aum', strata=50, keep=.1)", "strata=50 is more than the 12 examples kept"),
        ("subset(by='aum', hardest=1)", "hardest=1"),
        ("subset(by='aum', hardest=.6, keep=.5)", "hardest=0.6 leaves 48 of 120"),
        ("subset(by='aum', seeds=3)", "seeds has no meaning with by='aum': give by=el2n"),
        ("subset(by='el2n', seeds=0)", "seeds=0"),
        ("subset(by='el2n', logits=True)", "logits has no meaning"),
        ("subset(by='el2n', beta=4.)", "beta has no meaning"),
        ("subset(by='dual', beta=4., strata=3)", "leave strata out"),
        ("subset(by='dual', window=11)", "window=11 must be from 3 to the 10 epochs"),
        ("subset(by='tdds', proxy_epochs=9)", "window=10 must be from 3 to the 9 epochs"),
        ("subset(by='el2n', until=11)", "until=11"),
    ],
)
def test_impossible_core_sets_are_refused_before_any_work(spec: str, named: str):
    with pytest.raises(InputError, match=named):
        trainer(spec)


def test_scores_that_all_tie_have_no_strata():
    flat = proxy_run(**dict.fromkeys(("prob", "margin", "error"), torch.ones(10, N)))
    with pytest.raises(InputError, match="strata=4 has all 30 examples in one stratum"):
        kept("subset(by='el2n', strata=4, proxy='cnn')", flat)
