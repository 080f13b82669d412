"""What the README says is so: the method table is the cards', the commands and files it names are there."""

import re
from pathlib import Path

from iskit.inputs import read_yaml
from iskit.judging import tune
from iskit.runs.experiment import check_names
from iskit.runs.grid import grid
from iskit.study import plan
from iskit.views.cards import methods_page, readme_tables

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_method_tables_are_made_from_the_cards():
    assert readme_tables() in README, "run `make readme`"


def test_the_page_of_methods_is_made_from_the_cards():
    assert methods_page() == (ROOT / "docs" / "methods.md").read_text(encoding="utf-8"), "run `make readme`"


def test_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text()
    named = set(re.findall(r"(?:`|^)make (\w+)", README, flags=re.MULTILINE))
    assert {"demo", "test", "lab", "check"} <= named
    for target in named:
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target


def test_files_exist():
    for path in re.findall(r"(?:notebooks|params)/[\w.-]+\.(?:ipynb|yaml)", README):
        assert (ROOT / path).exists(), path
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), target


def test_every_params_file_tells_its_command_and_what_to_expect():
    for path in (ROOT / "params").glob("*.yaml"):
        head = [line for line in path.read_text().splitlines() if line.startswith("#")]
        assert any(re.search(f"iskit (run|sweep) params/{path.name}", line) for line in head), path.name
        assert any("xpect" in line for line in head), path.name
        settings = read_yaml(path)
        check_names(settings, also=["seeds"])
        if not any("../shared" in str(value) for value in settings.values()):  # data that not everyone has
            grid(settings)


def test_every_file_to_be_tuned_tells_its_commands_and_what_to_expect():
    for path in (ROOT / "params" / "fair").glob("*.yaml"):
        task = tune.read(plan.read_file(path))
        head = [line for line in path.read_text().splitlines() if line.startswith("#")]
        for command in (f"tune params/fair/{path.name}", f"sweep outputs/{task.study}/tuned.yaml"):
            assert any(f"iskit {command}" in line for line in head), path.name
        assert any("xpect" in line for line in head), path.name
