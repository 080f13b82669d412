"""What the explorer's page holds: the runs as they are, their curves thinned, verdicts in full, the paper beside."""

import functools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from iskit import files
from iskit.errors import InputError
from iskit.judging import contrasts
from iskit.judging.compare import CELL, PROTOCOL, TABLES, by_protocol, compare, paper_gaps
from iskit.judging.contrasts import Contrast, Settings, settings_of
from iskit.judging.findings import findings
from iskit.judging.verdict import BETTER, COLLAPSED, WORSE, Judgement, judge
from iskit.study import packed, plan
from iskit.study.archive import KEYS, also_varies, correct_of, history_of, ranked_counts_of, told_apart_by
from iskit.study.pack import thinned
from iskit.study.status import STATES, standing
from iskit.views.plots import ACCURACY, BUDGETS, TICKS, amount, color, dashes, label
from iskit.views.verdict import contrasts_in

PAST = ("t", "accuracy", "train_accuracy", "loss", "train_loss")  # of a history, to DIGITS
DIGITS = 6
RANKS = 41  # places along a run's counts, from the most to the least trained example
SHAPES = {BETTER: "up", WORSE: "down", COLLAPSED: "cross"}  # of points, by their word; of all others: a dot


def hold(frame: pd.DataFrame, base: Path) -> dict[str, Any]:
    """Everything that the page knows, as JSON values; a value that is no number, or not finite, is None.

    frame: of `iskit.results`, not empty; base: the folder of its studies.

    columns: the frame's, `path` from the project on; a column is a list, or `words` and `at`, places in them.
    point: of each run its configuration, a row of `iskit.over_seeds`. past, ranks: of each run, None if not readable.
    studies: their findings. families: judgements, each arm with its points. paper: cells of the same protocol, with
    the points that lie beside them.
    """
    frame = frame.reset_index(drop=True)
    shown = frame.assign(path=[_path(path) for path in frame["path"]])
    point = frame.groupby([*KEYS, *also_varies(frame)], sort=False, dropna=False).ngroup()
    families, studies = [], []
    for study, part in frame.groupby("study", sort=False):
        boxes = {box[0].path: box[0] for path in part["path"] if (box := packed.of(path))}
        loose = any(not packed.of(path) for path in part["path"])
        judged, sentences, notes = _judged(str(study), part, boxes.values(), base if loose else None)
        families += [_family(str(study), one, part, point) for one in judged]
        notes += _unfinished(str(study), base) if loose else []
        shipped = not loose and {path.resolve().parent for path in boxes} == {(base / packed.SHELF).resolve()}
        notes = [_handed_on(note, base) for note in notes]
        studies.append({"name": study, "shipped": shipped, "sentences": sentences, "notes": notes, "runs": len(part)})
    samplers = list(dict.fromkeys(frame["sampler"]))
    amounts = [amount(*both) for both in zip(frame["budget"], frame["unit"], strict=True)]
    order = frame.assign(amount=amounts, seconds=frame["unit"] == "seconds").sort_values(["seconds", "budget"])
    left_out = {_path(path): _handed_on(wrong, base) for path, wrong in frame.attrs.get("damaged", {}).items()}
    return {
        "columns": {str(name): _column(shown[name]) for name in shown},
        "point": point.tolist(),
        "amount": _column(pd.Series(amounts)),
        "amounts": list(dict.fromkeys(order["amount"])),
        "others": [name for name in told_apart_by(frame) if name not in ("study", "dataset", "model")],
        "past": [_past(path) for path in frame["path"]],
        "ranks": [_ranks(path) for path in frame["path"]],
        "samplers": {spec: {"label": label(spec), "color": color(spec)} for spec in samplers},
        "dashes": dashes(samplers),
        "studies": studies,
        "families": families,
        "paper": _paper(frame, point),
        "protocol": f"{PROTOCOL['model']}, {PROTOCOL['epochs']} epochs, batches of {PROTOCOL['batch_size']}",
        "left_out": left_out,
        "texts": {"accuracy": ACCURACY, "budgets": BUDGETS, "ticks": TICKS},
    }


def _path(path: str) -> str:
    """From the project on, or the file's own name on: a page that is handed on says nothing of the machine."""
    whole = Path(path)
    try:
        return whole.resolve().relative_to(files.root().resolve()).as_posix()
    except ValueError:
        return "/".join(whole.parts[-2:])


def _handed_on(text: str, base: Path) -> str:
    return text.replace(f"{base}/", f"{base.name}/").replace(f"{files.root()}/", "")


def _column(values: pd.Series) -> Any:
    plain = [_plain(value) for value in values]
    words = list(dict.fromkeys(plain))
    if any(isinstance(value, bool) for value in words) or 2 * len(words) > len(plain):  # True is 1 as a key
        return plain
    place = {word: number for number, word in enumerate(words)}
    return {"words": words, "at": [place[value] for value in plain]}


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or value is pd.NA or (isinstance(value, float) and not np.isfinite(value)):
        return None
    return value if isinstance(value, bool | int | float) else str(value)


def _rounded(values: Iterable[float]) -> list[float | None]:
    return [_plain(float(f"{value:.{DIGITS}g}")) for value in values]


def _past(path: str) -> dict[str, list[float | None]] | None:
    try:
        past = thinned(history_of(path))
    except InputError:
        return None
    return {name: _rounded(past[name]) for name in PAST if name in past}


def _ranks(path: str) -> list[int] | None:
    try:
        counts = ranked_counts_of(path)
    except InputError:
        return None
    return counts[np.linspace(0, len(counts) - 1, RANKS).round().astype(int)].tolist() if len(counts) else None


def _judged(
    study: str, part: pd.DataFrame, boxes: Iterable[packed.Packed], base: Path | None
) -> tuple[list[Judgement], list[str], list[str]]:
    """The families of a study by its files' contrasts, packed or in its folder (of `base`, if it has one), else every
    sampler against unif and every look against standard; what they say, and what could not be judged."""
    try:
        section = (plan.contrasts_of(plan.kept(study, base)) if base else {}) | contrasts_in(boxes)
        named = contrasts.read(section) if section else []
    except InputError as error:
        section, named = {}, []
        wrong = [f"Its contrasts cannot be read: {error}."]
    else:
        wrong = []
    if not section:
        found = findings(part)
        return [*found.which, *found.how], list(found.sentences), [*wrong, *found.notes]
    judged, notes = [], wrong
    for contrast in named:
        try:
            judged.append(judge(contrast, part, correct=correct_of, families=len(named)))
        except InputError as error:
            notes.append(f"Not judged yet: {error}.")
    return judged, [one.sentence for one in judged], notes


def _family(study: str, judgement: Judgement, part: pd.DataFrame, point: pd.Series) -> dict[str, Any]:
    contrast, table = judgement.contrast, judgement.table
    settings = settings_of(part)
    arms = []
    if "difference" in table:
        for told, title, row in zip(contrast.arms, contrast.titles, table.to_dict("records"), strict=True):
            runs = _matching(settings, told)
            numbers = ("difference", "low", "high", "p", "seeds", "collapsed")
            arms.append(
                {
                    "name": _arm(contrast, told, title),
                    "sampler": told.get("sampler"),
                    "word": row["word"],
                    "shape": SHAPES.get(row["word"], "dot"),
                    "points": sorted(set(point[runs].tolist())),
                    "paper": _gaps(contrast, told, part.loc[runs]),
                    **{name: _plain(row[name]) for name in numbers},
                }
            )
    return {
        "study": study,
        "name": contrast.name,
        "against": _reference(contrast),
        "of_unif": contrast.reference.get("sampler") == "unif" and _differ(contrast) == {"sampler"},
        "measure": contrast.measure.replace("_", " "),
        "margin": contrast.margin,
        "sentence": judgement.sentence,
        "notes": judgement.notes,
        "arms": arms,
    }


def _matching(settings: pd.DataFrame, told: Settings) -> pd.Index:
    same = pd.Series(True, index=settings.index)
    for name, value in told.items():
        same &= settings[name] == value
    return settings.index[same]


def _differ(contrast: Contrast) -> set[str]:
    """The settings in which some arm is not the reference."""
    return {key for arm in contrast.arms for key, value in arm.items() if contrast.reference.get(key) != value}


def _arm(contrast: Contrast, told: Settings, title: str) -> str:
    """What one types, where arms differ in one thing; else as the verdict names it."""
    match sorted(_differ(contrast)):
        case ["sampler"]:
            return label(told["sampler"])
        case ["augment"]:
            return str(told["augment"])
    return title


def _reference(contrast: Contrast) -> str:
    base = contrast.reference
    match sorted(_differ(contrast)):
        case ["sampler"]:
            return label(base["sampler"])
        case ["augment"]:
            return f"{base['augment']}, with {base['sampler']}" if "sampler" in base else str(base["augment"])
    return contrast.against


_theirs = functools.cache(paper_gaps)


def _gaps(contrast: Contrast, told: Settings, runs: pd.DataFrame) -> list[dict[str, Any]]:
    """The paper's gaps to unif at the same place of its tables, of each of its data sets."""
    if _differ(contrast) != {"sampler"} or contrast.reference["sampler"] != "unif" or contrast.measure != "accuracy":
        return []
    runs = runs[runs["unit"] == "backward"]
    cells = runs[CELL].drop_duplicates()
    if len(cells) != 1:
        return []
    found: dict[str, dict[str, Any]] = {}
    for table in TABLES:
        for row in _theirs(table).merge(cells, on=CELL).to_dict("records"):
            for name, value in row.items():
                if str(name).startswith("paper_") and not np.isnan(value):
                    data = str(name).removeprefix("paper_")
                    found.setdefault(data, {"data": data, "table": table, "gap": round(float(value), 2)})
    return list(found.values())


def _paper(frame: pd.DataFrame, point: pd.Series) -> list[dict[str, Any]]:
    """The paper's accuracies where runs of its very protocol lie beside them, and nowhere else."""
    same = by_protocol(frame)
    found = []
    for table in TABLES if same.any() else []:
        cells = compare(table, frame[same]).cells
        for cell in cells[cells["seeds"] > 0].to_dict("records"):
            beside = same.copy()
            for name in ("dataset", *CELL):
                beside &= frame[name] == cell[name]
            known = {"table": table, "accuracy": cell["paper"], "deviation": _plain(cell["paper_std"])}
            found.append({**known, "points": sorted(set(point[beside].tolist()))})
    return found


def _unfinished(study: str, base: Path) -> list[str]:
    """What of a study is not finished yet."""
    try:
        now = standing(study, base)
    except InputError:
        return []
    rest = [f"{count} {state}" for state in STATES[1:] if (count := now.count(state))]
    done = f"{now.count('finished')} of {len(now.runs)} runs are finished"
    return [f"The study is not whole: {done} ({', '.join(rest)}); iskit status {study} tells more."] if rest else []
