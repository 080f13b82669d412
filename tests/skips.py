"""Where CI=true everything that can be installed is: a test skipped for want of it is a failure."""

import os
from collections.abc import Generator
from typing import Any

import pytest

# What no installation brings: reasons of skips hold one of these.
ELSEWHERE = ("GPU", "../shared", "platform")


def refuse(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Makes a skip for any other reason a failure that names the reason."""
    if os.environ.get("CI") != "true" or not report.skipped or hasattr(report, "wasxfail"):
        return
    assert isinstance(report.longrepr, tuple)
    file, line, reason = report.longrepr
    if not any(words in reason for words in ELSEWHERE):
        report.outcome = "failed"
        report.longrepr = (
            f"{file}:{line}: {reason}\nUnder CI=true only {', '.join(ELSEWHERE)} may be missing: install it."
        )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, Any, Any]:
    report = yield
    refuse(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, Any, Any]:
    report = yield
    refuse(report)
    return report
