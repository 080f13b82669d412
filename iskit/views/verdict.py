"""A study's judgements to look at: sentences, tables for console and Markdown, a figure a family, one data frame."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from iskit import files
from iskit.errors import InputError, suggest
from iskit.inputs import parse_yaml, read_yaml
from iskit.judging import contrasts
from iskit.judging.findings import arm, findings
from iskit.judging.verdict import BETTER, COLLAPSED, WORSE, Correct, Judgement, judge, signed
from iskit.runs.experiment import Experiment
from iskit.study import packed, plan
from iskit.study.archive import correct_of, results
from iskit.views.plots import PALETTE, color, styled


@dataclass(frozen=True)
class Verdict:
    """The judgements of a study, in the order of its contrasts; a notebook shows it as its Markdown."""

    judgements: list[Judgement]

    def __iter__(self) -> Iterator[Judgement]:
        return iter(self.judgements)

    def __len__(self) -> int:
        return len(self.judgements)

    def __getitem__(self, name: str) -> Judgement:
        for one in self.judgements:
            if one.contrast.name == name:
                return one
        raise InputError(f"contrast={name!r} is unknown: {suggest(name, [one.contrast.name for one in self])}")

    @property
    def frame(self) -> pd.DataFrame:
        """A row an arm, all families below each other."""
        return pd.concat([one.table for one in self], ignore_index=True)

    @property
    def sentences(self) -> list[str]:
        return [one.sentence for one in self]

    def figure(self, name: str | None = None) -> go.Figure:
        """The figure of one family, the first if none is named."""
        return figure(self.judgements[0] if name is None else self[name])

    def markdown(self) -> str:
        return "\n\n".join(markdown(one) for one in self) + "\n"

    def _repr_markdown_(self) -> str:
        return self.markdown()


def verdict(
    study: str | Path,
    contrast: str | None = None,
    *,
    outputs: Path | None = None,
    chance: float | None = None,
    correct: Correct | None = correct_of,
) -> Verdict:
    """Judges the finished runs of a study by the contrasts that its file names beforehand.

    study: its YAML file, with `study` and `contrasts`; or the name of its folder under outputs/, or a packed file,
    judged by the study files kept there, else every sampler against unif. contrast: one of them; None: all. chance,
    correct: as for `judge`. InputError for a file, a study or a contrast that is not there, and for contrasts that
    cannot be judged.
    """
    section = None
    if str(study).endswith((".yaml", ".yml")):
        settings = read_yaml(study)
        section, study = settings.get("contrasts"), settings.get("study", Experiment().study)
    else:
        section = named_beforehand(str(study), outputs or files.root() / "outputs")
    frame = results(str(study), outputs)
    if frame.empty:
        base = outputs or files.root() / "outputs"
        known = [folder.name for folder in base.glob("*/") if any(folder.glob("*/result.json"))]
        raise InputError(
            f"study={str(study)!r} has no finished runs under outputs/: "
            + (suggest(str(study), known) if known else "train some first")
        )
    named = contrasts.default(frame) if section is None else contrasts.read(section)
    chosen = [one for one in named if contrast in (None, one.name)]
    if not chosen:
        raise InputError(f"contrast={contrast!r} is unknown: {suggest(str(contrast), [one.name for one in named])}")
    judged = [judge(one, frame, chance, correct, families=len(named)) for one in chosen]
    tuned = tuning(str(study), outputs or files.root() / "outputs")
    if tuned:
        judged = [replace(one, notes=[*one.notes, cost_of_tuning(tuned)]) for one in judged]
    return Verdict(judged)


def tuning(study: str, outputs: Path) -> dict[str, Any] | None:
    """What `iskit tune` left of the study, in its folder or packed: see `iskit.judging.tuning`; None if nothing."""
    path = outputs / f"{study}-tuning" / "tuned.json"
    if path.is_file():
        return files.read_json(path)
    return next(
        (json.loads(box.files["tuning.json"]) for box in _boxes(study, outputs) if "tuning.json" in box.files), None
    )


def cost_of_tuning(tuned: dict[str, Any]) -> str:
    """The trials that came before the runs, in one sentence."""
    arms = tuned["arms"]
    trials = sum(len(arm["trials"]) for arm in arms)
    examples = sum(arm["passes"].get("backward", 0) for arm in arms)
    return (
        f"the arms were tuned alike before, by {trials} trials ({examples:,.0f} examples trained, "
        f"{sum(arm['seconds'] for arm in arms) / 60:.1f} min of training), which are in no cost here"
    )


def named_beforehand(study: str, outputs: Path) -> dict[str, Any] | None:
    """The contrasts of the study files that a study was trained from, in its folder or packed; None without any."""
    found = {} if study.endswith(packed.ENDING) else plan.contrasts_of(plan.kept(study, outputs))
    return found | contrasts_in(_boxes(study, outputs)) or None


def contrasts_in(boxes: Iterable[packed.Packed]) -> dict[str, Any]:
    """What the study files in packed files name beforehand."""
    found: dict[str, Any] = {}
    for box in boxes:
        for name, text in box.plans.items():
            found |= parse_yaml(name, text).get("contrasts") or {}
    return found


def _boxes(study: str, outputs: Path) -> list[packed.Packed]:
    """The packed file that is meant, or those of the study."""
    return [packed.opened(Path(study))] if study.endswith(packed.ENDING) else packed.boxes(outputs, study)


def cells(judgement: Judgement) -> pd.DataFrame:
    """A judgement's table as text, a row an arm: what fits a terminal; the frame has all numbers."""
    table, contrast = judgement.table, judgement.contrast
    if contrast.trend:
        return pd.DataFrame({"step": table["arm"], "mean %": table["mean"].map("{:.2f}".format)})
    columns: dict[str, Any] = {"arm": table["arm"]}
    if contrast.ratio:
        columns[f"{contrast.ratio}, times"] = table["ratio"].map("{:.3f}".format)
        columns["interval"] = [f"{row.low:.3f} to {row.high:.3f}" for row in table.itertuples()]
        return pd.DataFrame(columns)
    columns["verdict"] = [
        f"{COLLAPSED} {row.collapsed} of {row.seeds}" if row.word == COLLAPSED else row.word
        for row in table.itertuples()
    ]
    columns["difference"] = table["difference"].map(signed)
    columns["interval"] = [f"{signed(row.low)} to {signed(row.high)}" for row in table.itertuples()]
    columns["p"] = table["p"].map("{:.3f}".format)
    columns["seen from"] = table["smallest"].map("{:.2f}".format)
    columns["images ±"] = table["test_noise"].map("{:.2f}".format)
    columns["r"] = table["correlation"].map("{:.2f}".format)
    columns["mean %"] = table["mean"].map("{:.2f}".format)
    for name in ("acted", "on", "weighted"):
        columns[name] = [f"{value:.3f}" if value > 0 else "-" if value == 0 else "" for value in table[name]]
    for kind in contrast.per:
        columns[f"{kind} ×"] = table[f"times_{kind}"].map("{:.2f}".format)
    shown = pd.DataFrame(columns).replace({"nan": "", "inf": "∞"})
    return shown.loc[:, (shown != "").any()]


def legend(judgement: Judgement) -> str:
    """What the columns of `cells` are."""
    contrast = judgement.contrast
    if contrast.trend or contrast.ratio:
        return "over seeds: " + ("the mean" if contrast.trend else "geometric mean, simultaneous interval")
    return (
        f"difference to {contrast.against} in points, margin {contrast.margin:g}; interval (95 %) and p hold for all "
        f"{len(judgement.table)} arms together; seen from: the effect found with a chance of 80 %; images ±: noise of "
        "the test set; r: correlation with the reference over seeds; ×: cost in multiples of the reference's"
    )


def markdown(judgement: Judgement) -> str:
    """Sentence, table, legend and notes."""
    table = cells(judgement)
    rows = [list(table.columns), ["---"] * len(table.columns), *table.to_numpy().tolist()]
    lines = ["| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in rows]
    below = [f"- {text}" for text in (legend(judgement), *judgement.notes)]
    return "\n".join([f"**{judgement.sentence}**", "", *lines, "", *below])


def figure(judgement: Judgement) -> go.Figure:
    """Each arm's difference to the reference with its simultaneous interval, the margin shaded; a ratio likewise, a
    trend as the means along its steps."""
    table, contrast = judgement.table.iloc[::-1], judgement.contrast
    shown = go.Figure()
    if contrast.trend:
        table = judgement.table
        shown.add_scatter(x=table["arm"], y=table["mean"], mode="lines+markers", line_color=PALETTE[0])
        shown.update_yaxes(title_text=f"{contrast.measure.replace('_', ' ')} (%)")
        return styled(shown, _heading(judgement), 360, legend=False)
    middle = table["ratio" if contrast.ratio else "difference"]
    words = table["word"] if "word" in table else [""] * len(table)
    shown.add_scatter(
        x=middle,
        y=table["arm"],
        error_x={"array": table["high"] - middle, "arrayminus": middle - table["low"], "thickness": 1.5, "width": 4},
        mode="markers",
        marker={"size": 9, "color": [{BETTER: PALETTE[2], WORSE: PALETTE[1]}.get(word, "#555555") for word in words]},
        customdata=list(words),
        hovertemplate="%{x:.3f} %{customdata}<extra>%{y}</extra>",
    )
    shown.add_vline(x=1 if contrast.ratio else 0, line={"color": "#222222", "width": 1})
    if contrast.ratio:
        shown.update_xaxes(title_text=f"{contrast.ratio}, times those of {contrast.against}", type="log")
    else:
        shown.add_vrect(
            x0=-contrast.margin, x1=contrast.margin, fillcolor="#999999", opacity=0.18, line_width=0, layer="below"
        )
        shown.update_xaxes(title_text=f"{contrast.measure.replace('_', ' ')} above {contrast.against} (points)")
    return styled(shown, _heading(judgement), 160 + 28 * len(table), legend=False)


def _heading(judgement: Judgement) -> str:
    return f"{judgement.contrast.name}: {judgement.table['seeds'].iloc[0]} seeds"


def differences(frame: pd.DataFrame) -> go.Figure:
    """What `iskit.findings` judges: every sampler's accuracy above unif's, and every augmentation's above standard's,
    at the same budget and all else, with the interval that holds for a family together. Filled: better or worse.
    """
    found = findings(frame)
    return forest({"sampler": found.which, "augment": found.how}, found.notes, "What a choice or a look changes")


def forest(compared: Mapping[str, Sequence[Judgement]], notes: Sequence[str], title: str) -> go.Figure:
    """As `differences`, of any families: by the setting that their arms differ in. notes: what is said where there are
    none."""
    figure, row, shown, heads = go.Figure(), 0, [], []
    ticks: dict[int, str] = {}
    for key, families in compared.items():
        for one in families:
            base = one.contrast.reference
            over = f"against {base[key]}" + (f", with {base['sampler']}" if key == "augment" else "")
            name = f"{over}: {one.contrast.name}" if len(families) > 1 else over
            heads.append(
                {"text": f"<b>{name}</b>", "y": row, "bgcolor": "rgba(255, 255, 255, 0.85)"}
            )  # over the zero line
            for number, judged in enumerate(one.table.itertuples()):
                row += 1
                ticks[row] = arm(one, number, key)
                told = judged.word in (BETTER, WORSE)
                tint = color(ticks[row]) if key == "sampler" else "#555555"
                bar = {"array": [judged.high - judged.difference], "thickness": 2, "width": 4, "color": tint}
                figure.add_scatter(
                    x=[judged.difference],
                    y=[row],
                    error_x=bar if np.isfinite(judged.high) else None,
                    name=f"{ticks[row]}, {name}",
                    mode="markers",
                    marker={"size": 10, "color": tint, "symbol": "circle" if told else "circle-open", "line_width": 2},
                    hovertemplate=f"%{{x:+.2f}} points ({judged.low:+.2f} to {judged.high:+.2f}): {judged.word}, "
                    f"{judged.seeds} seeds<extra>{ticks[row]}, {name}</extra>",
                )
                shown.append(judged)
            row += 1
    figure.add_vline(x=0, line={"color": "#222222", "width": 1})
    figure.update_xaxes(title_text="points above the reference", range=_decided(shown))
    figure.update_yaxes(
        tickvals=list(ticks), ticktext=list(ticks.values()), range=[row, -0.7], showgrid=False, zeroline=False
    )
    if not shown:
        figure.add_annotation(text="<br>".join(notes) or "nothing to compare", showarrow=False)
    left = 16 + 7 * max(map(len, ticks.values()), default=0)
    for head in heads:
        figure.add_annotation(x=0, xref="paper", xanchor="left", xshift=4 - left, showarrow=False, **head)
    seeds = {int(judged.seeds) for judged in shown}
    of = f", {max(seeds)} seed{'s' * (max(seeds) > 1)}" if seeds else ""
    styled(figure, f"{title}{of}", 110 + 20 * max(row, 4), legend=False)
    return figure.update_layout(margin={"l": left, "t": 50}, title={"x": 0.005, "xref": "container"})


def _decided(shown: Sequence[Any]) -> list[float] | None:
    """A range about 0 that one wide interval does not stretch so far that the others shrink to nothing."""
    reach = [max(abs(one.low), abs(one.high)) for one in shown if np.isfinite(one.high)]
    reach = reach or [2 * abs(one.difference) for one in shown]
    if not reach:
        return None
    dots = max(abs(one.difference) for one in shown)  # are all in view
    most = 1.05 * max(1.0, dots, min(max(reach), 3 * float(np.median(reach))))
    return [-most, most]
