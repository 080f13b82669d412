"""What the campaign of tests/soak found, put together at the session's end: outputs/soak/<time>.json."""

import os
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from iskit import files
from iskit.runs.summary import commit

ROOT = Path(__file__).parents[1]
rows: list[dict[str, Any]] = []
start = time.monotonic()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    # With xdist too these come to the process that leads.
    rows.extend(value for name, value in report.user_properties if name == "soak" and report.when == "teardown")


def pytest_sessionfinish(session: pytest.Session) -> None:
    if not rows or hasattr(session.config, "workerinput"):
        return
    about = {
        "at": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "commit": commit(),
        "seed": int(os.environ.get("ISKIT_SOAK_SEED", "1")),
        "short": bool(os.environ.get("ISKIT_SOAK_SHORT")),
        "cores": os.cpu_count(),
        "load_after": round(os.getloadavg()[0], 2),
        "versions": {name: version(name) for name in ("torch", "numpy", "pyarrow", "hypothesis")},
        "seconds": round(time.monotonic() - start, 1),
    }
    path = ROOT / "outputs" / "soak" / f"{about['at'][:19].replace(':', '')}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_json(path, {"about": about, "rows": sorted(rows, key=lambda row: row["what"])})
