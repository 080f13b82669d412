"""Ours beside the paper's, to look at: tables for the console, Markdown and LaTeX, a figure."""

from pathlib import Path

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from iskit.augment import Pipeline
from iskit.errors import InputError
from iskit.judging.compare import CELL, Comparison
from iskit.judging.compare import compare as beside
from iskit.judging.paper import AUGMENT
from iskit.samplers import samplers
from iskit.study.archive import results
from iskit.views.plots import PALETTE, styled

WORDS = {Pipeline.canonical(spec): word for word, spec in AUGMENT.items()}


def compare(table: str, study: str | None = None, outputs: Path | None = None) -> Comparison:
    """Sets the finished runs of a study beside a table of the paper (`table1` to `table6`). None: of all studies.

    InputError for another table, and if there are no runs at all.
    """
    frame = results(study, outputs)
    if frame.empty:
        raise InputError(
            f"study={study!r} has no finished runs to compare: train some, e.g. iskit sweep params/small/{table}.yaml"
        )
    return beside(table, frame[frame["unit"] == "backward"].reset_index(drop=True))


def exact(found: Comparison) -> pd.DataFrame:
    """The cells that were trained by the paper's protocol, as text."""
    cells = found.cells[found.cells["seeds"] > 0]
    return pd.DataFrame(
        {
            "data": cells["dataset"],
            **_place(cells),
            "paper": _with_deviation(cells["paper"], cells["paper_std"]),
            "ours": _with_deviation(cells["ours"], cells["std"]),
            "seeds": cells["seeds"].astype(str),
            "difference": cells["difference"].map(_signed),
            "in its deviations": cells["in_std"].map(_signed),
            "saved %": cells["speedup"].map(_whole),
            "paper's": cells["paper_speedup"].map(_whole),
        }
    )


def gaps(found: Comparison) -> pd.DataFrame:
    """The runs of other data, networks or lengths, as text: what they lie above unif, beside what the paper's do."""
    rows = found.gaps
    theirs = {
        f"paper {name.removeprefix('paper_')}": rows[name].map(_signed) for name in rows if name.startswith("paper_")
    }
    return pd.DataFrame(
        {
            "data": rows["dataset"],
            **_place(rows),
            "ours": _with_deviation(rows["ours"], rows["std"]),
            "seeds": rows["seeds"].astype(str),
            "above unif": rows["gap"].map(_signed),
            **theirs,
            "saved %": rows["speedup"].map(_whole),
        }
    )


def said(found: Comparison) -> str:
    """In one sentence: how many cells there are, and what is missing at what cost."""
    missing = found.missing
    there = len(found.cells) - len(missing)
    text = f"{found.table}: {there} of {len(found.cells)} cells are trained by the paper's protocol with its 3 seeds"
    if len(missing):
        text += f"; the others want {missing['examples'].sum() / 1e6:,.0f} million examples more, scoring not counted"
    if len(found.gaps):
        text += f"; {len(found.gaps)} of other data, networks or lengths are set beside it by their gaps to unif"
    return text + "."


def markdown(found: Comparison) -> str:
    """Sentence and tables."""
    parts = [said(found)]
    for title, table in (("By the paper's protocol", exact(found)), ("By gaps to unif, in points", gaps(found))):
        if len(table):
            rows = [list(table.columns), ["---"] * len(table.columns), *table.to_numpy().tolist()]
            lines = ["| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in rows]
            parts += [f"**{title}**", "\n".join(lines)]
    return "\n\n".join(parts) + "\n"


def latex(found: Comparison) -> str:
    """A table of ours a task, rows methods under augmentations, columns budgets, the best of a budget in bold."""
    cells = found.cells[found.cells["seeds"] > 0]
    ours = pd.concat([cells, found.gaps], ignore_index=True)
    tables = []
    for (data, schedule), part in ours.groupby(["dataset", "schedule"], sort=False):
        place = [part["augment"].map(_augmentation), part["sampler"].map(samplers.title)]
        text = _with_deviation(part["ours"], part["std"], " $\\pm$ ")
        index = pd.MultiIndex.from_arrays(place, names=["augmentation", "method"])
        shown = pd.DataFrame({"budget": part["budget"].to_numpy(), "text": text.to_numpy()}, index)
        best = part.groupby("budget")["ours"].transform("max").eq(part["ours"]).to_numpy()
        shown["text"] = np.where(best, "\\textbf{" + shown["text"] + "}", shown["text"])
        wide = shown.set_index("budget", append=True)["text"].unstack("budget").reindex(pd.Index(index.unique()))
        wide = wide.fillna("").rename(columns="{:g}".format)
        caption = f"{found.table} on {data}, {schedule} schedule: test accuracy in percent".replace("_", "\\_")
        tables.append(wide.style.format_index(escape="latex").to_latex(hrules=True, caption=caption))
    return "\n".join(tables)


def figure(found: Comparison) -> go.Figure:
    """Each of our gaps to unif against the paper's in the same cell; on the line both say the same. Of runs by the
    paper's protocol the accuracies themselves."""
    shown = go.Figure()
    cells = found.cells[found.cells["seeds"] > 0]
    pairs = [("paper", "ours", cells)] if len(cells) else []
    if not pairs:
        theirs = [name for name in found.gaps if name.startswith("paper_")]
        pairs = [(name, "gap", found.gaps[found.gaps["sampler"] != "unif"]) for name in theirs]
    for number, (x, y, rows) in enumerate(pairs):
        rows = rows[rows[x].notna() & rows[y].notna()]
        place = pd.DataFrame(_place(rows))
        shown.add_scatter(
            x=rows[x], y=rows[y], mode="markers", name=x.replace("paper_", "the paper's "),
            error_y={"array": rows["std"], "thickness": 1, "width": 3},
            marker={"size": 8, "color": PALETTE[number % len(PALETTE)]},
            text=[", ".join(map(str, one)) for one in place.itertuples(index=False)],
            hovertemplate="%{text}<br>paper %{x:.2f}, ours %{y:.2f}<extra></extra>",
        )  # fmt: skip
    ends = [value for trace in shown.data for value in (*trace.x, *trace.y)]
    if ends:
        shown.add_shape(type="line", x0=min(ends), y0=min(ends), x1=max(ends), y1=max(ends), line_color="#999999")
    what = "test accuracy (%)" if len(cells) else "points above unif"
    shown.update_xaxes(title_text=f"the paper's {what}")
    shown.update_yaxes(title_text=f"our {what}")
    return styled(shown, f"{found.table} beside the paper", 460, legend=len(pairs) > 1)


def _place(rows: pd.DataFrame) -> dict[str, pd.Series]:
    """The columns that say which cell it is, in the paper's words."""
    kinds = {"schedule": str, "augment": _augmentation, "sampler": samplers.title, "budget": "{:g}".format}
    names = {"augment": "augmentation", "sampler": "method"}
    return {names.get(name, name): rows[name].map(kinds[name]) for name in CELL}


def _augmentation(spec: str) -> str:
    return WORDS.get(spec, spec)


def _with_deviation(mean: pd.Series, std: pd.Series, between: str = " ± ") -> pd.Series:
    pairs = zip(mean, std, strict=True)
    return pd.Series(
        ["" if np.isnan(m) else f"{m:.2f}" if np.isnan(s) else f"{m:.2f}{between}{s:.2f}" for m, s in pairs], mean.index
    )


def _signed(value: float) -> str:
    return "" if np.isnan(value) else f"{value:+.2f}"


def _whole(value: float) -> str:
    return "" if np.isnan(value) else f"{value:z.0f}"
