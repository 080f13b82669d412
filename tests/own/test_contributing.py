"""The sampler printed in CONTRIBUTING.md is whole: saved as one file, it keeps the contract of all samplers."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest
import test_wrap
from test_wrap import same_proxy  # noqa: F401 - a fixture

from iskit.errors import InputError
from iskit.samplers import samplers
from iskit.training import contract

TEXT = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text(encoding="utf-8")
CODE = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)


@pytest.fixture
def hardest(tmp_path, monkeypatch):
    """Its name, while it is registered."""
    for attribute, value in vars(samplers).items():
        if isinstance(value, dict):
            monkeypatch.setattr(samplers, attribute, dict(value))
    path = tmp_path / "hardest.py"
    path.write_text(CODE[0], encoding="utf-8")
    spec = importlib.util.spec_from_file_location("iskit.samplers.hardest", path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return "hardest"


def test_it_is_one_short_file_in_the_order_told(hardest):
    assert len(CODE) == 1
    lines = CODE[0].split('"""\n', 2)[2].splitlines()  # below the card
    assert sum(bool(line.strip()) for line in lines) <= 25
    assert hardest in samplers
    assert f"iskit/samplers/{hardest}.py" in TEXT


def test_its_card_is_whole(hardest):
    assert samplers.card(hardest).neutral == "presample=1"
    assert list(samplers.options(hardest)) == ["presample"]


def test_it_is_plain_sgd_at_its_neutral_setting(hardest):
    test_wrap.test_at_its_neutral_setting_every_sampler_gives_the_batches_of_sgd(hardest)


@pytest.mark.parametrize("unit", ["backward", "cost"])
def test_it_lands_on_its_budget(hardest, unit, same_proxy):  # noqa: F811
    test_wrap.test_it_lands_on_its_budget_within_one_step(hardest, unit, same_proxy)


def test_it_runs_alike_in_the_trainer_and_in_ones_own_loop(hardest, same_proxy):  # noqa: F811
    test_wrap.test_batches_weights_and_parameters_are_those_of_the_trainer(hardest, same_proxy)


def test_it_keeps_its_promises_in_a_file_of_one_s_own(tmp_path, monkeypatch):
    monkeypatch.setenv("ISKIT_ROOT", str(tmp_path))
    (tmp_path / "hardest.py").write_text(CODE[0], encoding="utf-8")
    assert [(promise, wrong) for promise, wrong in contract.judge("./hardest.py:Hardest(presample=3)") if wrong] == []


def test_it_leaves_no_trace(hardest):
    test_wrap.test_scoring_leaves_no_trace_in_the_model_nor_in_random_states(hardest)


def test_it_goes_on_exactly_after_a_restart(hardest):
    test_wrap.test_a_saved_run_goes_on_exactly(hardest, 0, False)


def test_it_refuses_data_without_classes(hardest):
    test_wrap.test_data_without_classes_is_trained_or_refused_at_binding_time(hardest)


def test_it_trains_the_hardest(hardest):
    loader = test_wrap.wrapped(hardest)
    image, target = next(iter(loader))
    losses = test_wrap.LOSS(loader.model(image), target)
    plain = test_wrap.wrapped("hardest(presample=1)", batch_size=48)
    pool_image, pool_target = next(iter(plain))
    pool = test_wrap.LOSS(plain.model(pool_image), pool_target)
    assert losses.sort().values.tolist() == pytest.approx(pool.sort().values[24:].tolist())


def test_it_refuses_what_it_says_it_refuses(hardest):
    with pytest.raises(InputError, match="presample=0 must be 1"):
        samplers.create("hardest(presample=0)")
