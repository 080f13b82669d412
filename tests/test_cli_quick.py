"""What the command line says at once: without training nothing loads torch; every help has examples that work."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from run_folders import write_past, write_run
from test_cli import command  # noqa: F401 - a fixture

from iskit import files
from iskit.augment import augments
from iskit.cli import app
from iskit.data import datasets
from iskit.errors import InputError
from iskit.models import models
from iskit.runs.experiment import CHOICES, Experiment
from iskit.samplers import samplers
from iskit.training.schedules import schedules
from iskit.views import catalogue

ROOT = Path(__file__).parents[1]
COMMANDS = typer.main.get_command(app).commands
REGISTRIES = (samplers, augments, models, datasets, schedules)
PARTS = [(registry, name) for registry in REGISTRIES for name in registry]

# One process for all: a line each, of the words, the exit code, and whether torch has been imported.
AT_ONCE = """
import io, json, sys
from contextlib import redirect_stderr, redirect_stdout
from iskit.cli import main

for line in sys.stdin:
    sys.argv = ["iskit", *json.loads(line)]
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err:
        try:
            main()
            code = 0
        except SystemExit as end:
            code = end.code or 0
    print(json.dumps([sys.argv[1:], code, "torch" in sys.modules, out.getvalue() + err.getvalue()]))
"""


def test_what_needs_no_training_imports_no_torch(tmp_path):
    for seed in (1, 2):
        write_past(write_run(tmp_path / "outputs", study="s", seed=seed))
    good = ["--help", "--version", *(f"{name} --help" for name in COMMANDS), "methods", "methods p", "models"]
    good += ["models wrn", "data", "data digits", "settings", "settings schedule", "results", "results s"]
    good += ["results s --where sampler=unif-SGD --markdown"]
    bad = ["rn", "run bugdet=3", "run sampler=unfi", "sweep augment=[standard,mixpu]", "run sampler=p(smoth=True)"]
    bad += ["run lr=x", "methods unfi", "results z"]
    asked = {0: [words.split() for words in good], 2: [words.split() for words in bad]}
    lines = "".join(json.dumps(words) + "\n" for many in asked.values() for words in many)
    done = subprocess.run(
        [sys.executable, "-c", AT_ONCE], input=lines, capture_output=True, text=True, timeout=120,
        env={"PYTHONPATH": str(ROOT), "ISKIT_ROOT": str(tmp_path), "PATH": ""},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(told) == sum(map(len, asked.values()))
    for words, code, torch, said in told:
        assert not torch, words
        assert words in asked[code], said
        assert said


def test_the_catalogue_is_what_the_parts_say():
    assert files.read_json(catalogue.PATH) == json.loads(json.dumps(catalogue.made())), "run `make readme`"


def test_a_part_that_the_catalogue_does_not_know_is_asked(monkeypatch):
    """As when somebody adds a sampler: its file is found by itself."""
    monkeypatch.setattr(catalogue, "declared", lambda: "of other files")
    catalogue.entries.cache_clear()

    @samplers.register("a-new-one")
    class New(samplers["unif"]):
        __doc__ = sys.modules[samplers["unif"].__module__].__doc__

    try:
        assert "a-new-one" in [entry["name"] for entry in catalogue.entries()]
    finally:
        samplers._parts.pop("a-new-one")
        samplers._names.pop("a-new-one")
        catalogue.entries.cache_clear()


@pytest.mark.parametrize(("registry", "name"), PARTS)
def test_every_option_says_what_it_means(registry, name):
    meanings = registry.meanings(name)
    assert list(meanings) == list(registry.options(name))
    for meaning in meanings.values():
        assert 0 < len(meaning) < 350
        assert not meaning.endswith((".", ";", ","))


@pytest.mark.parametrize(
    "spec",
    ["unfi", "p(smoth=False)", "p(smooth=1)", "gnorm(score='x')", "gnorm(tau_min='a')", "p(", "ordered(ladder=3)"],
)
def test_a_misspelt_part_is_refused_in_the_part_s_own_words(spec):
    with pytest.raises(InputError) as own:
        samplers.parse(spec)
    for value in (spec, ["unif", spec]):
        with pytest.raises(InputError) as quick:
            catalogue.check_specs({"sampler": value})
        assert str(quick.value) == str(own.value)


def test_what_the_parts_take_the_catalogue_takes():
    good = {
        "sampler": ["SB(beta=3)", "gnorm(tau_min=None, score='loss')", "ordered(ladder=(50,))", "./my.py:Mine(a=1)"]
    }
    good |= {
        "augment": "standard|mixup(alpha=1)",
        "dataset": "parquet(path='x')",
        "model": "ResNet-18",
        "schedule": "LLR",
    }
    catalogue.check_specs(good)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_examples_of_every_help_are_understood(name):
    one = COMMANDS[name]
    assert "\b\nExamples:\n" in one.epilog
    examples = [line.strip() for line in one.epilog.splitlines() if line.startswith("  ")]
    assert examples
    for example in examples:
        iskit, said, *words = shlex.split(example.partition(" > ")[0])
        assert (iskit, said) == ("iskit", name)
        one.make_context(name, words)  # raises a usage error for what it does not know
        for word in words:
            if word.startswith("params/"):
                assert (ROOT / word).is_file(), word


def test_every_setting_is_listed_with_its_default(command):  # noqa: F811
    code, out, _ = command("settings")
    assert code == 0
    rows = {line.split()[0]: line.split()[1] for line in out.splitlines()[1:] if not line.startswith(" ")}
    defaults = {name: str(value) for name, value in vars(Experiment()).items()}
    assert {name: rows[name].lower() for name in defaults} == {name: text.lower() for name, text in defaults.items()}
    for name, text in Experiment.help().items():
        assert text in " ".join(out.split())
        assert command("settings", name)[0] == 0
    assert f"one of {', '.join(CHOICES['unit'])}" in command("settings", "unit")[1]
    assert "cosine" in command("settings", "schedule")[1]
    assert command("settings", "lrr")[2] == "iskit: setting 'lrr' is unknown: did you mean 'lr'?\n"


@pytest.mark.parametrize(("words", "registry"), [("models", models), ("data", datasets)])
def test_networks_and_data_sets_are_listed(command, words, registry):  # noqa: F811
    out = command(words)[1]
    for name in registry:
        assert f"\n{name} " in f"\n{out}"
        said = command(words, name.upper())[1]
        assert f"{name} ({registry.kind}" in said
        for option in registry.options(name):
            assert f" {option}=" in said


def test_the_gpu_s_bench_without_a_gpu_is_one_line(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "iskit.bench.gpu"], capture_output=True, text=True, timeout=120, cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "", "PATH": ""},
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith("iskit: device='cuda' is not there")
