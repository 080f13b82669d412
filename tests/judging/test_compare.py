"""Ours beside the paper's: both branches on runs with known answers."""

import numpy as np
import pandas as pd
import pytest

from iskit.errors import InputError
from iskit.judging import paper
from iskit.judging.compare import EXAMPLES, PROTOCOL, compare
from iskit.runs.experiment import Experiment
from iskit.views import compare as views

SEEDS = (1, 2, 3)


def row(seed: int, accuracy: float, **settings) -> dict:
    found = {"accuracy": accuracy, "speedup": 70.0, "device_name": "cpu", "precision_used": "float32", "threads": 1}
    return {**Experiment().to_dict(), **settings, "seed": seed, **found}


def official(**settings) -> dict:
    return {**PROTOCOL, "dataset": "cifar10", "schedule": "linear", **settings}


def frame(*runs: tuple[dict, list[float]]) -> pd.DataFrame:
    return pd.DataFrame(
        [row(seed, accuracy, **settings) for settings, found in runs for seed, accuracy in enumerate(found, 1)]
    )


RICAP = {"augment": "standard|ricap", "sampler": "unif", "budget": 0.3}


def test_the_same_protocol_is_set_beside_in_points_and_deviations():
    """The paper has 94.93 +- .29 for unif with RICAP at .3."""
    found = compare("table3", frame((official(**RICAP), [94.0, 95.0, 96.5])))
    cell = found.cells.query(
        "dataset == 'cifar10' and augment == 'standard|ricap' and sampler == 'unif' and budget == .3"
    )
    assert len(cell) == 1
    [one] = cell.to_dict("records")
    assert (one["paper"], one["paper_std"], one["seeds"]) == (94.93, 0.29, 3)
    assert one["ours"] == pytest.approx(285.5 / 3)
    assert one["std"] == pytest.approx(np.std([94.0, 95.0, 96.5], ddof=1))
    assert one["difference"] == pytest.approx(285.5 / 3 - 94.93)
    assert one["in_std"] == pytest.approx((285.5 / 3 - 94.93) / 0.29)
    assert found.gaps.empty
    assert len(found.missing) == 79


@pytest.mark.parametrize("change", [{"epochs": 30}, {"model": "resnet8"}, {"batch_size": 64}, {"lr": 0.2},
                                    {"dataset": "digits"}, {"validation": 5000}])  # fmt: skip
def test_another_protocol_is_set_beside_by_gaps_to_unif_alone(change):
    other = {**official(), **change, "augment": "standard", "budget": 0.3}
    found = compare(
        "table3",
        frame(({**other, "sampler": "unif"}, [80.0, 82.0, 84.0]), ({**other, "sampler": "p"}, [81.0, 85.0, 83.0])),
    )
    assert (found.cells["seeds"] == 0).all()
    assert found.cells["ours"].isna().all()
    gaps = found.gaps.set_index("sampler")
    assert gaps["gap"].to_dict() == {"unif": 0.0, "p": pytest.approx(1.0)}
    theirs = paper.numbers().query("table == '3' and augmentation == 'standard' and budget == .3")
    for dataset in ("cifar10", "cifar100"):
        mean = theirs[theirs["dataset"] == dataset].set_index("sampler")["accuracy_mean"]
        assert gaps.at["p", f"paper_{dataset}"] == pytest.approx(mean["p"] - mean["unif"])


def test_gaps_are_to_unif_of_the_same_augmentation_budget_and_task():
    base = {"dataset": "digits", "schedule": "linear"}
    runs = [({**base, "sampler": "unif", "augment": a, "budget": b}, [v] * 3) for a, b, v in (
        ("standard", 0.3, 80.0), ("standard|ricap", 0.3, 70.0), ("standard", 0.5, 90.0))]  # fmt: skip
    runs.append(({**base, "sampler": "p", "augment": "standard|ricap", "budget": 0.3}, [72.0] * 3))
    runs.append(({**base, "dataset": "mnist", "sampler": "p", "augment": "standard", "budget": 0.3}, [99.0] * 3))
    gaps = compare("table3", frame(*runs)).gaps
    assert gaps[(gaps["sampler"] == "p") & (gaps["dataset"] == "digits")]["gap"].tolist() == [2.0]
    assert gaps[gaps["dataset"] == "mnist"]["gap"].isna().all()  # no unif there


def test_what_is_missing_and_what_it_costs():
    found = compare("table3", frame((official(**RICAP), [94.0])))
    missing = found.missing
    assert len(missing) == 80
    one = missing.query("dataset == 'cifar10' and augment == 'standard|ricap' and sampler == 'unif' and budget == .3")
    assert one["examples"].tolist() == [round(2 * 0.3 * 200 * EXAMPLES["cifar10"])]
    full = missing.query("dataset == 'cifar100' and sampler == 'sgd' and augment == 'standard'")
    assert full["examples"].tolist() == [3 * 200 * 50_000]


@pytest.mark.parametrize("table", [f"table{number}" for number in range(1, 7)])
def test_every_table_is_compared_and_shown(table):
    runs = frame(
        (official(**RICAP), [94.0, 95.0, 96.5]),
        ({"dataset": "digits", "schedule": "linear", **RICAP}, [70.0, 71.0, 72.0]),
    )
    found = compare(table, runs)
    assert (
        len(found.cells) + sum(t == table[5:] for t, _ in paper.OPEN) * 2
        == (paper.numbers()["table"] == table[5:]).sum()
    )
    assert views.said(found).startswith(table)
    for text in (views.markdown(found), views.latex(found)):
        assert "nan" not in text.lower()
    assert views.figure(found).layout.title.text


def test_the_best_of_a_budget_is_bold():
    runs = [({"dataset": "digits", "schedule": "linear", "augment": a, "sampler": "unif", "budget": 0.3}, [v] * 3)
            for a, v in (("standard", 80.0), ("standard|ricap", 85.0), ("standard|mixup", 82.0))]  # fmt: skip
    text = views.latex(compare("table3", frame(*runs)))
    assert text.count("textbf") == 1
    assert "\\textbf{85.00 $\\pm$ 0.00}" in text
    assert "ricap & unif-SGD" in text


def test_an_unknown_table_is_refused():
    with pytest.raises(InputError, match=r"table='tabel3' .* did you mean 'table3'"):
        compare("tabel3", frame((official(**RICAP), [94.0])))


def test_a_study_without_runs_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"has no finished runs to compare"):
        views.compare("table3", "nothing", tmp_path)
