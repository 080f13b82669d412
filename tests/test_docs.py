"""The pages lead somewhere: links resolve, modules that are named exist, floors and files are those of the code."""

import re
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

from iskit.inputs import read_yaml
from iskit.runs.experiment import Experiment
from iskit.runs.run import Run

ROOT = Path(__file__).parents[1]
PAGES = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in ROOT.glob("*.md")}
PAGES |= {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in ROOT.glob("docs/*.md")}
GUIDES = [name for name in PAGES if name not in ("CHANGELOG.md", "RECORDS.md")]  # those tell of former times


def anchors(text: str) -> set[str]:
    """The names under which GitHub finds a page's headings."""
    text = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


def exists(dotted: str) -> bool:
    """Whether `iskit.wing.module` or `iskit.wing.module.name` is there; a module is not imported for it."""
    parent, _, name = dotted.rpartition(".")
    if (ROOT / dotted.replace(".", "/")).with_suffix(".py").exists():
        return True
    try:
        return hasattr(import_module(parent), name)
    except ModuleNotFoundError:
        return False


@pytest.mark.parametrize("name", PAGES)
def test_links_resolve(name):
    here = ROOT / name
    links = re.findall(r"\]\(([^)\s]+)\)", PAGES[name]) + re.findall(r'src="([^"]+)"', PAGES[name])
    for link in links:
        if re.match(r"https?:", link):
            continue
        target, _, anchor = link.partition("#")
        path = (here.parent / target).resolve() if target else here
        assert path.exists(), link
        if anchor:
            assert anchor in anchors(path.read_text(encoding="utf-8")), link


def test_every_page_of_docs_is_found_from_the_readme():
    linked = set(re.findall(r"\]\((docs/\w+\.md)", PAGES["README.md"]))
    assert linked == {name for name in PAGES if name.startswith("docs/")}


@pytest.mark.parametrize("name", GUIDES)
def test_modules_and_names_exist(name):
    text = PAGES[name].replace("iskit/samplers/hardest.py", "")  # CONTRIBUTING's example, to be made
    for path in re.findall(r"(?<![\w/.])(?:iskit|tests|notebooks|params|docs)/[\w/.]*\w|iskit/\w+/", text):
        if not path.endswith("NAME"):
            assert (ROOT / path).exists() or list((ROOT / path).parent.glob(f"{Path(path).name}*")), path
    for wing, module in re.findall(r"\b(training|study|own|views|samplers|augment)/(\w+)", text):
        assert (ROOT / "iskit" / wing / f"{module}.py").exists(), f"{wing}/{module}"
    for dotted in re.findall(r"(?<![\w./])iskit(?:\.\w+)+", text):
        assert exists(dotted), dotted


def test_modules_that_moved_are_where_the_changelog_says():
    moved = re.findall(r"^\| `(iskit\.[\w.]+)` \| `(iskit\.[\w.]+)` \|$", PAGES["CHANGELOG.md"], flags=re.MULTILINE)
    assert len(moved) == 34
    for before, now in moved:
        assert exists(now), now
        assert not exists(before), before


def test_the_floors_are_those_of_the_contract():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    (floors,) = [contract["layers"] for contract in contracts if contract["name"] == "floors"]
    assert "```text\n" + "\n".join(floors) + "\n```" in PAGES["docs/architecture.md"]
    line = " > ".join(f"({floor})" if re.search("[|:]", floor) else floor for floor in floors)
    assert f"`{line}`" in PAGES["CONTRIBUTING.md"]


def test_files_md_names_all_that_a_run_leaves(tmp_path):
    settings = read_yaml(ROOT / "params" / "quickstart.yaml")
    tiny = {"model": "cnn(width=4)", "epochs": 2, "budget": 1.0, "sampler": "unif", "data_dir": str(tmp_path)}
    run = Run(Experiment.parse({**settings, **tiny, "keep_model": True}), tmp_path)
    result = run.train()
    files, keys, columns = PAGES["docs/files.md"].split("\n## ")[:3]
    told = set(re.findall(r"`([\w.]+)`", files))
    assert {path.name for path in run.path.iterdir()} <= told
    nested = {name for key, value in result.items() if isinstance(value, dict) and key != "versions" for name in value}
    told = set(re.findall(r"`(\w+)`", keys))
    assert set(result) <= told
    assert nested <= told
    assert set(run.trainer.history.frame().columns) <= set(re.findall(r"`(\w+)`", columns))


def test_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = {name for line in re.findall(r"^([\w ]+):", makefile, flags=re.MULTILINE) for name in line.split()}
    named = {name for page in GUIDES for name in re.findall(r"`make ([a-z]\w*)", PAGES[page])}
    assert named <= targets


def test_the_readme_s_pictures_are_light():
    pictures = [ROOT / source for source in re.findall(r'<img src="([^"]+)"', PAGES["README.md"])]
    assert len(pictures) == 2
    assert sum(path.stat().st_size for path in pictures) < 300_000
