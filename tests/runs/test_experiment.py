"""One configuration: what YAML texts mean, what is refused and how, which settings share a run, the notebook's cell."""

import ast
import dataclasses
import re
from typing import Any

import nbformat.v4
import pytest

from iskit.augment import Pipeline
from iskit.cli.words import read_settings
from iskit.errors import InputError
from iskit.inputs import read_yaml
from iskit.runs.experiment import BYSTANDERS, Experiment, check_names, parameters_cell
from iskit.samplers import samplers

FIELDS = {f.name: f for f in dataclasses.fields(Experiment)}


def parse(tmp_path, text: str) -> Experiment:
    path = tmp_path / "x.yaml"
    path.write_text(text, encoding="utf-8")
    return Experiment.parse(read_yaml(path))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("lr: 1e-3", {"lr": 0.001}),  # a string in YAML 1.1
        ("lr: '0.05'", {"lr": 0.05}),
        ("lr: 1", {"lr": 1.0}),
        ("budget: 1", {"budget": 1.0}),
        ("budget: 90\nunit: seconds", {"budget": 90.0, "unit": "seconds"}),
        ("batch_size: 128.0", {"batch_size": 128}),
        ("batch_size: '16'", {"batch_size": 16}),
        ("deterministic: yes", {"deterministic": True}),
        ("deterministic: 'True'", {"deterministic": True}),
        ("sampler: p(smooth=False)\naugment: standard|mixup", {"sampler": "p(smooth=False)"}),
        ("study: fig-1.b", {"study": "fig-1.b"}),
        ("seed: 4294967295", {"seed": 4294967295}),
    ],
)
def test_what_yaml_means(tmp_path, text, expected):
    experiment = parse(tmp_path, text)
    for name, value in expected.items():
        assert getattr(experiment, name) == value
        assert type(getattr(experiment, name)) is type(FIELDS[name].default)


@pytest.mark.parametrize(
    ("text", "name", "remedy"),
    [
        ("bugdet: 0.3", "'bugdet'", "did you mean 'budget'?"),
        ("batchsize: 3", "'batchsize'", "did you mean 'batch_size'?"),
        ("3: 4", "setting 3", "known: "),
        ("null: 4", "setting None", "known: "),
        ("budget: 0", "budget=0.0", "above 0 and at most 1"),
        ("budget: -0.1", "budget=-0.1", "above 0 and at most 1"),
        ("budget: 1.5", "budget=1.5", "at most 1, a share of the full run"),
        ("budget: '0.3x'", "budget='0.3x'", "must be a number"),
        ("budget: .nan", "budget=nan", "must be a number"),
        ("budget: 'nan'", "budget='nan'", "must be a number"),
        ("budget: .inf\nunit: seconds", "budget=inf", "must be a number"),
        ("budget: 1e999", "budget='1e999'", "must be a number"),
        ("budget: true", "budget=True", "must be a number"),
        ("budget: [0.1, 0.3]", "budget=[0.1, 0.3]", "must be a number"),
        ("budget: {a: 1}", "budget={'a': 1}", "must be a number"),
        ("budget:", "budget=None", "must be a number"),
        ("budget: 0\nunit: seconds", "budget=0.0", "above 0 seconds"),
        ("unit: hours", "unit='hours'", "backward, cost, seconds"),
        ("unit: backwards", "unit='backwards'", "backward, cost, seconds"),
        ("batch_size: 12.5", "batch_size=12.5", "must be a whole number"),
        ("batch_size: 0", "batch_size=0", "at least 1"),
        ("batch_size: many", "batch_size='many'", "must be a whole number"),
        ("epochs: 1" + 400 * "0", "epochs=1", "must be a whole number"),
        ("epochs: 0", "epochs=0", "at least 1"),
        ("evals: 0", "evals=0", "at least 1"),
        ("validation: -1", "validation=-1", "at least 0"),
        ("seed: -1", "seed=-1", "at least 0"),
        ("seed: 4294967296", "seed=4294967296", "below 2**32"),
        ("seed: [1, 2]", "seed=[1, 2]", "must be a whole number"),
        ("lr: 0", "lr=0.0", "above 0"),
        ("lr: 1e-3x", "lr='1e-3x'", "must be a number"),
        ("momentum: 1", "momentum=1.0", "below 1"),
        ("momentum: -0.1", "momentum=-0.1", "not be negative"),
        ("weight_decay: -1", "weight_decay=-1.0", "not be negative"),
        ("optimizer: adamw", "optimizer='adamw'", "sgd, adam"),
        ("device: gpu", "device='gpu'", "auto, cpu, cuda"),
        ("precision: fp16", "precision='fp16'", "bf16"),
        ("compile: on", "compile=True", "must be text"),  # `on` is true in YAML 1.1
        ("compile: never", "compile='never'", "auto, off"),
        ("deterministic: 1", "deterministic=1", "true or false"),
        ("deterministic: maybe", "deterministic='maybe'", "true or false"),
        ("sampler: 3", "sampler=3", "must be text"),
        ("dataset:", "dataset=None", "must be text"),
        ("study: ../x", "study='../x'", "plain folder name"),
        ("study: a/b", "study='a/b'", "plain folder name"),
        ("study: ''", "study=''", "plain folder name"),
        ("- budget: 0.3", "x.yaml holds no settings", "write one `key: value` a line"),
        ("just words", "x.yaml holds no settings", "write one `key: value` a line"),
        ("", "x.yaml holds no settings", "write one `key: value` a line"),
        ("budget: [0.3", "x.yaml is not readable YAML (line", "write one `key: value` a line"),
        ("budget: 0.3\nbudget 0.5", "x.yaml is not readable YAML (line", "write one `key: value` a line"),
        ("budget: \x07", "x.yaml is not readable YAML", "write one `key: value` a line"),
        ("lr: 2024-99-99", "x.yaml is not readable YAML", "write one `key: value` a line"),  # a date, says YAML
        ("seed: 1\nlr: 0.1\nseed: 2", "x.yaml gives 'seed' twice", "line 3"),
    ],
)
def test_bad_settings_are_refused_in_one_line_that_names_them(tmp_path, text, name, remedy):
    with pytest.raises(InputError) as error:
        parse(tmp_path, text)
    assert name in str(error.value)
    assert remedy in str(error.value)
    assert "\n" not in str(error.value)


def test_files_that_cannot_be_read_are_named(tmp_path):
    for path in (tmp_path / "absent.yaml", tmp_path):
        with pytest.raises(InputError, match=f"^{re.escape(str(path))} cannot be opened"):
            read_yaml(path)
    (tmp_path / "latin.yaml").write_bytes(b"study: caf\xe9")
    with pytest.raises(InputError, match=r"latin\.yaml is not readable YAML"):
        read_yaml(tmp_path / "latin.yaml")


def test_names_allowed_besides_the_fields():
    check_names(["budget", "seeds"], also=["seeds"])
    with pytest.raises(InputError, match="did you mean 'seeds'"):
        check_names(["sedes"], also=["seeds"])


def test_an_experiment_is_frozen_flat_and_documented():
    experiment = Experiment()
    with pytest.raises(dataclasses.FrozenInstanceError):
        experiment.budget = 0.5  # type: ignore[misc]
    with pytest.raises(TypeError):
        Experiment("playground")  # type: ignore[misc]
    assert all(isinstance(value, str | int | float | bool) for value in experiment.to_dict().values())
    assert Experiment.parse(experiment.to_dict()) == experiment
    assert list(Experiment.help()) == list(FIELDS)
    assert all(len(text) > 5 for text in Experiment.help().values())


OTHER: dict[str, Any] = {
    "study": "another", "dataset": "parquet(path='x')", "data_dir": "elsewhere", "validation": 100, "model": "resnet8",
    "sampler": "p", "augment": "none", "budget": 0.5, "unit": "cost", "epochs": 61, "batch_size": 33,
    "optimizer": "adam", "lr": 0.2, "schedule": "step", "momentum": 0.8, "weight_decay": 0.0, "seed": 2, "evals": 21,
    "device": "cpu", "precision": "float32", "compile": "off", "deterministic": True,
    "keep_model": True,
}  # fmt: skip


def run_id(**settings: Any) -> str:
    experiment = Experiment(**settings)
    canonical = {
        "sampler": samplers.canonical(experiment.sampler),
        "augment": Pipeline.canonical(experiment.augment),
    }
    return experiment.run_id(canonical)


@pytest.mark.parametrize("name", FIELDS)
def test_the_run_id_depends_on_what_determines_the_result(name):
    assert OTHER[name] != FIELDS[name].default
    same = run_id(**{name: OTHER[name]}) == run_id()
    assert same == (name in BYSTANDERS)


def test_keep_model_is_a_truth_value_or_a_number():
    for given, expected in ((True, True), ("false", False), (5, 5), ("5", 5), (0, 0)):
        value = Experiment(keep_model=given).keep_model
        assert value == expected
        assert type(value) is type(expected)
    for wrong in (-1, 1001, 2.5, "often", None):
        with pytest.raises(InputError, match="keep_model="):
            Experiment(keep_model=wrong)


def test_bystanders_are_what_cannot_change_a_number():
    assert set(BYSTANDERS) == {"study", "data_dir", "compile", "keep_model"}


def test_off_is_a_word_though_yaml_reads_it_as_false(tmp_path):
    (tmp_path / "off.yaml").write_text("compile: off")
    assert Experiment.parse(read_yaml(tmp_path / "off.yaml")).compile == "off"
    assert Experiment.parse(read_settings(["compile=off"])).compile == "off"
    with pytest.raises(InputError, match="compile=True"):
        Experiment.parse(read_settings(["compile=on"]))
    with pytest.raises(InputError, match="study=False must be text"):
        Experiment.parse(read_settings(["study=off"]))


def test_synonyms_share_a_run():
    one = run_id(sampler="p(smooth=False)", augment="standard|mixup", budget=1)
    assert one == run_id(
        sampler=" P-SGD( smooth = false, average=True)", augment="Standard | mixup(alpha=0.30)|none", budget=1
    )
    assert one == run_id(sampler="p(smooth=False)", augment="standard|mixup", budget="1.0", lr="1e-1")
    assert one != run_id(sampler="p", augment="standard|mixup", budget=1)
    assert one != run_id(sampler="p(smooth=False)", augment="mixup|standard", budget=1)


def test_a_run_id_is_a_readable_folder_name_and_stable():
    name = run_id(sampler="p(smooth=False, warmup=0.35)", augment="standard|mixup(alpha=0.3)", budget=0.05, seed=3)
    assert re.fullmatch(r"p_smooth=False_warmup=0\.35-0\.05-standard_mixup-s3-[0-9a-f]{10}", name)
    assert run_id() == run_id()


def test_the_parameters_cell_executes_and_gives_the_defaults():
    names: dict[str, Any] = {}
    exec(parameters_cell(), names)
    assert {name: names[name] for name in FIELDS} == Experiment().to_dict()


def test_papermill_reads_names_types_defaults_and_help_from_the_cell(tmp_path):
    from papermill import inspect_notebook

    cell = nbformat.v4.new_code_cell(parameters_cell(), metadata={"tags": ["parameters"]})
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    notebook = nbformat.v4.new_notebook(cells=[cell], metadata=kernel)
    nbformat.write(notebook, tmp_path / "n.ipynb")
    inspected = inspect_notebook(str(tmp_path / "n.ipynb"))
    assert list(inspected) == list(FIELDS)
    for name, read in inspected.items():
        assert read["inferred_type_name"] == type(FIELDS[name].default).__name__
        assert ast.literal_eval(read["default"]) == FIELDS[name].default
        assert read["help"] == Experiment.help()[name]
