"""A number keeps its name: ids of finished runs never change, and what was revised has another."""

import json

import pytest

import iskit
from iskit.data import datasets
from iskit.models import models
from iskit.runs import experiment as module
from iskit.runs.experiment import Experiment
from iskit.runs.parts import canonical, revisions
from iskit.runs.run import Run
from iskit.study.archive import also_varies, over_seeds

OLD = {"study": "old", "dataset": "digits(limit=300)", "epochs": 10, "model": "cnn(width=8)", "evals": 5, "seed": 2}


def run_id(**settings) -> str:
    experiment = Experiment(**settings)
    return experiment.run_id(canonical(experiment), revisions(experiment))


@pytest.mark.parametrize(
    ("sampler", "known"),
    [
        ("p(smooth=False)", "p_smooth=False-0.3-standard-s2-9501e39f1c"),
        ("gnorm(presample=2, tau_min=1.0)", "gnorm_presample=2_tau_min=1.0-0.3-standard-s2-e103335697"),
        ("selective_backprop", "selective_backprop-0.3-standard-s2-169b394050"),
        ("selective_backpropagation", "selective_backprop-0.3-standard-s2-169b394050"),  # the official README's name
    ],
)
def test_the_ids_of_finished_runs_never_change(sampler, known):
    assert run_id(**OLD, sampler=sampler) == known


def test_a_revision_enters_the_id_and_is_that_of_part_and_setting():
    settings = {**OLD, "sampler": "selective_backprop(official=True)", "unit": "cost"}
    experiment = Experiment(**settings)
    found = revisions(experiment)
    assert found == {"selective_backprop(official=True)": 2, "unit=cost": 2}
    before = experiment.run_id(canonical(experiment), {})
    assert before == "selective_backprop_official=True-0.3-standard-s2-96f1111c28"  # as it was before any revision
    ids = {before, *(experiment.run_id(canonical(experiment), {key: 2}) for key in found), run_id(**settings)}
    ids.add(experiment.run_id(canonical(experiment), {**found, "unit=cost": 3}))
    assert len(ids) == 5
    assert revisions(Experiment(**OLD, sampler="selective_backprop")) == {}


def test_the_stages_of_a_pipeline_are_revised_each(monkeypatch):
    from iskit.augment import augments

    monkeypatch.setitem(augments._revised, "mixup", {"alpha=0.5": 2})
    monkeypatch.setitem(augments._revised, "standard", {"": 3})
    assert revisions(Experiment(augment="standard|mixup(alpha=0.5)")) == {"standard": 3, "mixup(alpha=0.5)": 2}
    assert revisions(Experiment(augment="none|mixup")) == {}


def test_a_later_setting_enters_the_id_only_when_it_is_not_at_its_default(monkeypatch):
    first, other = run_id(**OLD), run_id(**OLD, momentum=0.8)
    monkeypatch.setattr(module, "FIRST", tuple(name for name in module.FIRST if name != "momentum"))
    assert run_id(**OLD) != first  # not named
    assert run_id(**OLD, momentum=0.8) == other  # named as ever


def test_results_tell_runs_of_an_older_revision_apart(tmp_path):
    settings = {
        **OLD, "dataset": "digits(limit=100)", "sampler": "selective_backprop(official=True)", "unit": "cost",
        "budget": 0.6, "epochs": 3, "batch_size": 16, "model": "cnn(width=2)", "evals": 1,
    }  # fmt: skip
    experiment = Experiment(**settings)
    new = Run(experiment, tmp_path)
    new.train()
    assert iskit.results(outputs=tmp_path)["revision"].tolist() == ["selective_backprop(official=True):2, unit=cost:2"]
    assert new._says_its_settings()
    # A run made before: under the name that it had then, and it says nothing of revisions.
    old = new.path.with_name(experiment.run_id(canonical(experiment), {}))
    new.path.rename(old)
    result = json.loads((old / "result.json").read_text())
    del result["revisions"]
    (old / "result.json").write_text(json.dumps(result))
    again = Run(experiment, tmp_path)
    assert not again.finished
    again.train()
    frame = iskit.results(outputs=tmp_path)
    assert sorted(frame["revision"]) == ["", "selective_backprop(official=True):2, unit=cost:2"]
    assert also_varies(frame) == ["revision"]
    assert over_seeds(frame)["seeds"].tolist() == [1, 1]
    assert "revision" not in also_varies(frame[frame["revision"] == ""])


@pytest.mark.parametrize("name", list(datasets))
def test_noise_is_revised_in_all_data_sets(name):
    """Revision 1 drew the same labels for all seeds, before the validation set was held out."""
    options = datasets.options(name)
    path = "path='x', " if "path" in options and options["path"].default is options["path"].empty else ""
    assert datasets.revisions(f"{name}({path}noise=0.2)") == {f"{name}(noise)": 2}
    assert datasets.revisions(f"{name}({path}noise=0)") == {}


def test_networks_with_dropout_are_revised():
    """Revision 1 dropped the same for all seeds."""
    assert models.revisions("mlp") == {"mlp": 2}
    assert models.revisions("cnn") == models.revisions("resnet8") == {}
