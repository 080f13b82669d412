"""The explorer's page: it holds what the runs are, its words are the verdict's, and no text breaks out of it."""

import json
import re
import shutil
import tomllib
import zipfile
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from explored import write_study
from judged import runs
from run_folders import write_run

import iskit
from iskit.cli import main
from iskit.errors import InputError
from iskit.judging.compare import PROTOCOL, compare
from iskit.runs.experiment import Experiment
from iskit.study import plan
from iskit.study.archive import KEYS, ranked_counts_of
from iskit.study.pack import pack
from iskit.views.explorer import Explorer, explore
from iskit.views.explorer.held import RANKS, hold
from iskit.views.explorer.page import check, embedded, page, runs_of
from iskit.views.plots import color, label

ROOT = Path(__file__).parents[2]


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.setenv("ISKIT_ROOT", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """46 runs, 4 of them with another learning rate."""
    folder = tmp_path_factory.mktemp("project") / "outputs"
    write_study(folder, ("scan", "unif", "p", "sgd"))
    write_study(folder, ("unif", "p(smooth=False)"), augments=("standard",), seeds=1, lr=0.05)
    return folder


@pytest.fixture(scope="module")
def found(outputs):
    return explore(outputs=outputs)


def test_the_page_holds_the_frame(found):
    held = embedded(found.html)
    shown = runs_of(held)
    for name in found.frame.columns.drop("path"):
        pd.testing.assert_series_equal(
            shown[name].astype(object).where(shown[name].notna(), None),
            found.frame[name].astype(object).where(found.frame[name].notna(), None),
            check_dtype=False,
        )
    assert shown["path"].tolist() == ["/".join(Path(path).parts[-2:]) for path in found.frame["path"]]
    assert len(found.check().lines) == 3


def test_points_are_those_of_over_seeds(found):
    shown, means = runs_of(embedded(found.html)), iskit.over_seeds(found.frame)
    assert shown["point"].nunique() == len(means)
    for point, part in shown.groupby("point"):
        one = means.iloc[point]
        assert (part[KEYS] == one[KEYS]).all(axis=None)
        assert part["accuracy"].mean() == pytest.approx(one["accuracy"])
        assert part["seed"].nunique() == one["seeds"]


def test_curves_and_counts_are_the_runs_own_thinned(found):
    held = embedded(found.html)
    for path, past, ranks in zip(found.frame["path"], held["past"], held["ranks"], strict=True):
        whole = iskit.history_of(path)
        assert len(whole) == 30
        assert len(past["t"]) == 20
        rows = [int(np.abs(whole["t"] - t).argmin()) for t in past["t"]]
        assert (rows[0], rows[-1]) == (0, 29)
        for name in past:
            np.testing.assert_allclose(past[name], whole[name].iloc[rows], rtol=1e-5)
        counts = ranked_counts_of(path)
        assert (len(ranks), ranks[0], ranks[-1]) == (RANKS, counts.max(), counts.min())
        assert ranks == sorted(ranks, reverse=True)


def test_words_and_numbers_are_the_verdict_s(found):
    held, judged = embedded(found.html), iskit.findings(found.frame)
    told = [
        (row.word, row.difference, row.seeds) for one in [*judged.which, *judged.how] for row in one.table.itertuples()
    ]
    shown = [(arm["word"], arm["difference"], arm["seeds"]) for family in held["families"] for arm in family["arms"]]
    assert shown == told
    assert held["studies"][0]["sentences"] == judged.sentences
    frame = runs_of(held)
    for family in held["families"]:
        for arm in family["arms"]:
            part = frame[frame["point"].isin(arm["points"])]
            assert len(part) == arm["seeds"]  # its own runs, all of them and no others
            assert family["of_unif"] == (part["sampler"].iloc[0] != "unif")
            if family["of_unif"]:
                assert arm["name"] == label(part["sampler"].iloc[0])
    assert {spec: one["color"] for spec, one in held["samplers"].items()} == {
        spec: color(spec) for spec in found.frame["sampler"].unique()
    }


def test_contrasts_named_beforehand_are_the_ones_that_are_shown(project):
    outputs = project / "outputs"
    write_study(outputs, ("unif", "p"), (0.3,), ("standard",))
    text = "study: made\ndataset: digits\nepochs: 20\nblocks: {a: {sampler: [unif, p]}}\n"
    text += "contrasts: {named: {where: {augment: standard}, arms: {sampler: p}, margin: 2.0}}\n"
    (project / "made.yaml").write_text(text)
    plan.keep(plan.read_file(project / "made.yaml"), outputs)
    held = embedded(explore().html)
    (family,) = held["families"]
    (judgement,) = iskit.verdict("made")
    assert (family["name"], family["margin"], family["sentence"]) == ("named", 2.0, judgement.sentence)
    assert [arm["word"] for arm in family["arms"]] == judgement.table["word"].tolist()


@pytest.mark.parametrize("name", ["accuracy", "seed", "sampler", "entropy"])
def test_the_check_sees_a_number_that_is_not_the_run_s(found, name):
    frame = found.frame.copy()
    frame.loc[5, name] = frame[name].iloc[5] + (1 if name != "sampler" else "x")
    with pytest.raises(AssertionError, match=f"{name} of .* is not what the page says"):
        check(found.html, frame)
    with pytest.raises(AssertionError, match="46 runs of 45"):
        check(found.html, found.frame.iloc[1:])


def protocol(**settings) -> pd.DataFrame:
    own = {
        **PROTOCOL,
        "dataset": "cifar10",
        "schedule": "linear",
        "augment": "standard|ricap",
        "budget": 0.3,
        **settings,
    }
    frame = runs({"unif": [94.0, 95.0, 96.5], "p": [94.5, 95.0, 96.0]}, **own)
    return frame.assign(precision_used="float32", examples=50_000, speedup=70.0)


def test_the_paper_s_accuracies_stand_beside_its_own_protocol_alone(project):
    held = hold(protocol(), project / "outputs")
    cells = compare("table3", protocol()).cells.query("seeds > 0")
    mixed = pd.concat([protocol(), protocol(epochs=30)], ignore_index=True)  # another study of the same methods
    assert hold(mixed, project / "outputs")["paper"] == held["paper"]
    beside = [(cell["accuracy"], cell["deviation"]) for cell in held["paper"] if cell["table"] == "table3"]
    assert beside == list(zip(cells["paper"], cells["paper_std"], strict=True))
    assert {point for cell in held["paper"] for point in cell["points"]} == {0, 1}


@pytest.mark.parametrize("other", [{"epochs": 30}, {"model": "resnet8"}, {"dataset": "digits"}, {"lr": 0.2}])
def test_beside_another_protocol_stand_the_paper_s_gaps_alone(other, project):
    frame = protocol(**other)
    held = hold(frame, project / "outputs")
    assert held["paper"] == []
    (family,) = held["families"]
    (arm,) = family["arms"]
    (row,) = compare("table3", frame).gaps.query("sampler == 'p'").to_dict("records")
    gaps = {one["data"]: one["gap"] for one in arm["paper"]}
    for data in ("cifar10", "cifar100"):
        assert gaps[data] == pytest.approx(row[f"paper_{data}"], abs=0.006)
    assert "94.93" not in json.dumps(held)  # the paper's own, of unif


def test_methods_and_data_that_are_known_no_more_are_shown_and_judged(project):
    frame = runs({"unif": [94.0, 95.0, 96.5], "gone": [94.5, 95.0, 96.0]}, dataset="gone", acted=0, weighted=0)
    held = hold(frame, project / "outputs")
    (family,) = held["families"]
    assert [arm["name"] for arm in family["arms"]] == ["gone"]
    assert held["studies"][0]["sentences"] == iskit.findings(frame).sentences


EVIL = "</script><script>document.title='gone'</script><!-- \u2028 &amp; \"' /* held */"


def test_no_text_breaks_out_of_the_page(project):
    frame = protocol(epochs=30, study=EVIL, dataset=f"imagefolder(path='{EVIL}')")
    frame["path"] = [f"nowhere/{EVIL}/{number}" for number in range(len(frame))]
    html = page(hold(frame, project / "outputs"))
    plain = page(hold(protocol(epochs=30), project / "outputs"))
    for sign in ("<script", "</script", "<!--"):
        assert html.count(sign) == plain.count(sign)
    assert set(runs_of(embedded(html))["study"]) == {EVIL}
    shown = Explorer(frame, html)._repr_html_()
    assert shown.count("<") == 2  # the frame's own tags
    assert shown.count('"') == 6


def test_a_page_that_is_handed_on_says_nothing_of_the_machine(project):
    write_study(project / "outputs", ("unif",), (0.3,), ("standard",))
    assert str(project) not in explore().html
    paths = runs_of(embedded(explore().html))["path"]
    assert paths.str.startswith("outputs/made/unif-").all()


def test_packed_files_and_several_studies_are_read_and_shipped_ones_said(project):
    outputs = project / "outputs"
    write_study(outputs, ("unif", "p"), (0.3,), ("standard",))
    write_study(outputs, ("unif", "c"), (0.3,), ("standard",), study="more")
    (outputs / "reference").mkdir()
    for study in ("made", "more"):
        pack(study, outputs / "reference" / f"{study}.zip", outputs)
    both = explore(["made", "outputs/reference/more.zip"])  # relative to the project, wherever a notebook stands
    assert len(both.frame) == 12
    assert len(explore(["made", "outputs/reference/made.zip"]).frame) == 6  # each run once
    shutil.rmtree(outputs / "more")
    studies = {one["name"]: one["shipped"] for one in embedded(explore().html)["studies"]}
    assert studies == {"made": False, "more": True}
    assert len(explore().check().lines) == 3


def test_with_one_seed_there_is_no_deviation_and_the_need_for_more_is_said(project):
    write_study(project / "outputs", ("unif", "p"), (0.3,), ("standard",), seeds=1)
    found = explore()
    held = embedded(found.html)
    (arm,) = held["families"][0]["arms"]
    assert (arm["low"], arm["high"], arm["shape"]) == (None, None, "dot")
    assert "6 are needed to tell a difference" in held["studies"][0]["sentences"][0]
    assert found.check().lines


def test_a_study_half_done_says_so(project):
    write_study(project / "outputs", ("unif", "p"), (0.3,), ("standard",), seeds=1)
    begun = project / "outputs" / "made" / "begun"
    begun.mkdir()
    (begun / "params.yaml").write_text(json.dumps(Experiment(study="made", seed=9).to_dict()))
    (begun / "status.json").write_text(json.dumps({"state": "stopped", "saved": 0.5, "t": 0.5}))
    notes = embedded(explore().html)["studies"][0]["notes"]
    assert "The study is not whole: 2 of 3 runs are finished (1 stopped); iskit status made tells more." in notes


def test_a_run_without_history_is_shown_without_its_curve(project):
    write_run(project / "outputs", study="bare")
    held = embedded(explore().html)
    assert (held["past"], held["ranks"]) == ([None], [None])


def test_without_runs_a_notebook_gets_a_sentence_and_a_file_is_refused(project):
    found = explore()
    assert "no finished runs to explore: train some" in found._repr_html_()
    assert "Nothing was checked" in found.check().lines[0]
    assert found.findings().notes == ["Nothing is trained yet."]
    with pytest.raises(InputError, match="no finished runs to explore"):
        found.write(project / "out.html")
    assert "<p>study=&#x27;made&#x27;" in explore(["made"], strict=False)._repr_html_()


def another_version(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("about.json", json.dumps({"format": 99, "study": "old"}))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "there are no finished runs to explore: train some"),
        (["quikstart"], "study='quikstart' is no folder under outputs/: did you mean 'quickstart'?"),
        (["gone.zip"], "gone.zip is not there"),
        (["old.zip"], "old.zip is packed in format 99, read is 1: pack it again"),
        (["a.html", "b.html"], "a.html and b.html are two files to write: give one"),
    ],
)
def test_what_cannot_be_explored_is_one_line(words, said, project, monkeypatch, capsys):
    another_version(project / "old.zip")
    (project / "outputs" / "quickstart").mkdir(parents=True)
    monkeypatch.setattr("sys.argv", ["iskit", "report", *words, "--explore"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert not list(project.glob("**/*.html"))


def test_the_command_writes_the_page_and_names_what_it_left_out(project, monkeypatch, capsys):
    write_study(project / "outputs", ("unif", "p"), (0.3,), ("standard",))
    another_version(project / "outputs" / "reference" / "old.zip")

    def command(*words: str) -> None:
        monkeypatch.setattr("sys.argv", ["iskit", "report", *words, "--explore"])
        with pytest.raises(SystemExit, match="0"):
            main()

    command()
    said = capsys.readouterr()
    html = (project / "outputs" / "explorer.html").read_text()
    assert "explorer.html" in said.out
    assert "old.zip is packed in format 99" in said.err
    assert list(embedded(html)["left_out"]) == ["outputs/reference/old.zip"]
    assert str(project) not in html
    for words in (["made", "some.html"], ["some.html", "made"]):
        command(*words)
        assert len(runs_of(embedded((project / "some.html").read_text()))) == 6


def test_a_report_of_one_word_is_refused(project, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["iskit", "report", "quickstart"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    assert "iskit report STUDY --explore" in capsys.readouterr().err


def test_the_page_asks_for_nothing_from_elsewhere(found):
    assert "default-src 'none'" in found.html
    assert not re.search(r"""(?:src|href)=["']?(?:https?:)?//|@import|url\(""", found.html)
    assert len(found.html) < 1_000_000


def test_all_files_of_the_page_are_packaged():
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    for path in (ROOT / "iskit" / "views" / "explorer").iterdir():
        if path.is_file() and path.suffix != ".py":
            assert any(fnmatch(path.name, pattern) for pattern in patterns["iskit.views.explorer"]), path.name
