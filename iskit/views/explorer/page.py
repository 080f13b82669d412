"""The explorer as HTML that needs nothing but itself: made, written, shown in a notebook, held against the runs."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files as resources
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from iskit import files
from iskit.errors import InputError
from iskit.judging.findings import Checked, Findings, findings
from iskit.study import packed
from iskit.study.archive import history_of, over_seeds, results
from iskit.study.folders import check_study
from iskit.views.explorer.held import hold

SCRIPTS = ("data.js", "state.js", "svg.js", "panels.js", "verdicts.js", "runs.js", "controls.js", "main.js")
HELD = re.compile(r'<script type="application/json" id="held">(.*?)</script>', re.DOTALL)
NOTHING = (
    "there are no finished runs to explore: train some, as iskit sweep params/samplers.yaml or the notebook "
    "00_quickstart do, or name a packed file, as outputs/reference/pilot.zip"
)


@dataclass(frozen=True)
class Explorer:
    """All that was found, to turn around: a notebook shows it, `write` makes a file of it, `check` holds it against the
    runs. frame: of `iskit.results`; html: the page, empty without runs; why: what to do then."""

    frame: pd.DataFrame
    html: str = ""
    why: str = NOTHING

    def write(self, path: Path) -> None:
        """InputError if there is nothing to write, or `path` is no place for a file."""
        if not self.html:
            raise InputError(self.why)
        if path.is_dir() or not path.parent.is_dir():
            raise InputError(f"{path} cannot be written: give the path of a file in a folder that is there")
        files.write_text(path, self.html)

    def check(self) -> Checked:
        """AssertionError names what on the page is not as the runs are. Without runs it checks nothing, and says so."""
        return check(self.html, self.frame) if self.html else Checked([f"Nothing was checked: {self.why}."])

    def findings(self) -> Findings:
        """Of the study with most runs."""
        sizes = self.frame["study"].value_counts() if self.html else pd.Series(dtype=int)
        return findings(self.frame if sizes.empty else self.frame[self.frame["study"] == sizes.index[0]])

    def _repr_html_(self) -> str:
        if not self.html:
            return f"<p>{escape(self.why)}</p>"
        # Its script fits the height to what is shown.
        style = "width: 100%; height: 900px; border: 0; display: block"
        return f'<iframe title="the explorer" style="{style}" srcdoc="{escape(self.html)}"></iframe>'


def read(studies: Sequence[str] = (), outputs: Path | None = None) -> pd.DataFrame:
    """The finished runs of some studies, as `iskit.results` reads them: folders under outputs/ and packed files; of all
    if none is named. A run that is in several of them counts once. InputError for a study that is not there."""
    base = outputs or files.root() / "outputs"
    if not studies:
        return results(None, base)
    frames = []
    for study in studies:
        if study.endswith(packed.ENDING):
            frames.append(results(str(_located(study)), base))
            continue
        if not ((base / study).is_dir() or packed.boxes(base, study)):
            check_study(study, base)
        frames.append(results(study, base))
    frame = pd.concat(frames, ignore_index=True)
    if len(frame):
        name = frame["study"] + "/" + frame["path"].map(lambda path: Path(path).name)
        frame = frame[~name.duplicated()].reset_index(drop=True)
    frame.attrs["damaged"] = {path: why for one in frames for path, why in one.attrs["damaged"].items()}
    return frame


def explore(studies: Sequence[str] = (), outputs: Path | None = None, view: str = "", strict: bool = True) -> Explorer:
    """The explorer of the finished runs of these studies (see `read`).

    view: what it shows first, as it stands behind the # of a page's address. Without any run its page is empty, and a
    notebook shows a sentence that says what to do. InputError for a study that is not there, or not readable; not
    strict: such a sentence.
    """
    base = outputs or files.root() / "outputs"
    try:
        frame = read(studies, base)
    except InputError as error:
        if strict:
            raise
        return Explorer(pd.DataFrame(), why=str(error))
    if frame.empty:
        return Explorer(frame)
    return Explorer(frame, page(hold(frame, base) | {"view": view.removeprefix("#")}))


def _located(study: str) -> Path:
    """A packed file as given, else relative to the project: a notebook's folder is not the project's."""
    path = Path(study)
    return path if path.exists() or path.is_absolute() else files.root() / path


def page(held: dict[str, Any]) -> str:
    """One HTML file. What is held stands in it as JSON that no text of it can end."""
    here = resources("iskit.views.explorer")
    text = {name: (here / name).read_text(encoding="utf-8") for name in ("page.html", "style.css", *SCRIPTS)}
    made = text["page.html"].replace("/* style */", text["style.css"])
    made = made.replace("/* script */", "".join(text[name] for name in SCRIPTS))
    data = json.dumps(held, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    for sign in "<>&\u2028\u2029":
        data = data.replace(sign, f"\\u{ord(sign):04x}")
    return made.replace("/* held */", data.encode("utf-8", "backslashreplace").decode())


def embedded(html: str) -> dict[str, Any]:
    """What a page holds."""
    found = HELD.search(html)
    if found is None:
        raise InputError("the page holds no results: make it anew with iskit report --explore")
    return json.loads(found.group(1))


def runs_of(held: dict[str, Any]) -> pd.DataFrame:
    """The frame that a page holds, with the number of each run's `point` (see `hold`)."""

    def decoded(column: Any) -> list[Any]:
        return column if isinstance(column, list) else [column["words"][place] for place in column["at"]]

    frame = pd.DataFrame({name: decoded(column) for name, column in held["columns"].items()})
    return frame.assign(point=held["point"])


def check(html: str, frame: pd.DataFrame) -> Checked:
    """Holds a page against the runs: its rows, its points against `iskit.over_seeds`, its curves against histories.

    AssertionError says what differs; a page without runs is nothing to check, and wrong too.
    """
    assert len(frame), "nothing is trained, so nothing can be checked"
    held = embedded(html)
    runs = runs_of(held)
    assert len(runs) == len(frame), f"the page holds {len(runs)} runs of {len(frame)}"
    for name in frame.columns.drop("path"):
        ours, theirs = runs[name].tolist(), frame[name].tolist()
        wrong = [row for row, both in enumerate(zip(ours, theirs, strict=True)) if not _same(*both)]
        assert not wrong, f"{name} of {frame['path'].iloc[wrong[0]]} is not what the page says"
    means = runs.groupby("point").agg(accuracy=("accuracy", "mean"), deviation=("accuracy", "std"))
    seeds = over_seeds(frame)
    assert len(means) == len(seeds), "the page averages other runs than iskit.over_seeds"
    for name in ("accuracy", "deviation"):
        assert np.allclose(means[name], seeds[name], equal_nan=True), f"{name} over seeds differs"
    curves = 0
    for path, past in zip(frame["path"], held["past"], strict=True):
        if past is not None:
            last = history_of(path).iloc[-1]
            assert np.isclose(past["accuracy"][-1], last["accuracy"], rtol=1e-5), f"the curve of {path} ends elsewhere"
            curves += 1
    return Checked(
        [
            f"{len(runs)} runs on the page are those of their files, in all {len(frame.columns)} columns.",
            f"{len(means)} points are means over the same seeds as in iskit.over_seeds.",
            f"{curves} curves end where their histories end.",
        ]
    )


def _same(shown: Any, true: Any) -> bool:
    if shown is None or shown != shown:
        return true is None or true != true or true is pd.NA or abs(true) == np.inf
    return bool(shown == true)
