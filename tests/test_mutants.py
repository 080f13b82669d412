"""Every patch in tests/mutants/ says what it breaks, applies to this tree, and names tests that are there.

That they fail under it is shown by `make mutants`.
"""

import ast
import re
import shutil
import subprocess

import pytest
from mutants import run
from mutants.run import ROOT, Mutant, apply, patches


def names(nodes: list[ast.stmt], prefix: str = "") -> set[str]:
    """Of functions and methods, as pytest writes them below a file."""
    found = set()
    for node in nodes:
        if isinstance(node, ast.FunctionDef):
            found.add(prefix + node.name)
        elif isinstance(node, ast.ClassDef):
            found |= names(node.body, f"{prefix}{node.name}::")
    return found


@pytest.mark.parametrize("path", patches(), ids=lambda path: path.stem)
def test_a_mutant_names_tests_that_are_there(path):
    mutant = Mutant.read(path)
    for test in mutant.tests:
        file, _, name = test.partition("::")
        assert name in names(ast.parse((ROOT / file).read_text(encoding="utf-8")).body), test


@pytest.mark.skipif(shutil.which("git") is None, reason="no git on this machine")
def test_every_mutant_applies():
    assert {path.stem: said for path in patches() if (said := apply(Mutant.read(path), ROOT, "--check"))} == {}


@pytest.mark.parametrize("header", ["", "# what: all\n", "# test: tests/a.py::test_b\n"])
def test_a_patch_without_a_header_is_refused(tmp_path, header):
    (tmp_path / "some.patch").write_text(f"{header}diff --git a/x b/x\n# what: of the diff\n# test: of the diff\n")
    with pytest.raises(ValueError, match=r"some\.patch must begin with"):
        Mutant.read(tmp_path / "some.patch")


TREE = {
    "sums.py": "one = 1\ntwo = 2\n",
    "test_sums.py": "from sums import one\ndef test_one():\n    assert one == 1\ndef test_all():\n    assert True\n",
}
PATCH = """# what: one
{tests}
diff --git a/sums.py b/sums.py
--- a/sums.py
+++ b/sums.py
@@ -1,2 +1,2 @@
-one = 1
+{broken}
 two = 2
"""


@pytest.mark.skipif(shutil.which("git") is None, reason="no git on this machine")
@pytest.mark.parametrize(
    ("broken", "tests", "why"),
    [
        ("one = 3", ["test_one"], r"$"),
        ("one = 3", ["test_one", "test_all"], r"not failed: test_sums.py::test_all \(exit code 1\)"),
        ("one = int(1)", ["test_one"], r"not failed: test_sums.py::test_one \(exit code 0\)"),
        ("one =", ["test_one"], r"not failed: test_sums.py::test_one \(exit code [24]\)"),  # an error of collection
    ],
)
def test_only_a_test_that_fails_notices_a_mutant(tmp_path, monkeypatch, broken, tests, why):
    tree = tmp_path / "tree"
    tree.mkdir()
    for name, text in TREE.items():
        (tree / name).write_text(text)
    subprocess.run(["git", "init", "-q"], cwd=tree, check=True)
    monkeypatch.setattr(run, "ROOT", tree)
    patch = tmp_path / "one.patch"
    patch.write_text(PATCH.format(broken=broken, tests="\n".join(f"# test: test_sums.py::{test}" for test in tests)))
    assert re.match(why, run.missed(Mutant.read(patch)))
    assert (tree / "sums.py").read_text() == TREE["sums.py"]
