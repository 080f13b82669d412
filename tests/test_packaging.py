"""What the project needs is written once, three times alike: pyproject.toml, environment.yml, constraints.txt. And what
the package's root may hold, and how the project is cited."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

import iskit

ROOT = Path(__file__).resolve().parents[1]
PYPROJECT = ROOT / "pyproject.toml"
PROJECT = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
DEVELOPMENT = PROJECT["optional-dependencies"]["dev"]
CONSTRAINTS = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()


def name(requirement: str) -> str:
    """`PyYAML>=6` -> `pyyaml`, as package indices compare names (PEP 503)."""
    return re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", requirement)[0]).lower()


def test_environment_yml_lists_the_dependencies_of_pyproject():
    """A conda environment: python, pip, and everything else in a pip section, so that both ways install the same."""
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    assert environment["name"] == PROJECT["name"]
    conda = [entry for entry in environment["dependencies"] if isinstance(entry, str)]
    (pip,) = [entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict)]
    assert {name(entry) for entry in conda} == {"python", "pip"}
    python = next(entry for entry in conda if name(entry) == "python")
    assert python.removeprefix("python").strip(" =") in {PROJECT["requires-python"], "3.11", "3.12", "3.13"}
    packages = [entry for entry in pip if not entry.startswith("-")]
    assert sorted(packages) == sorted(PROJECT["dependencies"])
    options = {entry for entry in pip if entry.startswith("-")}
    assert options <= {"-e .", "-c constraints.txt", "--constraint constraints.txt", "--editable ."}


def lines_of(section: str) -> list[str]:
    """The lines between `section = [` and `]` in pyproject.toml, comments and all."""
    text = PYPROJECT.read_text(encoding="utf-8")
    return re.search(rf"^{section} = \[\n(.*?)^\]", text, flags=re.DOTALL | re.MULTILINE)[1].splitlines()


@pytest.mark.parametrize(("section", "expected"), [("dependencies", PROJECT["dependencies"]), ("dev", DEVELOPMENT)])
def test_every_dependency_says_what_it_is_for(section, expected):
    lines = lines_of(section)
    assert len(lines) == len(expected) > 5
    assert [line for line in lines if not re.fullmatch(r'\s+"[^"]+",\s+# \S.{3,}', line)] == []


def test_dependencies_are_bounded_below_and_named_once():
    names = [name(requirement) for requirement in PROJECT["dependencies"]]
    assert len(set(names)) == len(names)
    assert [requirement for requirement in PROJECT["dependencies"] if ">=" not in requirement] == []


def test_constraints_pin_every_dependency_exactly_and_hold_no_address():
    pins = [line for line in CONSTRAINTS if line and not line.startswith("#")]
    assert [pin for pin in pins if not re.fullmatch(r"[A-Za-z0-9][\w.-]*==[\w.!+]+", pin)] == []
    assert not re.search(r"https?:|//|@|--", "\n".join(CONSTRAINTS))
    names = [name(pin) for pin in pins]
    assert len(set(names)) == len(names)
    assert {name(requirement) for requirement in (*PROJECT["dependencies"], *DEVELOPMENT)} <= set(names)


def test_constraints_satisfy_the_lower_bounds():
    pinned = dict(line.split("==") for line in CONSTRAINTS if "==" in line)
    pinned = {name(key): value for key, value in pinned.items()}

    def numbers(version: str) -> list[int]:
        return [int(part) for part in re.findall(r"\d+", version.split("+")[0])]

    for requirement in PROJECT["dependencies"]:
        assert numbers(pinned[name(requirement)]) >= numbers(requirement.split(">=")[1]), requirement


PACKAGE = ROOT / "iskit"


def test_no_exported_name_is_a_module_or_a_wing():
    """Importing such a module would hide the name."""
    assert set(iskit.__all__) & {path.stem for path in PACKAGE.iterdir()} == set()


def test_the_root_holds_only_what_all_stand_on():
    modules = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__"}
    assert len(modules) <= 9, f"a new module belongs into a wing: {sorted(modules)}"


def test_the_citation_is_of_this_version_and_names_the_study():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert cited["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= set(cited)  # what the format asks for
    assert (cited["version"], cited["license"]) == (PROJECT["version"], PROJECT["license"])
    (study,) = cited["references"]
    assert [author["family-names"] for author in study["authors"]] == [
        *("Arazo", "Ortego", "Albert", "O'Connor", "McGuinness")
    ]
    assert study["year"] == 2021


# The training path is what a cluster node needs: torch, torchvision, numpy, pandas, pyarrow, pillow. All else is for
# faces: notebooks, command line, tables, progress bars.
TRAINING = """
import sys

for name in (
    "pydantic typer rich click scipy sklearn papermill nbformat nbclient plotly kaleido ipywidgets IPython yaml tqdm "
    "filelock"
).split():
    sys.modules[name] = None  # importing it raises ImportError

import torch

torch.set_num_threads(1)
import iskit.augment, iskit.data, iskit.models, iskit.samplers, iskit.training.schedules, iskit.training.trainer

label = torch.arange(12) % 2
image = torch.zeros(12, 8, 8, 1, dtype=torch.uint8)
data = iskit.data.Dataset(image, label, image, label, (0.5,), (0.5,), ("a", "b"))
trainer = iskit.training.trainer.Trainer(
    iskit.models.models.create("cnn(width=2)", 2, 1, 8), data, iskit.samplers.samplers.create("unif"),
    iskit.augment.Pipeline.parse("standard|mixup"), budget=0.5, epochs=2, batch_size=4, lr=0.1,
    schedule=iskit.training.schedules.schedules["linear"],
)
print(list(trainer)[-1], len(trainer.history.frame()))
"""


def test_training_needs_no_package_of_the_faces():
    done = subprocess.run([sys.executable, "-c", TRAINING], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split() == ["1.0", "3"]
