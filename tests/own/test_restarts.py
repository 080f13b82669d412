"""A run in one's own loop, killed and resumed at each point of a step; the learning rate that samplers may steer."""

import io

import pytest
import torch
from test_wrap import ALL, IMAGES, LOSS, MORE, B, X, Y, network, same_proxy, share, wrapped  # noqa: F401

import iskit
from iskit.augment import Pipeline
from iskit.samplers import samplers
from iskit.training.schedules import linear
from iskit.training.trainer import Trainer


def run(spec: str, unit: str, restart: bool):
    """The loader at the end of a run: undisturbed, or begun anew between each batch and its reduce, and after that."""
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9)

    def begun_anew(before):
        file = io.BytesIO()
        torch.save(before.state_dict(), file)
        file.seek(0)
        after = wrapped(spec, model=model, unit=unit, budget=share(spec, 0.6))
        after.load_state_dict(torch.load(file, weights_only=True))
        return after

    loader = wrapped(spec, model=model, unit=unit, budget=share(spec, 0.6))
    while loader.t < 1:
        image, target = next(iter(loader))
        if restart:
            loader = begun_anew(loader)
            again, _ = next(iter(loader))
            assert torch.equal(again, image)
        logits = model(image)
        loader.reduce(LOSS(logits, target), logits).backward()
        optimizer.step()
        optimizer.zero_grad()
        if restart:
            loader = begun_anew(loader)
    return loader


@pytest.mark.parametrize("unit", ["backward", "cost"])
@pytest.mark.parametrize("spec", ALL + MORE)
def test_restarted_at_each_point_of_each_step_a_run_ends_the_same(spec, unit, same_proxy):  # noqa: F811
    whole, restarted = (run(spec, unit, restart) for restart in (False, True))
    for one, other in zip(whole.model.parameters(), restarted.model.parameters(), strict=True):
        assert torch.equal(one, other)
    states = [loader.sampler.state_dict() for loader in (whole, restarted)]
    assert states[0].keys() == states[1].keys()
    for name, value in states[0].items():
        assert torch.equal(value, states[1][name]), name
    assert torch.equal(whole.history.counts, restarted.history.counts)
    assert whole.meter.steps == restarted.meter.steps > 5


def test_a_resumed_batch_that_was_selected_does_not_feed_tau_again():
    """The case that was found: gnorm, on, killed between a batch and its reduce."""
    spec = "gnorm(presample=2, tau_min=0.5)"
    loader = wrapped(spec)
    for image, target in loader:
        if loader.sampler.on:
            break
        logits = loader.model(image)
        loader.reduce(LOSS(logits, target), logits)
    other = wrapped(spec)
    other.load_state_dict(loader.state_dict())
    tau = loader.sampler.tau.item()
    for resumed in (loader, other):
        image, target = next(iter(resumed))
        logits = resumed.model(image)
        resumed.reduce(LOSS(logits, target), logits)
        assert resumed.sampler.tau.item() == tau


@pytest.mark.parametrize("spec", ["unif", "selective_backprop(beta=1, official=True, history=48)"])
def test_fit_and_the_trainer_step_alike_by_the_rate_of_the_sampler(spec, monkeypatch):
    """Half the factor is half the learning rate, bit for bit, in both, and is what the histories say."""
    sampler_class = samplers[spec.partition("(")[0]]
    settings = {"budget": 0.4, "epochs": 5, "batch_size": B, "evals": 7}

    def both(lr: float):
        trainer = Trainer(
            network(), IMAGES, samplers.create(spec), Pipeline.parse("none"), lr=lr, schedule=linear, weight_decay=0,
            **settings,
        )  # fmt: skip
        for _ in trainer:
            pass
        model = network()
        history = iskit.fit(model, (X, Y), sampler=spec, optimizer="sgd", lr=lr, **settings)
        return trainer.model, model, trainer.history.frame(), history.frame()

    plain = both(0.05)
    asked = sampler_class.rate
    monkeypatch.setattr(sampler_class, "rate", lambda self, t, schedule: 0.5 * asked(self, t, schedule))
    halved = both(0.1)
    for full, half in zip(plain[:2], halved[:2], strict=True):
        for one, other in zip(full.parameters(), half.parameters(), strict=True):
            assert torch.equal(one, other)
    for one, other in zip(plain[0].parameters(), plain[1].parameters(), strict=True):
        torch.testing.assert_close(one, other)
    for frame in (*plain[3:], *halved[2:]):
        assert frame["lr"].tolist() == plain[2]["lr"].tolist()
    if "official" in spec:
        assert plain[2]["lr"].tolist() != [0.05 * linear(t) for t in plain[2]["t"]]


def test_the_rate_of_a_loader_is_that_of_the_batch_handed_out():
    loader = wrapped("unif")
    seen = []
    for image, target in loader:
        seen.append((loader.rate(linear), linear(loader.meter.steps / 20)))
        logits = loader.model(image)
        loader.reduce(LOSS(logits, target), logits)
    assert [rate for rate, _ in seen] == pytest.approx([expected for _, expected in seen])
