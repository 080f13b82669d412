"""The study's claims: each decided by the words of contrasts that the study files name, and by nothing else."""

from pathlib import Path

import pandas as pd
import pytest

from iskit.judging import contrasts, paper
from iskit.judging.claims import CLAIMS, FAILS, HOLDS, UNJUDGED, UNTOLD, Claim, Part, holds, in_paper, standing
from iskit.judging.verdict import NOT_TOLD, Judgement
from iskit.study import plan

STUDY = sorted((Path(__file__).parents[2] / "params" / "study").glob("[0-9]*.yaml"))


@pytest.fixture(scope="module")
def named():
    """All contrasts of the first study's files, by name."""
    sections = [one.contrasts for one in map(plan.read_file, STUDY) if one.contrasts]
    return {one.name: one for section in sections for one in contrasts.read(section)}


def judgement(contrast: contrasts.Contrast, words: dict[int, str], interval: tuple[float, float] = (0, 0)) -> Judgement:
    rows = [
        {"arm": arm, "word": words.get(number, NOT_TOLD), "low": interval[0], "high": interval[1]}
        for number, arm in enumerate(contrast.titles)
    ]
    return Judgement(contrast, pd.DataFrame(rows), "")


def as_said(claim: Claim, named, kind: str) -> dict[str, Judgement]:
    """Judgements that speak for (`holds`) or against (`fails`) every part of it."""
    words: dict[str, dict[int, str]] = {}
    ends = {}
    for part in claim.parts:
        for name, arm in part.cells:
            low, high = part.range
            ends[name] = (low, high) if kind == "holds" else (high + 1, high + 2)
            said = getattr(part, kind)
            words.setdefault(name, {})[arm] = sorted(said)[0] if said else NOT_TOLD
    return {name: judgement(named[name], said, ends[name]) for name, said in words.items()}


@pytest.mark.parametrize("number", range(len(CLAIMS)))
def test_a_claim_stands_as_its_contrasts_say(number, named):
    claim = CLAIMS[number]
    assert holds(claim, {}) == UNJUDGED
    assert holds(claim, as_said(claim, named, "holds")) == HOLDS
    assert holds(claim, as_said(claim, named, "fails")) == FAILS
    untold = {name: judgement(named[name], {}, (0, 99)) for name in claim.contrasts}
    assert holds(claim, untold) == UNTOLD
    one = claim.contrasts[0]  # while a contrast is missing nothing holds, though it may be refuted
    some = {name: found for name, found in as_said(claim, named, "holds").items() if name != one}
    assert holds(claim, some) in (UNTOLD, UNJUDGED)


def test_each_cell_is_the_arm_that_the_text_means(named):
    titles = {
        (name, arm): named[name].titles[arm] for claim in CLAIMS for part in claim.parts for name, arm in part.cells
    }
    first = {part.text: titles[part.cells[0]] for part in CLAIMS[0].parts}
    assert all(title.startswith(text.split()[0]) for text, title in first.items())
    for part in CLAIMS[0].parts:
        assert len({titles[cell].split("(")[0] for cell in part.cells}) == 1
    assert [titles[part.cells[0]] for part in CLAIMS[2].parts] == [
        "subset", "subset(by='forgetting')", "subset(by='kcenter')",
    ]  # fmt: skip
    for part in CLAIMS[5].parts:
        assert part.text.split()[0].lower() in titles[part.cells[0]].lower()
    assert [named[name].ratio for name in ("selection-seconds", "seconds-loss")] == ["seconds", "sample_loss"]
    assert "ricap" in named["full"].titles[0]
    assert named["ladder"].trend


def test_a_gain_is_consistent_only_if_it_is_everywhere():
    one = contrasts.read({"a": {"arms": {"sampler": "p"}}, "b": {"where": {"budget": 0.3}, "arms": {"sampler": "p"}}})
    part = Part("", (("a", 0), ("b", 0)), frozenset({"worse"}), frozenset({"better"}), every=False)

    def stands(*words: str) -> str:
        return standing(part, {c.name: judgement(c, {0: word}) for c, word in zip(one, words, strict=True)})

    assert stands("better", "better") == FAILS
    assert stands("better", "worse") == HOLDS
    assert stands("better", NOT_TOLD) == UNTOLD


def test_a_method_that_never_acted_speaks_neither_for_nor_against(named):
    for number in (0, 7):
        claim = CLAIMS[number]
        idle = {
            name: judgement(named[name], dict.fromkeys(range(5), "never acted"), (0, 99)) for name in claim.contrasts
        }
        assert holds(claim, idle) == UNTOLD


def test_the_papers_numbers_beside_a_claim():
    """By hand, from its tables: RICAP at .3 less full training; SB's minutes over unif's on CIFAR-100."""
    gaps = in_paper(CLAIMS[4].beside[0])
    assert {name: round(gap, 2) for name, gap in gaps.items()} == {
        "cifar10": 0.13, "cifar100": 0.83, "svhn": 0.60, "mini-imagenet": -0.04,
    }  # fmt: skip
    assert in_paper(CLAIMS[6].beside[0]) == {"cifar100": pytest.approx(91 / 47, abs=0.01)}
    for claim in CLAIMS:
        assert all(set(in_paper(one)) <= set(paper.numbers()["dataset"]) and in_paper(one) for one in claim.beside)
