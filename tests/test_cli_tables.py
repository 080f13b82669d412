"""What the command line prints of results: whole names at 80 columns, chosen and arranged rows, other forms."""

import io
import shutil

import pandas as pd
import pytest
from rich.console import Console
from run_folders import write_past, write_run
from test_cli import TINY, command  # noqa: F401 - a fixture

from iskit.cli import console as shown
from iskit.cli import look
from iskit.study.archive import results
from iskit.views.tables import Fitted, arranged, shown_by

SAMPLERS = ["gnorm(presample=5, tau_min=0.5)", "selective_backprop(beta=3.0)", "unif"]
AUGMENTS = ["standard", "standard|trivialaugment"]


@pytest.fixture
def narrow(monkeypatch):
    """A terminal of 80 columns."""
    console = Console(width=80, markup=False, emoji=False)
    for module in (shown, look):
        monkeypatch.setattr(module, "console", console)


def printed(table: Fitted, width: int) -> list[str]:
    file = io.StringIO()
    Console(file=file, width=width).print(table)
    return [line.rstrip() for line in file.getvalue().splitlines()]


@pytest.fixture
def study(tmp_path):
    """Runs of three samplers, two augmentations, two budgets and two seeds; the accuracies tell them apart."""
    for place, sampler in enumerate(SAMPLERS):
        for augment in AUGMENTS:
            for budget in (0.1, 0.3):
                for seed in (1, 2):
                    accuracy = 10 * place + 40 * (augment == "standard") + 100 * budget + seed
                    settings = {"sampler": sampler, "augment": augment, "budget": budget, "seed": seed, "study": "s"}
                    write_past(write_run(tmp_path / "outputs", {"accuracy": accuracy, "entropy": accuracy}, **settings))
    return "s"


def test_at_80_columns_no_name_is_cut(command, narrow, study):  # noqa: F811
    code, out, _ = command("results", study)
    assert code == 0
    lines = out.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].rstrip() == "s: cnn on digits"
    for sampler in SAMPLERS:
        for augment in AUGMENTS:
            rows = [line.split("  ") for line in lines if line.startswith(f"{augment} ") and f" {sampler} " in line]
            assert len(rows) == 2, (sampler, augment)  # a row a budget, both names whole in it
    assert "61.50 ± 0.71" in out
    assert "seeds 2" in lines[1]  # in all rows the same: said once
    [left_out] = [line for line in lines if line.startswith("no room for")]
    assert "--csv" in left_out
    for name in ("seconds", "entropy", "cost"):
        assert (name in lines[2]) + (name in left_out) + (name in lines[1]) == 1


def test_a_wide_table_goes_on_below_with_its_names():
    frame = pd.DataFrame({"way": ["one", "another"], **{f"number {n}": [str(n), str(10 * n)] for n in range(6)}})
    assert len(printed(Fitted(frame, ["way"]), 100)) == 3
    lines = printed(Fitted(frame, ["way"]), 40)
    assert max(map(len, lines)) <= 40
    assert lines.count("") == 1
    assert sum(line.startswith("another ") for line in lines) == 2
    for n in range(6):
        assert sum(f"number {n}" in line for line in lines) == 1
    assert printed(Fitted(frame[["way", "number 1"]].head(1), ["way"]), 40) == ["way  number 1", "one         1"]


def test_results_are_spread_over_the_values_of_a_setting(command, narrow, study):  # noqa: F811
    where = ("--where", "augment=standard")
    code, out, _ = command("results", study, "--by", "sampler", "--columns", "budget", *where, "--markdown")
    assert code == 0
    assert out.splitlines() == [
        "| sampler | budget 0.1 | budget 0.3 |",
        "| --- | --- | --- |",
        "| gnorm(presample=5, tau_min=0.5) | 51.50 ± 0.71 | 71.50 ± 0.71 |",
        "| selective_backprop(beta=3.0) | 61.50 ± 0.71 | 81.50 ± 0.71 |",
        "| unif | 71.50 ± 0.71 | 91.50 ± 0.71 |",
    ]
    *_, latex = command("results", study, "--columns", "budget", *where, "--latex")[1].split("\\midrule\n")
    assert latex.startswith("gnorm(presample=5, tau\\_min=0.5) & 51.50 $\\pm$ 0.71 & 71.50 $\\pm$ 0.71 \\\\")
    _, out, _ = command("results", study, "--columns", "budget", *where, "--csv")
    wide = pd.read_csv(io.StringIO(out))
    assert wide["accuracy, budget 0.3"].tolist() == [71.5, 81.5, 91.5]
    assert wide["deviation, budget 0.1"].tolist() == pytest.approx([0.5**0.5] * 3)
    _, out, _ = command("results", study, "--columns", "budget", *where)
    assert "61.50 ± 0.71" in out
    assert max(map(len, out.splitlines())) <= 80


def test_nothing_is_averaged_but_seeds(command, study):  # noqa: F811
    _, out, _ = command("results", study, "--by", "budget", "--csv")
    rows = pd.read_csv(io.StringIO(out))
    assert len(rows) == 3 * 2 * 2
    assert (rows["seeds"] == 2).all()
    assert rows.columns[0] == "budget"
    assert rows["budget"].is_monotonic_increasing


def test_rows_are_chosen_by_what_they_are(command, study):  # noqa: F811
    def chosen(*where):
        words = [word for one in where for word in ("--where", one)]
        code, out, err = command("results", study, *words, "--csv")
        return len(pd.read_csv(io.StringIO(out))) if code == 0 else err

    assert chosen("sampler=unif") == 4
    assert chosen("sampler=unif-SGD", "budget=0.3") == 2  # in whatever spelling
    assert chosen("sampler=[unif, SB(beta=3)]", "augment=standard | TrivialAugment") == 4
    assert "--where budgte=1" in chosen("budgte=1")
    assert "did you mean 'budget'" in chosen("budgte=1")
    assert "fits no run: known: 0.1, 0.3" in chosen("budget=0.7")
    assert "did you mean 'unif'" in chosen("sampler=unfi")
    assert "must be KEY=VALUE" in chosen("budget")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--by", "smapler"], "'smapler' does not tell these runs apart: did you mean 'sampler'?"),
        (["--columns", "lr"], "'lr' does not tell these runs apart"),
        (["--csv", "--latex"], "give one of them"),
    ],
)
def test_what_cannot_be_arranged_is_refused(command, study, words, message):  # noqa: F811
    code, _, err = command("results", study, *words)
    assert code == 2
    assert message in err
    assert err.count("\n") == 1


def test_copied_run_folders_are_told(command, tmp_path, study):  # noqa: F811
    first = next((tmp_path / "outputs" / "s").glob("unif*"))
    shutil.copytree(first, first.with_name(first.name + " (copy)"))
    code, _, err = command("results", study)
    assert code == 0
    assert err == f"iskit: copied run folders count once, 1 left out: {first} (copy) is {first}\n"


def test_a_sweep_prints_its_own_runs_packed_ones_among_them(warm_workers, command, tmp_path):  # noqa: F811
    grid = [*TINY, "sampler=[unif, p]", "study=s", "--workers", "1"]
    assert command("sweep", *grid)[0] == 0
    assert command("run", *TINY, "sampler=c", "study=s")[0] == 0
    (tmp_path / "outputs" / "reference").mkdir()
    assert command("pack", "s", str(tmp_path / "outputs" / "reference" / "s.zip"))[0] == 0
    shutil.rmtree(tmp_path / "outputs" / "s")
    assert "\nc " in command("results", "s")[1]  # without a folder, of a packed file
    code, out, _ = command("sweep", *grid)
    assert code == 0
    assert "2 finished; 0 to do" in out
    rows = [line.split()[0] for line in out.splitlines() if line.strip()]
    assert {"unif", "p"} <= set(rows)
    assert "c" not in rows  # is not of the sweep
    assert not list((tmp_path / "outputs" / "s").glob("*/result.json"))


def test_what_rounds_to_nothing_has_no_sign(study, tmp_path):
    rows, names = arranged(results(study, tmp_path / "outputs").assign(speedup=-0.3), [], None)
    assert set(shown_by(rows, names, None)["saved %"]) == {"0"}
