"""On a CI machine a skip for want of what can be installed is a failure; what it cannot have may be missing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PLAIN = """
import pytest

@pytest.mark.skipif(True, reason="no Chromium or Chrome on this machine")
def test_one(): ...

def test_two():
    pytest.skip("no Chromium or Chrome on this machine")

@pytest.mark.skipif(True, reason="needs a GPU")
def test_three(): ...

@pytest.mark.xfail(strict=True)
def test_four():
    assert False

def test_five(): ...
"""
MODULE = 'import pytest\npytest.importorskip("no_such_package")\n'


@pytest.mark.parametrize(
    ("text", "ci", "code", "summary"),
    [
        (PLAIN, "", 0, "1 passed, 3 skipped, 1 xfailed"),
        (PLAIN, "true", 1, "1 failed, 1 passed, 1 skipped, 1 xfailed, 1 error"),
        (MODULE, "true", 2, "1 error"),
    ],
)
def test_a_skip_for_want_of_what_can_be_installed_fails_under_ci(tmp_path, text, ci, code, summary):
    (tmp_path / "test_some.py").write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "skips", "-p", "no:cacheprovider", str(tmp_path)],
        cwd=tmp_path,
        env={
            **os.environ,
            "CI": ci,
            "PYTHONPATH": str(Path(__file__).parent),
            "PYTEST_ADDOPTS": "",
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        },
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == code, done.stdout
    assert f"{summary} in " in done.stdout
    assert ("install it" in done.stdout) == (ci == "true")
