"""The sentences that pages say: they are the verdict's, agree with the runs, and claim nothing from too few."""

import pandas as pd
import pytest
from judged import runs

import iskit
from iskit.judging.findings import arm, check, drawn, findings
from iskit.judging.verdict import WORDS
from iskit.views.verdict import differences

BASE = [90.0, 90.4, 89.7, 90.2, 90.1, 89.9]
UP = [1.1, 0.9, 1.2, 1.0, 0.8, 1.3]
SMALL = [0.1, -0.1, 0.05, -0.05, 0.1, -0.1]
LOUD = [3.0, -4.0, 2.0, -3.0, 1.0, 2.0]


def plus(more):
    return [base + one for base, one in zip(BASE, more, strict=True)]


def less(more):
    return [base - one for base, one in zip(BASE, more, strict=True)]


@pytest.fixture
def frame():
    """Three budgets, at the largest with another augmentation too; each run ends on its budget."""
    small = {"unif": BASE, "c": less(UP), "p": plus(SMALL)}
    entropy = {"unif": 5.0, "c": 4.0, "p": 5.0}
    parts = []
    for budget, augment, accuracy in (
        (0.1, "standard", small),
        (0.2, "standard", {"unif": BASE, "c": plus(LOUD)}),
        (0.3, "standard", {"unif": BASE, "p": plus(UP)}),
        (0.3, "standard|mixup", {"unif": less(LOUD), "p": less(LOUD)}),
    ):
        parts.append(runs(accuracy, budget=budget, augment=augment, epochs=10, examples=1000))
        parts[-1]["passes_backward"] = 10_000 * budget
        wiggle = 0.01 * parts[-1]["seed"] * (parts[-1]["sampler"] != "p")
        parts[-1]["entropy"] = parts[-1]["sampler"].map(entropy) + wiggle * (parts[-1]["sampler"] == "c")
    return pd.concat(parts, ignore_index=True)


def test_sentences_are_the_words_of_the_verdict(frame):
    found = iskit.findings(frame)
    which, how, varied = found.sentences
    assert which.startswith("Which images? c and p against unif, 5 comparisons, 6 seeds: ")
    assert "c is worse by 1.05 points (" in which
    assert "at standard, budget=0.1" in which
    assert "p is better by 1.05 points (" in which
    assert "no difference of 0.5 points of " in which
    assert "p at standard, budget=0.1" in which
    assert "not told apart in 1 of 5" in which  # c, whose differences go both ways
    assert how.startswith(
        "How they look? With unif, standard|mixup against standard, 6 seeds: not told apart in 1 of 1"
    )
    assert "unif 148 of 1,000; fewer than unif: c in 2 of 4" in varied
    assert "**Which images?** c and p" in found._repr_markdown_()


def test_every_comparison_is_counted_once(frame):
    """Named or counted, the words of a sentence stand for all rows of its tables."""
    for seeds in (2, 6):
        found = iskit.findings(frame[frame["seed"] <= seeds])
        rows = pd.concat([one.table for one in found.which])
        assert set(rows["word"]) <= set(WORDS)
        for word, part in rows.groupby("word"):
            if word == "not told apart":
                assert f"not told apart in {len(part)} of {len(rows)}" in found.sentences[0]
            elif word in ("better", "worse"):
                assert found.sentences[0].count(f"is {word} by") == min(3, len(part))


@pytest.mark.parametrize("seeds", [1, 2, 5])
def test_below_six_seeds_no_difference_is_told(frame, seeds):
    found = iskit.findings(frame[frame["seed"] <= seeds])
    assert len(found.sentences) == 3
    for sentence in found.sentences[:2]:
        assert f"{seeds} seed{'s' * (seeds > 1)} (6 are needed to tell a difference)" in sentence
        assert "better" not in sentence
        assert "worse" not in sentence
    assert "none told apart" in found.sentences[2]


def test_of_many_the_largest_are_named_and_the_rest_counted(frame):
    one = frame[(frame["budget"] == 0.3) & (frame["augment"] == "standard") & (frame["sampler"] != "c")]
    many = pd.concat(
        [one.assign(lr=lr, accuracy=one["accuracy"] + lr * (one["sampler"] == "p")) for lr in (0.1, 0.2, 0.3, 0.4, 0.5)]
    )
    said = iskit.findings(many.reset_index(drop=True)).sentences[0]
    assert said.count("p is better by") == 3
    assert said.index("lr=0.5") < said.index("lr=0.4") < said.index("lr=0.3")
    assert "lr=0.2" not in said
    assert "better in 2 more" in said


def test_what_cannot_be_compared_is_said(frame):
    assert iskit.findings(frame[:0]).notes == ["Nothing is trained yet."]
    alone = iskit.findings(frame[frame["sampler"] == "p"])
    assert alone.sentences == []
    assert "No runs of unif" in alone.notes[0]
    apart = frame[(frame["sampler"] != "c") & (frame["budget"] == 0.1)].copy()
    apart.loc[apart["sampler"] == "p", "seed"] += 10
    found = iskit.findings(apart)
    assert found.which == []
    assert "no seed in common" in found.notes[0]
    assert iskit.findings(apart)._repr_markdown_()


@pytest.mark.parametrize(
    "gone", [{"sampler": "gone"}, {"sampler": "p(gone=1)"}, {"augment": "gone"}, {"dataset": "gone"}, {"model": "gone"}]
)
def test_what_is_known_no_more_is_compared_all_the_same(gone):
    """Of a file from elsewhere, or of a version whose part has another name now."""
    there = runs({"unif": [94.0, 95.0, 96.5], "p": [94.5, 95.0, 96.0]}, acted=0, weighted=0)
    if "sampler" in gone:
        there["sampler"] = there["sampler"].replace({"p": gone["sampler"]})
    else:
        there = there.assign(**gone)
    found = findings(there)
    assert found.notes == []
    assert found.sentences[0].startswith(f"Which images? {gone.get('sampler', 'p')} against unif")
    assert differences(there).data


def test_check_holds_runs_and_sentences_against_each_other(frame, monkeypatch):
    lines = check(frame).lines
    assert lines == [
        "54 of 54 runs have a budget of examples: each ended within one batch of it.",
        "6 differences that the findings judge are those of the runs.",
    ]
    assert check(frame[(frame["sampler"] != "c") | (frame["seed"] < 3)]).lines  # a sweep that was stopped
    with pytest.raises(AssertionError, match="nothing is trained"):
        check(frame[:0])
    late = frame.copy()
    late.loc[3, "passes_backward"] += 500
    with pytest.raises(AssertionError, match="nowhere/3 did not end within one batch"):
        check(late)
    found = iskit.findings(frame)
    found.which[0].table.loc[0, "difference"] *= -1
    monkeypatch.setattr("iskit.judging.findings.findings", lambda _: found)
    with pytest.raises(AssertionError, match=r"budget=0.1, c-SGD: worse is said of -1.05 points"):
        check(frame)


def test_the_first_figure_is_what_the_sentences_say(frame):
    found, figure = iskit.findings(frame), differences(frame)
    judged = [
        (arm(one, number, key), row)
        for key, families in {"sampler": found.which, "augment": found.how}.items()
        for one in families
        for number, row in enumerate(one.table.itertuples())
    ]
    assert len(figure.data) == len(judged) == 6
    names = dict(zip(figure.layout.yaxis.tickvals, figure.layout.yaxis.ticktext, strict=True))
    for trace, (name, row) in zip(figure.data, judged, strict=True):
        assert trace.x[0] == row.difference
        assert trace.x[0] + trace.error_x.array[0] == pytest.approx(row.high)
        assert trace.x[0] - trace.error_x.array[0] == pytest.approx(row.low)
        assert names[trace.y[0]] == name
        assert (trace.marker.symbol == "circle") == (row.word in ("better", "worse"))
        assert row.word in trace.hovertemplate
    assert len({trace.y[0] for trace in figure.data}) == 6  # dodged
    heads = [note.text for note in figure.layout.annotations]
    assert heads[0] == "<b>against unif: standard, budget=0.1</b>"
    assert heads[-1] == "<b>against standard, with unif</b>"
    assert [shape.x0 for shape in figure.layout.shapes] == [0]
    assert figure.layout.title.text.endswith("6 seeds")


def test_one_wide_interval_does_not_hide_the_others(frame):
    wide = frame.copy()
    at = (wide["budget"] == 0.1) & (wide["sampler"] == "p")
    wide.loc[at, "accuracy"] += [-60.0, 50, -60, 50, -60, 50]
    low, high = differences(wide).layout.xaxis.range
    assert -low == high
    others = [trace.error_x.array[0] for trace in differences(frame).data]
    assert high < 4 * max(others)


def test_the_first_figure_says_what_there_is_not(frame):
    one = differences(frame[frame["seed"] == 1])
    assert all(trace.error_x.array is None for trace in one.data)
    assert one.layout.title.text.endswith("1 seed")
    far = frame[frame["seed"] == 1].copy()
    far.loc[(far["budget"] == 0.1) & (far["sampler"] == "p"), "accuracy"] += 40
    figure = differences(far)
    assert max(abs(trace.x[0]) for trace in figure.data) <= figure.layout.xaxis.range[1]  # no dot is out of view
    none = differences(frame[frame["sampler"] == "p"])
    assert len(none.data) == 0
    assert "No runs of unif" in none.layout.annotations[0].text


def test_what_was_drawn_is_told_beside_unif_over_seeds():
    frame = runs({"unif": BASE, "c": BASE, "p": BASE, "scan": BASE}, examples=1000)
    by = {"unif": 0.20, "c": 0.15, "p": 0.45, "scan": 0.20}
    wiggle = frame["seed"].map({1: 0.01, 2: -0.01, 3: 0.005, 4: -0.005, 5: 0.01, 6: -0.01})
    frame["share_mislabelled"] = frame["sampler"].map(by) + wiggle * (frame["sampler"] != "unif")
    mislabelled, varied = drawn(frame).sentences
    assert mislabelled.startswith("Mislabelled images? Of what unif drew 20.0 %; more: p by 25.0 points (+")
    assert "; fewer: c by 5.0 points (-" in mislabelled
    assert mislabelled.endswith("; not told apart: scan; 6 seeds.")
    assert varied == "How varied? Effective number of images, exp(H): unif 148 of 1,000; none told apart from it."
    one = drawn(frame[frame["seed"] == 1])
    assert one.sentences[0].endswith("not told apart: c, p and scan; 1 seed (6 are needed to tell a difference).")
    frame.loc[frame["sampler"] == "p", "share_mislabelled"] = float("nan")  # of an earlier version
    assert [sentence[:10] for sentence in drawn(frame).sentences] == ["How varied"]


def test_what_was_drawn_needs_runs_of_unif():
    assert drawn(runs({"p": BASE})).notes == [
        "No runs of unif lie beside runs of another sampler: there is nothing to hold them against."
    ]
    assert drawn(pd.DataFrame()).notes == ["Nothing is trained yet."]
