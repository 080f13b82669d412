"""The boxes of a panel: all that is registered is in view, more can be typed, what cannot be meant is said there."""

import pytest

from iskit.augment import augments
from iskit.pages.controls import augment_chips, budget_chips, more_controls, sampler_chips
from iskit.samplers import samplers


@pytest.mark.parametrize("one", [False, True])
def test_every_registered_part_has_a_box(one):
    assert set(sampler_chips("unif", one).boxes) == set(samplers)
    looks = list(augment_chips("standard", one).boxes)
    assert looks[:2] == ["none", "standard"]
    assert {name for spec in looks for name in spec.split("|")} == set(augments)
    assert len(looks) == len(list(augments))
    assert {"randaugment|standard", "standard|trivialaugment", "standard|mixup"} <= set(looks)
    assert all(spec.startswith("standard|") for spec in looks[2:] if spec != "randaugment|standard")


def test_samplers_are_grouped_by_when_they_choose():
    rows = sampler_chips("unif").children[1:]
    groups = {row.children[0].value.split(">")[1].split("<")[0]: row.children[1:] for row in rows}
    assert list(groups) == ["the paper&#x27;s", "per epoch", "per step", "others"]
    assert {box.description for box in groups["per step"]} == {"divbs", "gnorm", "loss", "rho"}
    assert "selective_backprop (SB)" in {box.description for box in groups["the paper&#x27;s"]}


def test_a_click_ticks_one_more_and_wipes_nothing():
    chips = sampler_chips(["p", "sgd"])
    assert chips.value == ("sgd", "p")  # in the order shown
    chips.boxes["unif"].value = True
    assert chips.value == ("sgd", "unif", "p")
    chips.boxes["sgd"].value = False
    assert chips.value == ("unif", "p")


def test_of_one_the_others_give_way():
    chips = sampler_chips("p", one=True)
    chips.boxes["unif"].value = True
    assert chips.value == "unif"
    assert [spec for spec, box in chips.boxes.items() if box.value] == ["unif"]
    chips.boxes["unif"].value = False  # a click on the ticked one
    assert chips.value == "unif"
    assert chips.boxes["unif"].value


def test_what_is_typed_gets_a_box_that_is_ticked():
    chips = sampler_chips(["p"])
    chips.field.value = " p(smooth=False) "
    assert chips.value == ("p", "p(smooth=False)")
    assert chips.boxes["p(smooth=False)"].value
    assert chips.field.value == ""
    budgets = budget_chips([0.1, 0.15])
    budgets.field.value = "1e-2"
    assert budgets.value == (0.1, 0.15, 0.01)
    looks = augment_chips(["none"])
    looks.field.value = "standard|mixup(alpha=1)"
    assert looks.value == ("none", "standard|mixup(alpha=1)")


@pytest.mark.parametrize(
    ("make", "given", "typed", "said", "mended"),
    [
        (sampler_chips, "p", "p(smoth=False)", "smoth", "c"),
        (sampler_chips, "p", "gnorm(presample=0)", "presample", "gnorm"),
        (sampler_chips, "p", "q", "unknown", "c"),
        (augment_chips, "none", "standard|mixupp", "mixup", "standard"),
        (budget_chips, 0.1, "a third", "budget=", "0.33"),
        (budget_chips, 0.1, "3", "budget=", "0.3"),
    ],
)
def test_what_cannot_be_meant_is_said_beside_the_field(make, given, typed, said, mended):
    chips = make([given])
    before = chips.value
    chips.field.value = typed
    assert said in chips.message.value
    assert "b00020" in chips.message.value  # in red
    assert (chips.value, chips.field.value) == (before, typed)  # to be mended
    chips.field.value = mended
    assert chips.message.value == ""


def test_more_offers_what_has_one_value():
    more = more_controls({"lr": [0.1, 0.2], "epochs": 7, "seeds": 20, "model": "mlp"})
    assert set(more) == {"model", "dataset", "epochs", "seeds"}
    assert (more["epochs"].value, more["seeds"].max, more["model"].value) == (7, 20, "mlp")
    assert "seeds" not in more_controls({})
    assert more_controls({"seeds": 3})["seeds"].max == 12
