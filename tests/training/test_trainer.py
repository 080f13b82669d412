"""The loop: it learns, repeats bit for bit, resumes at any step, evaluates in time and fails early."""

import copy
import itertools
import re

import pytest
import torch
import torch.nn.functional as F

from iskit.errors import InputError
from iskit.samplers import Sampler, samplers
from iskit.training.evaluation import evaluate
from iskit.training.trainer import Diverged, Trainer

# sgd is the full run: its card says that it is always neutral, and a smaller budget is refused.
BUDGET = {name: 1.0 if samplers.card(name).neutral == "always" else 0.6 for name in samplers}


def finish(trainer: Trainer) -> Trainer:
    for _ in trainer:
        pass
    return trainer


def rows(trainer: Trainer) -> list[dict]:
    """The history without its seconds."""
    return [{k: v for k, v in row.items() if not k.startswith("seconds")} for row in trainer.history.rows]


def ends_alike(one: Trainer, other: Trainer) -> bool:
    """Bit for bit: model with its buffers, momentum, sampler, sample counts, passes and history."""
    states = [flat(t.state_dict()) for t in (one, other)]
    return states[0].keys() == states[1].keys() and all(
        torch.equal(value, states[1][key]) if isinstance(value, torch.Tensor) else value == states[1][key]
        for key, value in states[0].items()
    )


def flat(state, path: str = "") -> dict:
    if isinstance(state, dict | list | tuple):
        items = state.items() if isinstance(state, dict) else enumerate(state)
        return {k: v for key, value in items for k, v in flat(value, f"{path}/{key}").items()}
    return {} if "seconds" in path else {path: state}


def dropping(make) -> Trainer:
    """A trainer of a model with dropout."""
    trainer = make(budget=1)
    trainer.model.insert(-1, torch.nn.Dropout(0.5))
    return trainer


class Scores(Sampler):
    """Looks at twice as many candidates as it keeps."""

    def candidates(self):
        return 2 * self.batch_size

    def select(self, pool, score):
        loss = F.cross_entropy(score(pool), pool.target, reduction="none")
        return loss.topk(self.batch_size).indices, torch.ones(self.batch_size)


def scoring(trainer: Trainer) -> Trainer:
    """The same trainer with the sampler above."""
    sampler = Scores()
    sampler.__dict__.update(trainer.sampler.__dict__)
    trainer.sampler = trainer.feed.sampler = sampler
    return trainer


def test_training_learns_digits(make, digits):
    trainer = finish(
        make("unif", "standard", data=digits, model="cnn(width=8)", budget=0.3, epochs=20, batch_size=32, lr=0.1)
    )
    last = trainer.history.rows[-1]
    assert last["accuracy"] > 85
    assert last["loss"] < 0.5
    assert last["train_accuracy"] > trainer.history.rows[0]["train_accuracy"] + 20


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_run_repeats_bit_for_bit(make, optimizer):
    settings = {"augment": "standard|mixup", "optimizer": optimizer, "lr": 0.01}
    one, same, other = (finish(make("p", **settings, seed=seed)) for seed in (1, 1, 2))
    assert ends_alike(one, same)
    assert rows(one) == rows(same)
    assert rows(one) != rows(other)


def test_adam_is_not_sgd_and_learns(make):
    adam, sgd = finish(make("unif", optimizer="adam", lr=0.01, budget=1)), finish(make("unif", lr=0.01, budget=1))
    assert isinstance(adam.optimizer, torch.optim.Adam)
    assert adam.history.rows[-1]["accuracy"] > 80
    assert rows(adam) != rows(sgd)


def test_bf16_runs_and_stays_near_float32(make):
    bf16, float32 = finish(make(precision="bf16", budget=1)), finish(make(budget=1))
    assert rows(bf16) != rows(float32)
    assert bf16.history.rows[-1]["accuracy"] > 80
    assert bf16.history.rows[0]["train_loss"] == pytest.approx(float32.history.rows[0]["train_loss"], rel=0.1)
    assert all(p.dtype == torch.float32 for p in bf16.model.parameters())


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_every_step_is_the_plain_one_with_momentum_decay_and_schedule(make, tiny, name):
    """Against a loop written out, with torch's optimizer and the rates of the linear schedule."""
    lr = {"sgd": 0.2, "adam": 0.01}[name]
    settings = {"epochs": 2, "budget": 1, "batch_size": 24, "lr": lr, "momentum": 0.8, "weight_decay": 0.01}
    trainer, reference = (make("sgd", optimizer=name, **settings) for _ in range(2))
    model = reference.model
    optimizer: torch.optim.Optimizer = torch.optim.SGD(model.parameters(), lr, 0.8, weight_decay=0.01)
    if name == "adam":
        optimizer = torch.optim.Adam(model.parameters(), lr, weight_decay=0.01)
    for step, t in enumerate(trainer):
        batch = reference.feed.batch(0.0, None)
        optimizer.param_groups[0]["lr"] = lr * (1 - step * 24 / 400 * (1 - 1e-5))
        optimizer.zero_grad()
        F.cross_entropy(model(tiny.normalise(tiny.image[batch.index])), tiny.label[batch.index]).backward()
        optimizer.step()
        assert t == pytest.approx(min((step + 1) * 24 / 400, 1))
    assert step == 16  # 17 steps of 24 are the first at or past 400
    for ours, theirs in zip(trainer.model.parameters(), model.parameters(), strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-3, atol=1e-4)
    assert trainer.history.rows[-1]["lr"] == optimizer.param_groups[0]["lr"]


# --- evaluation ---


@pytest.mark.parametrize(
    ("evals", "expected"),
    [
        (1, [1]),
        (4, [0.25, 0.5, 0.75, 1]),
        (25, [n / 25 for n in range(1, 26)]),
        (50, [n / 50 for n in range(1, 51)]),
        (1000, [n / 50 for n in range(1, 51)]),  # never more than steps
    ],
)
def test_evaluations_are_spread_evenly_and_the_end_is_one(make, evals, expected):
    trainer = finish(make("sgd", budget=1, evals=evals))  # 50 steps of 16 are 4 x 200 rows
    t = [row["t"] for row in trainer.history.rows]
    assert len(t) == len(expected)
    assert all(0 <= ours - goal < 1 / 50 for ours, goal in zip(t, expected, strict=True))
    assert t[-1] == 1


def test_each_evaluation_happens_once_where_rounding_could_repeat_it(make):
    """0.29 x 100 is 28.999...96: the evaluation at 29 of 100 must not be due again a step later."""
    trainer = finish(make("sgd", budget=1, epochs=3, batch_size=3, evals=100))  # 200 steps
    assert [row["t"] for row in trainer.history.rows] == [n / 100 for n in range(1, 101)]


def test_history_rows(make):
    trainer = make("unif", budget=0.5, evals=2)
    seen = torch.zeros(200, dtype=torch.int64)
    update = trainer.sampler.update
    losses: list[torch.Tensor] = []

    def watch(outcome):
        seen.index_add_(0, outcome.batch.index, torch.ones_like(outcome.batch.index))
        losses.append(outcome.loss)
        update(outcome)

    trainer.sampler.update = watch
    cut = 0
    for t in trainer:
        if len(trainer.history.rows) == 1 and not cut:
            assert t == trainer.history.rows[0]["t"] >= 0.5
            cut = len(losses)
    first, last = trainer.history.rows
    assert torch.equal(trainer.history.counts, seen)
    assert first["train_loss"] == pytest.approx(torch.cat(losses[:cut]).mean().item(), rel=1e-5)
    assert last["train_loss"] == pytest.approx(torch.cat(losses[cut:]).mean().item(), rel=1e-5)
    assert (last["step"], last["forward"], last["backward"], last["forward_only"]) == (25, 400, 400, 0)
    assert last["epoch"] == 3
    assert last["coverage"] == (seen > 0).double().mean().item()
    frame = trainer.history.frame()
    assert list(frame["t"]) == [first["t"], 1.0]
    assert {"seconds_train", "seconds_eval", "seconds_scoring", "seconds_warmup", "entropy"} <= set(frame.columns)


def test_evaluate_equals_a_plain_loop(make, digits):
    trainer = make("unif", data=digits, epochs=1, batch_size=32)
    finish(trainer)
    buffers = copy.deepcopy(trainer.model.state_dict())
    accuracy, loss = evaluate(trainer.model, digits)
    trainer.model.eval()
    hits, total = 0, 0.0
    with torch.no_grad():
        for image, label in zip(digits.test_image, digits.test_label, strict=True):
            logits = trainer.model(digits.normalise(image[None]))[0]
            hits += int(logits.argmax() == label)
            total -= float(logits.double().log_softmax(0)[label])
    assert accuracy == pytest.approx(100 * hits / 600)
    assert loss == pytest.approx(total / 600, rel=1e-4)
    assert trainer.history.rows[-1]["accuracy"] == accuracy
    assert all(torch.equal(value, buffers[key]) for key, value in trainer.model.state_dict().items())


def test_evaluate_does_not_depend_on_the_size_of_its_batches(make, digits, monkeypatch):
    trainer = make("unif", data=digits, batch_size=32)
    whole = evaluate(trainer.model, digits)
    monkeypatch.setattr("iskit.training.evaluation.EVAL_BATCH", 7)
    assert evaluate(trainer.model, digits) == pytest.approx(whole, rel=1e-5)
    assert trainer.model.training


# --- resuming ---


@pytest.mark.parametrize("augment", ["standard|mixup"])
@pytest.mark.parametrize("name", list(samplers))
def test_a_resumed_run_ends_bit_for_bit_the_same(make, name, augment, tmp_path):
    settings = {"budget": BUDGET[name], "evals": 7}
    whole = finish(make(name, augment, **settings))
    for stop in (1, 11, whole.meter.steps):  # before and after an evaluation, at the end
        killed = make(name, augment, **settings)
        for _ in itertools.islice(killed, stop):
            pass
        torch.save(killed.state_dict(), tmp_path / "checkpoint.pt")
        resumed = make(name, augment, **settings)
        resumed.load_state_dict(torch.load(tmp_path / "checkpoint.pt", weights_only=True))
        finish(resumed)
        assert ends_alike(resumed, whole)
        assert rows(resumed) == rows(whole)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_scoring_and_adam_resume_too(make, optimizer, tmp_path):
    settings = {"augment": "standard|mixup", "optimizer": optimizer, "lr": 0.01, "unit": "cost", "budget": 0.7}
    whole, killed, resumed = (scoring(make("scan", **settings)) for _ in range(3))
    finish(whole)
    for _ in itertools.islice(killed, 9):
        pass
    torch.save(killed.state_dict(), tmp_path / "checkpoint.pt")
    resumed.load_state_dict(torch.load(tmp_path / "checkpoint.pt", weights_only=True))
    assert ends_alike(finish(resumed), whole)


def test_a_resumed_run_goes_on_counting_seconds(make):
    clock = itertools.count()
    killed, resumed = (make(evals=5, clock=lambda: float(next(clock))) for _ in range(2))
    for _ in itertools.islice(killed, 10):
        pass
    resumed.load_state_dict(killed.state_dict())
    before = dict(resumed.meter.seconds)
    assert before == killed.meter.seconds
    finish(resumed)
    assert resumed.meter.seconds["train"] == before["train"] + 15
    assert killed.meter.seconds == before


def test_dropout_resumes_with_its_random_state(make, tmp_path):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        whole = finish(dropping(make))
        torch.manual_seed(5)
        killed = dropping(make)
        for _ in itertools.islice(killed, 10):
            pass
        state = copy.deepcopy(killed.state_dict())
        torch.manual_seed(77)
        resumed = dropping(make)
        resumed.load_state_dict(state)
        assert rows(finish(resumed)) == rows(whole)


def test_dropout_draws_anew_for_each_seed_and_step(make):
    drawn: dict[str, list[float]] = {}
    for name, seed in {"one": 1, "again": 1, "two": 2}.items():
        trainer, draws = make(seed=seed), drawn.setdefault(name, [])
        trainer.model.register_forward_pre_hook(
            lambda model, _, draws=draws: draws.append(torch.rand(()).item()) if model.training else None
        )
        finish(trainer)
    assert len(drawn["one"]) == 25
    assert drawn["one"] == drawn["again"]
    assert len({*drawn["one"], *drawn["two"]}) == 50  # no draw is had twice: of no other step, and of no other seed


def test_a_loop_may_be_left_and_entered_again(make):
    whole, left = finish(make(evals=5)), make(evals=5)
    for t in left:
        if t > 0.4:
            break
    assert ends_alike(finish(left), whole)
    assert list(left) == []  # nothing is left to do


# --- scoring, and seconds ---


def test_scoring_leaves_parameters_buffers_and_mode_untouched_and_is_charged(make):
    trainer = scoring(make("scan"))
    batch = trainer.feed.batch(0.0, trainer.score)
    assert trainer.meter.forward_only == 32
    assert (trainer.meter.forward, trainer.meter.backward, trainer.meter.steps) == (0, 0, 0)
    before = copy.deepcopy(trainer.model.state_dict())
    logits = trainer.score(batch)
    assert not logits.requires_grad
    assert trainer.model.training
    assert trainer.meter.forward_only == 48
    assert all(torch.equal(value, before[key]) for key, value in trainer.model.state_dict().items())
    trainer.model.eval()
    assert torch.equal(logits, trainer.model(batch.image))  # eval mode: no row depends on another


def test_seconds_of_train_scoring_and_evaluation_stand_apart(make):
    """A clock that is moved by hand: a step takes 1 s beside its scoring (10 s) and an evaluation 100 s, 20 s of
    them for the sample of the training set."""
    now = [0.0]

    def taking(seconds, function):
        def wrapped(*args, **kwargs):
            now[0] += seconds
            return function(*args, **kwargs)

        return wrapped

    trainer = scoring(make("scan", budget=0.5, evals=3, clock=lambda: now[0]))
    forward = trainer.model.forward
    trainer.model.forward = lambda x: taking({32: 10, 16: 1, 80: 80, 200: 20}[len(x)], forward)(x)
    finish(trainer)
    assert {"train": 25, "scoring": 250, "eval": 300, "warmup": 0}.items() <= trainer.meter.seconds.items()
    assert trainer.history.rows[-1]["seconds_eval"] == 300  # its own time is in each row
    assert trainer.history.rows[0]["seconds_eval"] == 100


def test_a_budget_in_seconds_is_spent_by_training_and_scoring_alone(make):
    now = [0.0]
    trainer = scoring(make("scan", budget=50, unit="seconds", evals=5, clock=lambda: now[0]))
    forward = trainer.model.forward

    def slow(x):
        now[0] += {32: 3, 16: 1, 80: 1000, 200: 1000}[len(x)]
        return forward(x)

    trainer.model.forward = slow
    progress = list(trainer)
    assert trainer.meter.steps == 13  # 13 x 4 s are the first at or past 50 s
    assert progress == pytest.approx([min(4 * n / 50, 1) for n in range(1, 14)])
    assert len(trainer.history.rows) == 5


# --- what cannot work ---


@pytest.mark.parametrize("evals", [1, 100])
def test_a_loss_that_is_no_number_stops_the_run_and_says_where(make, evals):
    trainer = make(lr=0.3, budget=1, evals=evals)
    steps = iter(trainer)
    for _ in range(3):
        next(steps)
    with torch.no_grad():
        next(trainer.model.parameters()).fill_(float("nan"))
    with pytest.raises(Diverged) as error:
        next(steps)
    assert re.fullmatch(
        r"the loss is not a finite number at step 4 \(t=0.060, lr=0.282\) for the examples \[(\d+, ){9}\d+\]: "
        r"try lr=0.03, or precision='float32'",
        str(error.value),
    )


def test_an_enormous_learning_rate_diverges(make):
    with pytest.raises(Diverged, match="at step"):
        finish(make(lr=1e30, budget=1))


def test_a_budget_too_small_for_a_batch_is_refused(make):
    with pytest.raises(
        InputError, match=r"budget=0\.019 of 4 epochs x 200 examples is 15 examples, less than one batch"
    ):
        make(budget=0.019)
    assert finish(make(budget=0.02)).meter.steps == 1
    with pytest.raises(InputError, match="less than one batch"):
        make(budget=0.019, unit="cost")
    assert finish(make(budget=1e-9, unit="seconds")).meter.steps == 1  # at least one step


def test_a_batch_larger_than_the_training_set_is_refused(make):
    with pytest.raises(
        InputError, match="batch_size=201 is more than the 200 training examples: set it to at most 200"
    ):
        make(batch_size=201, budget=1)
    assert finish(make(batch_size=200, budget=1)).meter.steps == 4


def test_sgd_with_a_smaller_budget_is_refused(make):
    for settings in ({"budget": 0.99}, {"budget": 0.5, "unit": "cost"}, {"budget": 100, "unit": "seconds"}):
        with pytest.raises(InputError, match="use scan"):
            make("sgd", **settings)
