"""What the command line shows of a study: tables that fit a terminal, and durations in words."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import isnan
from typing import TYPE_CHECKING, Any

import pandas as pd
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.table import Table
from rich.text import Text

from iskit.errors import InputError, suggest
from iskit.inputs import parse_yaml
from iskit.study.archive import KEYS, also_varies, over_seeds, told_apart_by
from iskit.views.catalogue import registries

if TYPE_CHECKING:
    from iskit.study.status import Standing  # imports torch, which a table of results does not need

LEGEND = {
    "seconds": "of training and scoring",
    "saved %": "of these seconds, against full sgd; preparation (proxy runs) is in neither",
    "cost": "forward and backward passes as a share of the full run's",
    "entropy": "of the sample counts, in nats",
    "trained": "examples",
}
UNITS = (("d", 86400), ("h", 3600), ("min", 60))
ACCURACY = "accuracy %"
SPENT = ("seeds", "seconds", "saved %", "cost", "entropy", "trained")
GAP = 2  # characters between columns


class Fitted:
    """A table of text for a terminal: its naming columns are whole at any width. What is the same in all rows, of these
    and of those that are `also` meant, is said once above it. Where it is too wide, its further columns go on below,
    the naming ones again beside them; or, if it is known how to get the `whole`, those that fit are shown, and a line
    names the others."""

    def __init__(
        self, frame: pd.DataFrame, names: Sequence[str], title: str = "", whole: str = "", also: Sequence[str] = ()
    ):
        self.title, self.whole = title, whole
        same = [name for name in frame if len(frame) > 1 and frame[name].nunique() == 1]
        self.said = {name: frame[name].iloc[0] for name in same if name in names or name in also}
        self.frame = frame.drop(columns=list(self.said))
        self.names = [name for name in names if name in self.frame]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        if self.title:
            yield Text(self.title, style="italic")
        if self.said:
            yield Text(", ".join(f"{name} {value}" for name, value in self.said.items() if value), style="dim")
        block, *others = self.blocks(options.max_width)
        yield self.table(block)
        if self.whole and others:
            hidden = ", ".join(name for more in others for name in more)
            yield Text(f"no room for {hidden}: widen the terminal, or see {self.whole}", style="dim")
            return
        for more in others:
            yield Text("")
            yield self.table(more)

    def blocks(self, width: int) -> list[list[str]]:
        """The further columns, as many in each part as have room beside the naming ones, at least one."""
        wide = {name: max(map(cell_len, [name, *self.frame[name]])) + GAP for name in self.frame}
        room = width + GAP - sum(wide[name] for name in self.names)
        blocks: list[list[str]] = [[]]
        for name in self.frame:
            if name not in self.names:
                if blocks[-1] and sum(wide[one] for one in blocks[-1]) + wide[name] > room:
                    blocks.append([])
                blocks[-1].append(name)
        return blocks

    def table(self, columns: Sequence[str]) -> Table:
        table = Table(box=None, pad_edge=False)
        for name in self.names:
            table.add_column(name, overflow="fold")
        for name in columns:
            table.add_column(name, justify="right", no_wrap=True)
        for row in self.frame[[*self.names, *columns]].itertuples(index=False):
            table.add_row(*map(Text, row))
        return table


def accuracies(frame: pd.DataFrame) -> Iterator[Fitted]:
    """Mean and deviation over seeds of finished runs (of `iskit.results`), a table a task."""
    for (study, dataset, model), part in frame.groupby(["study", "dataset", "model"], sort=False):
        names = ["augment", "sampler", "budget", *told_apart_by(part)]
        rows = over_seeds(part).sort_values(["augment", *names[3:], "budget", "sampler"])
        yield Fitted(
            _as_text(rows, names), names, f"{study}: {model} on {dataset}", f"iskit results {study} --csv", SPENT
        )


def _as_text(rows: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """The rows of `over_seeds`, named by these columns; the numbers that matter most come first."""
    return pd.DataFrame(
        {
            **{name: rows[name].map(_plain) for name in names},
            ACCURACY: _with_deviation(rows),
            "seeds": rows["seeds"].map(str),
            "seconds": rows["seconds"].map("{:.2f}".format),
            "saved %": ["" if isnan(value) else f"{value:z.0f}" for value in rows["speedup"]],
            "cost": rows["equivalent_budget"].map("{:.3f}".format),
            "entropy": rows["entropy"].map("{:.3f}".format),
            "trained": rows["backward"].map("{:,.0f}".format),
        }
    )


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _with_deviation(rows: pd.DataFrame) -> list[str]:
    numbers = zip(rows["accuracy"], rows["deviation"], rows["seeds"], strict=True)
    return [f"{mean:.2f} ± {deviation:.2f}" if seeds > 1 else f"{mean:.2f}" for mean, deviation, seeds in numbers]


def explained(columns: Iterable[str]) -> str:
    """What those columns mean that do not say it."""
    return "; ".join(f"{name}: {LEGEND[name]}" for name in columns if name in LEGEND)


def chosen(frame: pd.DataFrame, where: Iterable[str]) -> pd.DataFrame:
    """The runs of `iskit.results` for which all of `KEY=VALUE` hold; a value may be a list, any of which will do.

    InputError for a key that is no column, and for what no run has.
    """
    for word in where:
        key, equals, text = word.partition("=")
        if not equals or key not in frame:
            known = [name for name in frame if frame[name].map(lambda value: not isinstance(value, dict | list)).all()]
            raise InputError(f"--where {word} must be KEY=VALUE with a column of the results: {suggest(key, known)}")
        value = parse_yaml(key, text)
        wanted = {_plain(_spelt(key, one)) for one in (value if isinstance(value, list) else [value])}
        there = frame[key].map(_plain)
        if not there.isin(wanted).any():
            known = there.unique()
            remedy = suggest(text, known) if isinstance(value, str) else f"known: {', '.join(sorted(known))}"
            raise InputError(f"--where {word} fits no run: {remedy}")
        frame = frame[there.isin(wanted)]
    return frame


def _spelt(key: str, value: Any) -> Any:
    """A spec in its canonical spelling, a whole number as the floating one that most columns hold."""
    if type(value) is int:
        return float(value)
    if key not in registries() or not isinstance(value, str) or ".py" in value:
        return value
    stages = [registries()[key].canonical(one) for one in (value.split("|") if key == "augment" else [value])]
    return "|".join(stage for stage in stages if stage != "none" or len(stages) == 1)


def arranged(frame: pd.DataFrame, by: Sequence[str], columns: str | None) -> tuple[pd.DataFrame, list[str]]:
    """Mean and deviation over seeds, a row a configuration: its numbers, and the names of what tells them apart.

    by: what comes first among these names; columns: the one that is spread over columns of accuracies, as text. What
    else varies stays a column of its own: nothing is averaged but seeds. InputError for an unknown name.
    """
    apart = list(dict.fromkeys([*KEYS, *also_varies(frame)]))
    for name in [*by, *([columns] if columns else [])]:
        if name not in apart:
            raise InputError(f"{name!r} does not tell these runs apart: {suggest(name, apart)}")
    rows = over_seeds(frame)
    always = [] if columns else ["augment", "sampler", "budget"]
    names = list(dict.fromkeys([*by, *always, *(name for name in apart if rows[name].nunique(dropna=False) > 1)]))
    if columns:
        names = [name for name in names if name != columns] or [name for name in by or ["sampler"] if name != columns]
    return rows.sort_values([*names, *([columns] if columns else [])]).reset_index(drop=True), names


def shown_by(rows: pd.DataFrame, names: Sequence[str], columns: str | None) -> pd.DataFrame:
    """The rows of `arranged` as text; spread over a setting's values, accuracies alone."""
    if columns is None:
        return _as_text(rows, names)
    heads = list(dict.fromkeys(rows.sort_values(columns)[columns].map(lambda value: f"{columns} {_plain(value)}")))
    spread = rows.assign(
        head=rows[columns].map(lambda value: f"{columns} {_plain(value)}"),
        text=_with_deviation(rows),
        **{name: rows[name].map(_plain) for name in names},
    )
    wide = spread.pivot(index=list(names), columns="head", values="text")[heads]
    order = pd.MultiIndex.from_frame(spread[list(names)].drop_duplicates())
    wide = wide.reindex(order if len(names) > 1 else order.get_level_values(0))
    return wide.fillna("").reset_index().rename_axis(columns=None)


def by_task(rows: pd.DataFrame, names: Sequence[str], by: Sequence[str], columns: str | None) -> Iterator[Fitted]:
    """The rows of `arranged` for a terminal: a table a task, named by what varies within it."""
    task = [name for name in ("study", "dataset", "model") if name not in (*by, columns)]
    for key, part in rows.groupby(task, sort=False) if task else [((), rows)]:
        here = [name for name in names if name not in task and part[name].nunique(dropna=False) > 1]
        here = list(dict.fromkeys([*by, *here])) or ["sampler"]
        title = ", ".join([*map(str, key), *([ACCURACY] if columns else [])])
        yield Fitted(shown_by(part, here, columns), here, title, "" if columns else "--csv", SPENT)


def csv(rows: pd.DataFrame, names: Sequence[str], columns: str | None) -> str:
    """The numbers in full: those of `over_seeds`, or accuracy and deviation spread over a setting's values."""
    if columns is None:
        return rows[[*names, *(name for name in rows if name not in names)]].to_csv(index=False)
    wide = rows.pivot(index=list(names), columns=columns, values=["accuracy", "deviation"])
    wide.columns = pd.Index([f"{number}, {columns} {_plain(value)}" for number, value in wide.columns])
    return wide.reset_index().to_csv(index=False)


def markdown(frame: pd.DataFrame) -> str:
    rows = [list(frame.columns), ["---"] * len(frame.columns), *frame.to_numpy().tolist()]
    return "".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |\n" for row in rows)


def latex(frame: pd.DataFrame) -> str:
    styled = frame.style.hide(axis="index").format(escape="latex").format_index(escape="latex", axis=1)
    return str(styled.to_latex(hrules=True)).replace("±", "$\\pm$")


def headline(standing: "Standing") -> str:
    """How many runs are in which state, and how long the rest will take, in one line."""
    from iskit.study.status import STATES

    counts = [f"{standing.count(state)} {state}" for state in STATES if standing.count(state)]
    return f"{standing.study}: {len(standing.runs)} runs: {', '.join(counts) or 'none'}; {time_left(standing)}"


def time_left(standing: "Standing") -> str:
    if standing.left is None:
        return "time left: known once a run of each kind has finished"
    if not standing.left:
        return "nothing left to train"
    running = standing.count("running")
    by = f"with the {running} that train now" if running > 1 else "on one worker"
    return f"time left: about {duration(standing.left / max(1, running))} {by}"


def open_runs(standing: "Standing") -> pd.DataFrame:
    """Of `standing.runs` those begun and not finished, as text: which, how far, since when and by whom, and why."""
    from iskit.study.status import SHOWN

    runs = standing.runs[~standing.runs["state"].isin(["finished", "missing"])]
    by = [
        f"{host}, process {process:.0f}" if isinstance(host, str) else ""
        for host, process in runs[["host", "process"]].itertuples(index=False)
    ]
    shown = runs[["state", *SHOWN]].assign(
        t=[f"{t:.2f}" if pd.notna(t) else "" for t in runs["t"]], said=runs["at"].fillna(""), by=by, error=runs["error"]
    )
    return shown.astype(object).where(shown.notna(), "").astype(str)


def of_frame(frame: pd.DataFrame, names: Sequence[str] = ()) -> Table:
    """A frame of text, of which only the columns that name nothing may be folded."""
    table = Table(box=None)
    for name in frame.columns:
        table.add_column(name, overflow="fold", no_wrap=name in names)
    for row in frame.itertuples(index=False):
        table.add_row(*map(Text, row))
    return table


def card(entry: Mapping[str, Any], about: Iterable[str]) -> Iterator[RenderableType]:
    """What is known of a part (of `catalogued`): its line, these fields of its card, and what each option does."""
    known_as = f", {entry['title']} in papers" if entry["title"] != entry["name"] else ""
    yield Text.assemble((entry["name"], "bold"), f" ({entry['kind']}{known_as}): {entry['summary']}")
    told = Table(show_header=False, box=None)
    for field in about:
        told.add_row(field, Text(entry[field] or "none"))
    if about:
        yield told
    yield Text("options" if entry["options"] else "options: none", style="bold")
    options = Table(show_header=False, box=None)
    for one in entry["options"]:
        default = "=..." if one["default"] is None else f"={one['default']}"
        choices = f" ({', '.join(map(str, one['choices']))})" if one["choices"] else ""
        options.add_row(Text(one["name"] + default), Text(one["meaning"] + choices))
    if entry["options"]:
        yield options


def duration(seconds: float) -> str:
    """`90` -> `1.5 min`: two digits, in the largest unit that gives at least one."""
    for unit, length in UNITS:
        if seconds >= length:
            return f"{seconds / length:.2g} {unit}" if seconds < 10 * length else f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def size(count: float) -> str:
    """Bytes: `2500000` -> `2.5 MB`."""
    return f"{count / 1e6:,.1f} MB"
