"""What samplers do with hard and easy examples: measured, held against what can be said beforehand and what is kept."""

from pathlib import Path

import numpy as np
import pytest
import torch
from IPython.display import Markdown

from iskit.samplers import samplers
from iskit.views import cards, sketch

DOCS = Path(__file__).parents[2] / "docs"


def test_the_network_never_learns_and_orders_the_examples_by_loss():
    data, model = sketch.examples(), sketch.sure()
    logits = model(data.normalise(data.images(torch.arange(len(data)))))
    loss = torch.nn.functional.cross_entropy(logits, data.label, reduction="none")
    assert (loss.diff() < 1e-3).all()
    assert 0.05 < (logits.argmax(1) != data.label).double().mean() < 0.1


@pytest.mark.parametrize("spec", ["sgd", "unif"])
def test_uniform_draws_are_flat(spec):
    one = sketch.sketch(spec, seeds=(1, 2))
    for values in one.values():
        np.testing.assert_allclose(values, 1, atol=0 if spec == "sgd" else 0.35)


def test_p_draws_by_its_formula():
    """m_i + mean(m), from when each was trained once; a tenth an epoch, so that few draws exclude each other."""
    data, model = sketch.examples(), sketch.sure()
    prob = model(data.normalise(data.images(torch.arange(len(data))))).softmax(1)
    missed = 1 - prob[torch.arange(len(data)), data.label]
    rule = (missed + missed.mean()).view(sketch.BINS, -1).mean(1).detach()
    drawn = sketch.sketch("p", seeds=(1, 2), budget=0.1, epochs=100)["drawn"]
    assert np.corrcoef(drawn, rule)[0, 1] > 0.98
    assert drawn[0] > 3


@pytest.mark.parametrize("spec", ["gnorm", "infobatch"])
def test_what_is_drawn_more_often_and_weighted_back_counts_alike(spec):
    one = sketch.sketch(spec)
    assert one["drawn"][0] > 1.4
    hard = slice(0, 4)
    np.testing.assert_allclose(one["counted"][hard], 1, atol=0.15)
    assert np.mean(one["counted"]) == pytest.approx(1, abs=0.01)


def test_ordered_draws_alike_and_counts_the_hardest_most():
    one = sketch.sketch("ordered", seeds=(1,))
    np.testing.assert_allclose(one["drawn"], 1)
    assert one["counted"][0] > 3 * one["counted"][-1]


@pytest.mark.parametrize("name", ["infobatch", "loss", "loss_history", "online_batch", "ordered", "p", "seta"])
def test_what_is_kept_of_a_sampler_is_what_it_does(name):
    for word, values in sketch.sketch(name).items():
        np.testing.assert_allclose(values, cards.sketches()[name][word], atol=0.1, err_msg="run `make readme`")


def test_every_sampler_teaches_by_formula_sketch_and_advice():
    made = {entry["name"]: entry for entry in cards.catalogued("sampler")}
    assert made.keys() == cards.sketches().keys() == set(samplers)
    page = cards.methods_page()
    for name, entry in made.items():
        assert entry["when"], name
        assert entry["formula"].count("{") == entry["formula"].count("}"), name
        assert len(entry["formula"]) > 20, name
        assert f"```math\n{entry['formula']}\n```" in page
        assert f"](sketches/{name}.svg)" in page
        text = (DOCS / "sketches" / f"{name}.svg").read_text(encoding="utf-8")
        assert text == cards.svg(cards.sketches()[name]), "run `make readme`"


def test_show_has_formula_sketch_advice_and_source():
    shown = cards.show("p-SGD")
    assert isinstance(shown, Markdown)
    for part in ("$$m_i = ", "drawn: `", "When: scoring must", 'r"""Draws more often what the model has been least'):
        assert part in shown.data
    plain = cards.show("mixup").data  # has no formula, sketch or advice, and no empty words for them
    assert not any(word in plain for word in ("$$", "When:", "drawn:"))


@pytest.mark.parametrize(("values", "said"), [([0.0, 1.0, 5.0, 9.0], "▁▂██"), ([], "")])
def test_a_line_of_letters_is_as_high_as_its_values(values, said):
    assert cards.line(values) == said
