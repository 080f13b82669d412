"""The section `tune` of a study file: what it asks for, and what of it is refused in one line."""

import pytest
import yaml

from iskit.errors import InputError
from iskit.judging import contrasts, tune
from iskit.study import plan

TEXT = """
study: fair
dataset: digits(limit=200)
model: cnn(width=4)
epochs: 4
augment: [standard, none]
seeds: 3
blocks:
  full: {sampler: sgd}
tune:
  where: {budget: 0.5, augment: none}
  arms: {sampler: [unif, p-SGD, SB]}
  validation: 50
  strengths: {selective_backprop: {beta: [1, 2, 3]}}
"""


def planned(text=TEXT, **section):
    settings = yaml.safe_load(text)
    settings["tune"] |= section
    return plan.read(settings)


def test_it_asks_for_alike_trials_of_each_arm():
    task = tune.read(planned())
    assert [(arm.title, arm.own, arm.option, arm.values) for arm in task.arms] == [
        ("unif-SGD", {"sampler": "unif"}, "", ()),
        ("p-SGD", {"sampler": "p"}, "", ()),
        ("SB", {"sampler": "selective_backprop"}, "beta", (1, 2, 3)),
    ]
    assert (task.lr, task.seeds, task.further) == ((0.025, 0.05, 0.1, 0.2, 0.4), (101, 102), 3)
    trial = task.experiment(task.arms[2].with_strength(2), 0.2, 102)
    assert (
        trial.to_dict()
        | {
            "study": "fair-tuning",
            "dataset": "digits(limit=200)",
            "model": "cnn(width=4)",
            "epochs": 4,
            "augment": "none",
            "budget": 0.5,
            "sampler": "selective_backprop(beta=2)",
            "validation": 50,
            "lr": 0.2,
            "seed": 102,
        }
        == trial.to_dict()
    )


def test_the_tuned_study_is_trained_on_all_by_the_studys_seeds_and_compared():
    task = tune.read(planned(margin=0.3))
    chosen = [{"sampler": name, "lr": lr} for name, lr in (("unif", 0.2), ("p", 0.05), ("selective_backprop", 0.1))]
    final = plan.read(task.tuned(chosen))
    assert {(e.sampler, e.lr, e.seed) for e in final.experiments} == {
        (one["sampler"], one["lr"], seed) for one in chosen for seed in (1, 2, 3)
    }
    assert {(e.study, e.validation, e.budget, e.augment, e.epochs) for e in final.experiments} == {
        ("fair", 0, 0.5, "none", 4)
    }
    [family] = contrasts.read(final.contrasts)
    assert family.margin == 0.3
    own = {"dataset": "digits(limit=200)", "model": "cnn(width=4)", "epochs": 4, "budget": 0.5, "augment": "none"}
    assert family.reference == {**own, "sampler": "unif", "lr": 0.2}
    assert list(family.arms) == [{**own, **chosen[1]}, {**own, **chosen[2]}]


def test_tuned_once_the_arms_are_compared_in_other_conditions_and_with_their_controls():
    noise = "digits(limit=200, noise=0.2)"
    task = tune.read(planned(controls=True, conditions={"noisy": {"dataset": noise, "margin": 1}}))
    chosen = [
        {"sampler": "unif", "lr": 0.2},
        {"sampler": "p", "lr": 0.05},
        {"sampler": "selective_backprop(beta=2.0)", "lr": 0.1},
    ]
    controls = {
        "p": "p(control=True)",
        "selective_backprop(beta=2.0)": "selective_backprop(beta=2.0, control=True)",
    }
    final = plan.read(task.tuned(chosen))
    asked = [(one["sampler"], one["lr"]) for one in chosen]
    asked += [(controls[one["sampler"]], one["lr"]) for one in chosen[1:]]
    assert sorted((e.dataset, e.sampler, e.lr, e.seed) for e in final.experiments) == sorted(
        (dataset, *one, seed) for dataset in ("digits(limit=200)", noise) for one in asked for seed in (1, 2, 3)
    )
    families = {one.name: one for one in contrasts.read(final.contrasts)}
    assert list(families) == [
        *("tuned: p-SGD, control", "tuned: SB, control", "tuned"),
        *("noisy: p-SGD, control", "noisy: SB, control", "noisy"),
    ]
    for name, one in families.items():
        assert one.margin == (0.5 if name.startswith("tuned") else 1)
        settings = [one.reference, *one.arms]
        assert {each["dataset"] for each in settings} == {noise if name.startswith("noisy") else "digits(limit=200)"}
        named = [(each["sampler"], each["lr"]) for each in settings]
        if "control" in name:
            ((control, rate), (method, same)) = named
            assert (control, rate) == (controls[method], same)
        else:
            assert named == asked[:3]


def test_arms_that_name_different_settings_have_the_studys_for_the_rest():
    task = tune.read(planned(arms=[{"sampler": "unif"}, {"sampler": "unif", "batch_size": 16}], strengths={},
                             reference={"batch_size": 32}))  # fmt: skip
    assert [arm.own for arm in task.arms] == [
        {"sampler": "unif", "batch_size": 32},
        {"sampler": "unif", "batch_size": 16},
    ]
    assert [arm.title for arm in task.arms] == ["batch_size=32", "batch_size=16"]
    assert task.reference == 0


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"bugdet": 1}, r"unknown key 'bugdet'"),
        ({"validation": 0}, r"validation=0 must be at least 1"),
        ({"validation": None}, r"validation=None must be a whole number"),
        ({"seeds": 1}, r"seeds=1 must be at least 2: one trial has no standard error"),
        ({"seeds": [1, 2]}, r"seeds=\[1, 2\] must be a whole number"),
        ({"where": {"budget": 0.5, "augment": "none", "seed": 7}}, r"seed=7 is no setting .* seeds from 101 on"),
        ({"arms": {"sampler": "p", "lr": [0.1, 0.2]}}, r"lr=0.1 is no setting of an arm"),
        ({"where": {"budget": 0.5}}, r"augment=\['standard', 'none'\] is several: name one in where"),
        ({"where": [1]}, r"where=\[1\] must be settings"),
        ({"arms": {}}, r"it names no arm"),
        ({"arms": {"sampler": ["unif", "pp"]}}, r"sampler='pp' is unknown"),
        ({"arms": {"sampler": ["unif", "p", "p-SGD"]}}, r"the arm p-SGD is named twice"),
        ({"arms": {"sampler": ["p", "SB"]}}, r"reference={'sampler': 'unif'} fits 0 of the arms"),
        ({"arms": {"sampler": ["sgd", "SB", "unif"]}}, r"use scan"),
        ({"lr": [0.1, 0.2]}, r"lr=\[0.1, 0.2\] must be three different numbers"),
        ({"lr": [0.1, 0.2, -1]}, r"lr=\[0.1, 0.2, -1\] must be three different numbers above 0"),
        ({"strengths": {"c": {"beta": [1]}}}, r"strengths: 'c' must be the sampler of an arm"),
        ({"strengths": {"p": {"beta": [1]}}}, r"strengths of p: unknown option 'beta'"),
        ({"strengths": {"SB": {"beta": 1}}}, r"strengths of SB: {'beta': 1} must be one option and its values"),
        ({"strengths": {"SB": {"beta": [1, None]}}}, r"must be one option and its values"),
        ({"strengths": {"SB": {"beta": [1, 1.0]}}}, r"strengths of SB: the values of beta must differ"),
        ({"strengths": {"SB": {"beta": [1, -1]}}}, r"beta=-1.0 must be 0"),
        ({"strengths": {"SB": {"beta": [1]}, "p": {"smooth": [False, 3]}}}, r"strengths: as many values for each"),
        ({"margin": 0}, r"contrast 'tuned': margin=0 must be above 0"),
        ({"controls": "some"}, r"controls='some' must be"),
        ({"conditions": {"noisy": 1}}, r"conditions={'noisy': 1} must map names to settings"),
        ({"conditions": {"noisy": {"margin": 1}}}, r"noisy={'margin': 1} must change a setting"),
        ({"conditions": {"tuned": {"epochs": 5}}}, r"must change a setting, and not be named tuned"),
        ({"conditions": {"noisy": {"sampler": "p"}}}, r"noisy: sampler is the arms' or the trials'"),
        ({"conditions": {"noisy": {"lr": 0.1}}}, r"noisy: lr is the arms' or the trials'"),
        ({"conditions": {"noisy": {"dataset": "digitz"}}}, r"dataset='digitz' is unknown"),
        ({"conditions": {"noisy": {"epochs": 5, "margin": 0}}}, r"contrast 'noisy': margin=0 must be above 0"),
    ],
)
def test_what_cannot_work_is_refused(section, message):
    with pytest.raises(InputError, match=rf"^fair: tune: .*{message}") as caught:
        tune.read(planned(**section))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("seeds: 3", "seed: [3, 101]"), r"the study's own seed=101 may be a trial's: give it seeds below 101"),
        (("{sampler: sgd}", "{sampler: sgd, seed: 102}"), r"the study's own seed=102 may be a trial's"),
        (("epochs: 4", "epochs: 4\nvalidation: 20"), r"validation stands outside of it too"),
    ],
)
def test_trials_and_the_studys_runs_share_neither_seed_nor_validation(change, message):
    with pytest.raises(InputError, match=message):
        tune.read(planned(TEXT.replace(*change)))


def test_a_file_without_the_section_is_refused():
    with pytest.raises(InputError, match="the file has no such section"):
        tune.read(plan.read({"sampler": "unif"}))


@pytest.mark.parametrize("section", [None, {}, [1], "unif"])
def test_a_plan_refuses_a_section_that_is_no_mapping(section):
    with pytest.raises(InputError, match="tune must be a mapping"):
        plan.read({"sampler": "unif", "tune": section})


def test_a_file_that_is_only_to_be_tuned_has_no_runs():
    settings = yaml.safe_load(TEXT)
    del settings["blocks"]
    found = plan.read(settings)
    assert (found.study, found.blocks) == ("fair", {})
    assert tune.read(found).study == "fair"
    with pytest.raises(InputError, match="give it to `iskit tune`, or add blocks"):
        found.experiments  # noqa: B018
    assert len(planned().experiments) == 2 * 3
