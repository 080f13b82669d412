"""A study's judgement: which runs a contrast names, the word that an arm gets, what must be told beside it."""

from math import inf

import numpy as np
import pandas as pd
import pytest
from judged import runs

from iskit.errors import InputError
from iskit.judging import contrasts
from iskit.judging.contrasts import default, read
from iskit.judging.findings import told
from iskit.judging.statistics import ERROR, interval, smallest_effect
from iskit.judging.verdict import Judgement, judge, word

BASE = [90.0, 90.4, 89.7, 90.2, 90.1, 89.9, 90.3, 89.8]
UP = [1.1, 0.9, 1.2, 1.0, 0.8, 1.3, 1.05, 0.95]


def plus(*difference: float) -> list[float]:
    return [base + more for base, more in zip(BASE, difference, strict=False)]


def judged(frame: pd.DataFrame, said: dict, name: str = "choosing", **more) -> Judgement:
    return judge(read({name: said})[0], frame, **more)


P = {"arms": {"sampler": "p"}}


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"idle": True, "collapsed": 1, "p": 0.01, "interval": (1, 0.9, 1.1)}, "never acted"),
        ({"collapsed": 1, "p": 0.01, "interval": (1, 0.9, 1.1)}, "collapsed"),
        ({"p": 0.05, "interval": (-0.1, -0.2, -0.05)}, "worse"),
        ({"p": 0.05, "interval": (0.1, 0.05, 0.2)}, "better"),
        ({"p": 0.051, "interval": (0.1, 0.05, 0.2)}, "no difference"),
        ({"interval": (0.0, -0.49, 0.49)}, "no difference"),
        ({"interval": (0.0, -0.5, 0.49)}, "no gain above the margin"),
        ({"interval": (0.0, -0.49, 0.5)}, "not told apart"),
        ({"interval": (0.0, -inf, inf)}, "not told apart"),
        ({"p": 0.01, "interval": (1, 0.9, 1.1), "reference_collapsed": 1}, "not told apart"),
    ],
)
def test_the_word_is_the_first_that_applies(facts, expected):
    standard = {"idle": False, "collapsed": 0, "reference_collapsed": 0, "p": 1.0, "margin": 0.5}
    assert word(**standard | facts) == expected


def test_a_family_by_hand():
    frame = runs(
        {
            "unif": BASE,
            "p": plus(*UP),
            "c": plus(0.1, -0.1, 0.05, 0, 0.02, -0.03, 0.1, -0.1),
            "ordered": plus(*-np.array(UP)),
        }
    )
    found = judged(frame, {"arms": {"sampler": ["p", "c", "ordered"]}})
    table = found.table.set_index("arm")
    assert list(table.index) == ["p-SGD", "c-SGD", "OSGD"]
    assert list(table["word"]) == ["better", "no difference", "worse"]
    assert table["p"].tolist() == [1 / 128, pytest.approx(table.loc["c-SGD", "p"]), 1 / 128]
    difference = np.array(
        [frame.loc[frame["sampler"] == name, "accuracy"].to_numpy() - BASE for name in ("p", "c", "ordered")]
    ).T
    assert np.allclose(table[["difference", "low", "high"]], np.array(interval(difference)).T)
    assert np.allclose(table["smallest"], smallest_effect(difference))
    assert table["correlation"].to_numpy() == pytest.approx(
        [np.corrcoef(column + BASE, BASE)[0, 1] for column in difference.T]
    )
    low, high = table.loc["p-SGD", ["low", "high"]]
    assert found.sentence == (
        f"choosing: against unif-SGD, accuracy, 8 seeds: OSGD is worse by 1.04 points ({-high:+.2f} to {-low:+.2f}); "
        f"p-SGD is better by 1.04 points (+{low:.2f} to +{high:.2f}); c-SGD makes no difference of 0.5 points."
    )


@pytest.mark.parametrize(("seeds", "expected"), [(1, "not told apart"), (5, "no"), (6, "better")])
def test_below_6_seeds_nothing_is_better(seeds, expected):
    found = judged(runs({"unif": BASE[:seeds], "p": plus(*UP[:seeds])}), P)
    assert expected in found.table["word"][0]
    assert any("6 are needed" in note for note in found.notes) == (seeds < 6)
    assert any("8 are the standard" in note for note in found.notes)


@pytest.mark.parametrize("chance", [None, 1.0])
def test_a_run_below_halfway_from_chance_to_the_references_median_has_collapsed(chance):
    """Digits have 10 classes, so guessing is 10 % unless it is said. The other seven seeds alone would be better."""
    bar = ((10 if chance is None else chance) + np.median([*BASE[:7], 50.0])) / 2
    for lowest, expected in ((bar - 0.1, "collapsed"), (bar + 0.1, "better")):
        frame = runs({"unif": [*BASE[:7], bar + 0.05], "p": [*plus(*UP[:7]), lowest]})
        found = judged(frame, P, chance=chance)
        assert found.table["p"][0] <= ERROR
        assert (found.table["word"][0], found.table["collapsed"][0]) == (expected, expected == "collapsed")
    assert judged(runs({"unif": BASE, "p": [*plus(*UP[:7]), 40.0]}, chance=5.0), P).table["collapsed"][0] == 1


def test_where_the_reference_collapsed_nothing_is_better():
    found = judged(runs({"unif": [*BASE[:7], 12.0], "p": plus(*UP)}), P)
    assert found.table["word"][0] == "not told apart"
    assert "unif-SGD itself collapsed in 1 of 8 runs: no arm can be better" in found.notes
    both = judged(runs({"unif": [*BASE[:7], 12.0], "p": [*plus(*UP)[:6], 12.0, 11.0]}), P)
    assert "p-SGD collapsed in 2 of 8 runs, as unif-SGD in 1" in both.sentence
    assert "p collapsed in 2 of 8 runs, as unif in 1" in told([both], "sampler")


def test_what_never_acted_is_told_of_methods_that_could_have():
    frame = runs({"unif": BASE, "p": plus(*UP), "scan": plus(*UP), "gnorm": plus(*UP)}, acted=0.0, on=0.0)
    frame.loc[(frame["sampler"] == "p") & (frame["seed"] == 3), "acted"] = 0.01
    found = judged(frame, {"arms": {"sampler": ["p", "scan", "gnorm"]}})
    assert list(found.table["word"]) == ["better", "better", "never acted"]
    assert "gnorm never acted; p-SGD is better" in found.sentence
    frame["acted"] = np.nan  # older runs: not known, so not said
    assert list(judged(frame, {"arms": {"sampler": ["gnorm"]}}).table["word"]) == ["better"]
    weights = frame.assign(acted=0.0, weighted=0.1)
    assert list(judged(weights, {"arms": {"sampler": ["gnorm"]}}).table["word"]) == ["better"]


def test_runs_are_found_by_what_settings_mean():
    frame = runs({"unif-SGD": BASE, "p(smooth=True)": plus(*UP)}, augment="none|standard")
    said = {"where": {"augment": "standard", "budget": "0.3"}, "arms": {"sampler": "P-sgd"}}
    assert judged(frame, said).table["word"][0] == "better"
    older = frame.drop(columns=["weight_decay", "keep_model"])  # settings that came later stood at their default
    assert judged(older, {**said, "where": {"weight_decay": 1e-4}}).table["word"][0] == "better"


def test_arms_overlay_where_and_take_the_rest_from_the_reference():
    found = read(
        {
            "looks": {
                "where": {"budget": 0.3},
                "reference": {"sampler": "unif", "augment": "standard"},
                "arms": [{"augment": ["standard|ricap", "mixup"]}, {"sampler": "p", "lr": 0.05}],
            }
        }
    )[0]
    assert found.titles == ("standard|ricap", "mixup", "p-SGD, lr=0.05")
    assert found.against == "unif-SGD, standard"
    assert found.arms[0] == {"sampler": "unif", "augment": "standard|ricap", "budget": 0.3}
    assert found.arms[2] == {"sampler": "p", "augment": "standard", "budget": 0.3, "lr": 0.05}
    grid = read({"x": {"arms": {"sampler": ["p", "c"], "lr": [0.1, 0.2]}}})[0]
    assert grid.titles == ("p-SGD, lr=0.1", "p-SGD, lr=0.2", "c-SGD, lr=0.1", "c-SGD, lr=0.2")


def test_without_contrasts_every_sampler_is_judged_against_unif():
    frame = pd.concat([
        runs({"unif": BASE, "p": plus(*UP), "c-SGD": BASE}),
        runs({"unif": BASE, "scan": BASE}, augment="none"),
        runs({"sgd": BASE}, budget=1.0),
    ], ignore_index=True)  # fmt: skip
    found = default(frame)
    assert [(one.name, one.titles, one.against) for one in found] == [
        ("standard", ("p-SGD", "c-SGD"), "unif-SGD"),
        ("none", ("scan-SGD",), "unif-SGD"),
    ]
    assert judge(found[0], frame, families=2).notes[-1] == "one of 2 families"
    with pytest.raises(InputError, match="train both, or name contrasts"):
        default(runs({"p": BASE, "c": BASE}))


def test_seeds_that_not_all_have_are_left_out_and_told():
    frame = pd.concat([runs({"unif": BASE, "p": plus(*UP)}), runs({"c": plus(*UP[:6])})], ignore_index=True)
    found = judged(frame.sample(frac=1, random_state=0), {"arms": {"sampler": ["p", "c"]}})
    assert found.table["seeds"].tolist() == [6, 6]
    assert found.table["difference"].to_numpy() == pytest.approx([np.mean(UP[:6])] * 2)
    assert "seeds left out, since not all have them: 7, 8" in found.notes


def test_costs_in_multiples_of_the_references():
    frame = runs({"unif": BASE, "gnorm": BASE})
    scored = frame["sampler"] == "gnorm"
    frame.loc[scored, ["passes_forward_only", "passes_prepared", "training_seconds"]] = [3000, 1500, 25.0]
    table = judged(frame, {"arms": {"sampler": "gnorm"}, "per": list(contrasts.COSTS)}).table
    assert table.filter(like="times_").iloc[0].to_dict() == pytest.approx(
        {"times_examples": 1, "times_passes": 6000 / 3000, "times_preparations": 7500 / 3000, "times_seconds": 2.5}
    )
    ratio = judged(frame, {"arms": {"sampler": "gnorm"}, "ratio": "passes"})
    assert ratio.table[["ratio", "low", "high"]].iloc[0].tolist() == pytest.approx([2, 2, 2])
    assert ratio.sentence == "choosing: passes against unif-SGD, over 8 seeds: gnorm 2 times (2 to 2)."


def test_a_ratio_of_training_losses():
    frame = runs({"unif": BASE, "gnorm": BASE})
    frame["sample_loss"] = np.where(frame["sampler"] == "gnorm", 0.5, 2.0)
    ratio = judged(frame, {"arms": {"sampler": "gnorm"}, "ratio": "sample_loss"})
    assert ratio.table[["ratio", "low", "high"]].iloc[0].tolist() == pytest.approx([0.25] * 3)
    assert ratio.sentence == "choosing: sample loss against unif-SGD, over 8 seeds: gnorm 0.25 times (0.25 to 0.25)."


def test_a_trend_over_steps():
    frame = pd.concat(
        [runs({"p": [base + step + 0.1 * seed for seed, base in enumerate(BASE)]}, budget=budget)
         for step, budget in enumerate((0.1, 0.2, 0.3))], ignore_index=True,
    )  # fmt: skip
    said = {"where": {"sampler": "p"}, "trend": [{"budget": budget} for budget in (0.1, 0.2, 0.3)]}
    found = judged(frame, said, "ladder")
    assert found.table["arm"].tolist() == ["budget=0.1", "budget=0.2", "budget=0.3"]
    assert found.table["p"][0] == pytest.approx((1 / 6) ** 8)
    assert found.sentence.startswith(
        "ladder: accuracy rises along the steps budget=0.1, budget=0.2, budget=0.3 (Page's L = 112"
    )
    falling = judged(frame, {**said, "trend": said["trend"][::-1]})
    assert "accuracy falls along the steps budget=0.3, budget=0.2" in falling.sentence
    assert falling.table["p"][0] == pytest.approx((1 / 6) ** 8)
    mixed = frame.assign(accuracy=[BASE[0]] * len(frame))
    assert "is not told to rise" in judged(mixed, said).sentence


def test_what_a_reader_must_know_is_noted(tmp_path):
    frame = runs({"unif": BASE, "loss": plus(*UP), "loss(control=True)": plus(*UP), "p": BASE}, lr=0.1)
    frame.loc[frame["sampler"] == "p", "lr"] = 0.05
    frame["weighted"] = np.where(frame["sampler"].str.startswith("loss"), 0.12, 0.0)
    frame["counts_digest"] = [f"{seed}" for seed in frame["seed"]]
    arms = ["loss", "loss(control=True)", "p"]
    notes = judged(frame, {"arms": {"sampler": arms}}).notes
    assert "p-SGD differs from unif-SGD also in lr" in notes
    assert (
        "loss(control=True): the weights of a control are noise, so it is not neutral: "
        "judge loss against presample=1 too"
    ) in notes
    assert "loss and loss(control=True) trained the same examples as often" in notes
    assert "p-SGD and unif-SGD trained the same examples as often" in notes
    assert "the only family" in notes
    for number, path in enumerate(frame["path"]):  # without the column, from the folders
        (tmp_path / str(number)).mkdir()
        np.save(tmp_path / str(number) / "counts.npy", np.full(3, frame["seed"][number]))
        frame.loc[frame["path"] == path, "path"] = str(tmp_path / str(number))
    assert judged(frame.drop(columns="counts_digest"), {"arms": {"sampler": arms}}).notes == notes
    np.save(tmp_path / "0" / "counts.npy", np.arange(3))  # one seed of unif
    notes = judged(frame.drop(columns="counts_digest"), {"arms": {"sampler": arms}}).notes
    assert "p-SGD and unif-SGD trained the same examples as often" not in notes


def test_augmentations_of_one_sampler_train_alike_by_design():
    frame = pd.concat([runs({"unif": BASE}), runs({"unif": BASE}, augment="mixup")], ignore_index=True)
    frame["counts_digest"] = [f"{seed}" for seed in frame["seed"]]
    said = {"reference": {"sampler": "unif", "augment": "standard"}, "arms": {"augment": "mixup"}}
    assert not [note for note in judged(frame, said).notes if "as often" in note]


def test_the_noise_of_the_test_set_comes_from_what_runs_got_right():
    frame = runs({"unif": BASE, "p": BASE})
    bits = {path: np.arange(40) % (2 if number < 8 else 3) == 0 for number, path in enumerate(frame["path"])}

    def correct(path: str) -> np.ndarray:
        if path not in bits:
            raise InputError("of an earlier version")
        return bits[path]

    noise = judged(frame, P, correct=correct).table["test_noise"][0]
    difference = bits[frame["path"][8]] * 1.0 - bits[frame["path"][0]]
    assert noise == pytest.approx(100 * difference.std(ddof=1) / np.sqrt(40))
    del bits[frame["path"][3]]
    assert np.isnan(judged(frame, P, correct=correct).table["test_noise"][0])
    assert np.isnan(judged(frame, P).table["test_noise"][0])


def test_data_drawn_by_the_seed_may_differ_from_seed_to_seed():
    frame = runs({"unif": BASE, "p": plus(*UP)})
    frame["data_digest"] = [f"d{seed}" for seed in frame["seed"]]
    assert judged(frame, P).table["word"][0] == "better"
    frame.loc[0, "data_digest"] = None  # of an older run
    assert judged(frame, P).table["word"][0] == "better"


def digests(*found: str) -> pd.DataFrame:
    return runs({"unif": BASE[:4], "p": BASE[:4]}, data_digest=list(found))


TWO = runs({"unif": BASE[:2], "p": BASE[:2]})
TIMED = {"arms": {"sampler": "p"}, "ratio": "seconds"}


@pytest.mark.parametrize(
    ("frame", "said", "message"),
    [
        (TWO, {}, "it names no arm"),
        (TWO, {"arms": {}}, "it names no arm"),
        (TWO, {"arms": {"sampler": []}}, "it names no arm"),
        (TWO, {"arms": []}, "it names no arm"),
        (TWO, None, "it must be a mapping"),
        (TWO, {"amrs": {"sampler": "p"}}, "unknown key 'amrs': did you mean 'arms'?"),
        (TWO, {"arms": {"sampler": "pp-SGD"}}, "sampler='pp-SGD' is unknown"),
        (TWO, {"arms": {"smapler": "p"}}, "unknown setting 'smapler'"),
        (TWO, {"arms": "p"}, "'p' must be settings of runs"),
        (TWO, {**P, "where": ["x"]}, "where=['x'] must be settings"),
        (TWO, {**P, "margin": 0}, "margin=0 must be above 0"),
        (TWO, {**P, "margin": "wide"}, "margin='wide' must be a number"),
        (TWO, {**P, "measure": "loss"}, "measure='loss' must be an accuracy"),
        (TWO, {**P, "measure": "best_accuracy"}, "measure='best_accuracy' must be an accuracy at the end"),
        (TWO, {**P, "measure": "other_accuracy"}, "have no other_accuracy"),
        (TWO, {**P, "per": "minutes"}, "per='minutes' is unknown"),
        (TWO, {**P, "ratio": "second"}, "did you mean 'seconds'?"),
        (TWO, {"arms": {"sampler": ["p", "unif-SGD"]}}, "the arm unif-SGD is its own reference"),
        (TWO, {"arms": {"sampler": ["p", "p-SGD"]}}, "the arm p-SGD is named twice"),
        (TWO, {**P, "trend": [{"budget": 0.1}]}, "give one of arms"),
        (TWO, {"trend": [{"budget": 0.1}, {"budget": 0.2}]}, "three steps or more"),
        (TWO, {"trend": {"budget": [0.1, 0.2, 0.3]}, "reference": {"sampler": "unif"}}, "it has no reference"),
        (TWO, {"arms": {"sampler": "c"}}, "no finished run of c-SGD (sampler='c')"),
        (pd.concat([TWO[:2], TWO[2:].assign(seed=[3, 4])]), P, "no seed in common (p-SGD: 3, 4; unif-SGD: 1, 2)"),
        (pd.concat([TWO, TWO.assign(lr=0.3)], ignore_index=True), P, "several runs of seed 1, which differ in lr"),
        (pd.concat([TWO, TWO], ignore_index=True), P, "several runs of seed 1: keep one"),
        (digests(*"aaaabbbb"), P, "saw different data (digests a, b)"),
        (digests(*"aabbaabb"), P, "saw different data"),
        (digests(*"abcdabcc"), P, "saw different data"),
        (TWO.assign(device_name=["a", "a", "b", "b"]), TIMED, "different devices (b, a)"),
        (TWO.assign(threads=[1, 1, 2, 2]), TIMED, "different numbers of threads"),
        (TWO.assign(threads=[1, 1, 2, 2]), {**P, "per": "seconds"}, "numbers of threads"),
        (TWO.assign(training_seconds=0.0), TIMED, "is 0 has no ratio"),
    ],
)  # fmt: skip
def test_bad_contrasts_are_refused_in_one_line_that_names_them(frame, said, message):
    with pytest.raises(InputError) as refused:
        judged(frame, said, "mine")
    assert str(refused.value).startswith("contrast 'mine': ")
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("section", [{}, None, ["x"], "x"])
def test_a_section_that_names_nothing_is_refused(section):
    with pytest.raises(InputError, match="must be a mapping, a name for each"):
        read(section)
