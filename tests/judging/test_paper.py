"""The paper's 330 numbers ship with the package, and each belongs to a point of a file or is said to be open."""

import csv
import re
from functools import cache
from pathlib import Path

import pytest

from iskit.judging import paper
from iskit.study.plan import Plan, read_file

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT / "../shared/paper/tables.csv"
NUMBERS = paper.numbers()
FILES = sorted((ROOT / "params" / "paper").glob("*.yaml"))


@cache
def plan(path: Path) -> Plan:
    return read_file(path)


def test_there_are_330_numbers_in_six_tables():
    assert len(NUMBERS) == 330
    assert NUMBERS["table"].value_counts().sort_index().tolist() == [10, 76, 80, 80, 12, 72]
    assert NUMBERS[NUMBERS["table"] != "5"]["accuracy_mean"].between(5, 99).all()
    assert NUMBERS[NUMBERS["table"] == "5"]["minutes"].notna().all()


@pytest.mark.skipif(not SHARED.is_file(), reason="../shared is not there: nothing to compare with")
def test_they_are_those_read_from_the_paper():
    with SHARED.open() as one, (ROOT / "iskit/judging/paper.csv").open() as other:
        assert list(csv.reader(one)) == list(csv.reader(other))


@pytest.mark.parametrize("table", sorted(set(NUMBERS["table"])))
def test_every_number_belongs_to_a_point_of_its_file_or_is_open(table):
    experiments = plan(ROOT / f"params/paper/table{table}.yaml").experiments
    met = set()
    for row in NUMBERS[NUMBERS["table"] == table].itertuples():
        if (row.table, row.sampler) in paper.OPEN:
            with pytest.raises(KeyError, match="without a budget"):
                paper.settings(row)
            continue
        wanted = paper.settings(row)
        seeds = [one for one in experiments if paper.is_of(one, wanted)]
        assert [one.seed for one in seeds] == [1, 2, 3], row
        met.update(seeds)
    more = {(one.sampler, one.augment) for one in set(experiments) - met}
    assert more == ({("sgd", "standard")} if table == "5" else set())  # speed-up is against the full run


def test_what_is_open_is_of_the_paper():
    assert all(((NUMBERS["table"] == t) & (NUMBERS["sampler"] == s)).any() for t, s in paper.OPEN)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_each_file_says_its_command_its_runs_and_what_to_expect(path):
    head = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    text = "\n".join(head)
    assert f"iskit sweep params/paper/{path.name}" in text
    assert "Expect" in text
    runs = plan(path).experiments
    assert re.search(r"(\d+) runs, ([\d.]+) full runs' worth", text).groups() == (
        str(len(runs)),
        f"{sum(one.budget for one in runs):g}",
    )


def test_the_official_examples_are_the_cells_that_they_reproduce():
    cells = {
        "cifar10-unif-ricap": ("cifar10", "unif", "standard|ricap(official=True)"),
        "cifar100-p-mixup": ("cifar100", "p", "standard|mixup(official=True)"),
        "svhn-p-randaugment": ("svhn", "p", "randaugment|standard"),
        "mini-imagenet-unif-standard": ("mini-imagenet", "unif", "standard"),
    }
    found = {path.stem: plan(path).experiments for path in (ROOT / "params" / "official").glob("*.yaml")}
    assert found.keys() == cells.keys()
    for name, (dataset, sampler, augment) in cells.items():
        (one,) = found[name]
        assert (one.dataset, one.sampler, one.augment) == (dataset, sampler, augment)
        assert (one.model, one.epochs, one.batch_size, one.budget, one.lr, one.momentum, one.weight_decay) == (
            *("resnet18", 200, 128, 0.3),
            *(0.1, 0.9, 1e-4),
        )
