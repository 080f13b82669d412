"""The property tests of what comes from outside, with 5,000 examples and more."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from toll import SHORT

pytestmark = pytest.mark.soak

OUTSIDE = Path(__file__).parents[1] / "outside"
EXAMPLES = 40 if SHORT else 500  # of each property test


@pytest.mark.parametrize("path", sorted(OUTSIDE.glob("test_*.py")), ids=lambda path: path.stem)
def test_property_tests(path, toll):
    tests = len(re.findall("^@campaign", path.read_text(encoding="utf-8"), re.MULTILINE))
    if not tests:
        pytest.skip("platform: no property test")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-n0", "-p", "no:cacheprovider", "--hypothesis-show-statistics", str(path)],
        env={**os.environ, "ISKIT_SOAK": str(EXAMPLES)},
        capture_output=True,
        text=True,
    )
    toll.processes = 1
    toll.examples = sum(map(int, re.findall(r"(\d+) passing\b", done.stdout)))
    if done.returncode != 0:
        toll.find("tracebacks", done.stdout[-3000:])
