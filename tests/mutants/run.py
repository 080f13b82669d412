"""Breaks the code as each patch here says, in a copy of the tree, and wants the tests that the patch names to fail.

    python tests/mutants/run.py [NAME ...]    all, or those that are named; or `make mutants ONLY=NAME`

A patch is a `git diff` below two kinds of lines: `# what: ...`, what breaks, and `# test: tests/x/test_y.py::test_z`,
one or more, each of which must fail. All of them must pass where nothing is broken.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
TOO_LONG = 300  # seconds: a test that hangs notices nothing
# Of this tree alone, not of a repository around it, git would take a path of the patch for one of that.
ALONE = {**os.environ, "GIT_CEILING_DIRECTORIES": f"{ROOT.parent}{os.pathsep}{tempfile.gettempdir()}"}


@dataclass(frozen=True)
class Mutant:
    """what: one line; tests: those that must fail, as pytest names them, without parameters."""

    name: str
    what: str
    tests: tuple[str, ...]
    path: Path

    @classmethod
    def read(cls, path: Path) -> "Mutant":
        header = path.read_text(encoding="utf-8").partition("diff --git ")[0]
        told = {key: re.findall(rf"^# {key}: (.+)$", header, flags=re.MULTILINE) for key in ("what", "test")}
        if len(told["what"]) != 1 or not told["test"]:
            raise ValueError(f"{path.name} must begin with a line `# what: ...` and lines `# test: ...`")
        return cls(path.stem, told["what"][0], tuple(told["test"]), path)


def patches() -> list[Path]:
    return sorted(HERE.glob("*.patch"))


def apply(mutant: Mutant, tree: Path, *options: str) -> str:
    """Applies the patch to a tree; what git has against it, or nothing."""
    command = ["git", "apply", *options, str(mutant.path)]
    return subprocess.run(command, cwd=tree, env=ALONE, capture_output=True, text=True).stderr


def copied(tree: Path) -> None:
    """What git knows of the working tree, and what it does not ignore."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():  # not deleted
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, tree / name)


def pytest(tree: Path, tests: list[str], *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-q", "--tb=no", "-rf", "-p", "no:cacheprovider", *options, *tests]
    own = {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1", "PYTEST_ADDOPTS": "", "COLUMNS": "300"}
    return subprocess.run(
        command, cwd=tree, env={**os.environ, **own}, capture_output=True, text=True, timeout=TOO_LONG * len(tests)
    )


def missed(mutant: Mutant) -> str:
    """Why the mutant lives: what its tests did instead of failing; nothing if all of them fail."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder)
        copied(tree)
        if said := apply(mutant, tree):
            return f"the patch does not apply: {said}"
        try:
            done = pytest(tree, list(mutant.tests))
        except subprocess.TimeoutExpired:
            return "its tests hang"
        failed = {node.partition("[")[0] for node in re.findall(r"^FAILED (\S+)", done.stdout, flags=re.MULTILINE)}
        living = [test for test in mutant.tests if test not in failed]
        if done.returncode != 1 or living:
            return f"not failed: {', '.join(living)} (exit code {done.returncode})\n{done.stdout[-2000:]}{done.stderr}"
    return ""


def main(names: list[str]) -> int:
    chosen = [mutant for mutant in map(Mutant.read, patches()) if not names or mutant.name in names]
    if unknown := set(names) - {mutant.name for mutant in chosen}:
        print(f"no patch is named {', '.join(sorted(unknown))}: see {HERE.relative_to(ROOT)}/*.patch")
        return 2
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    tests = sorted({test for mutant in chosen for test in mutant.tests})
    whole = pytest(ROOT, tests, "-n", str(cores))
    if whole.returncode:
        print(f"where nothing is broken, not all of the named tests pass:\n{whole.stdout[-3000:]}{whole.stderr}")
        return 1
    with ThreadPoolExecutor(cores) as pool:
        living = 0
        for mutant, why in zip(chosen, pool.map(missed, chosen), strict=True):
            living += bool(why)
            print(f"{'LIVES  ' if why else 'noticed'}  {mutant.name}: {why or mutant.what}", flush=True)
    print(f"{len(chosen) - living} of {len(chosen)} mutants noticed")
    return int(living > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
