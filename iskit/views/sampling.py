"""Which images each method trains, moment by moment: one fragment of HTML that plays by itself, without a kernel.

It lives on the fixed sample of training images that runs record at each evaluation: `iskit.sample_of`.
"""

import json
from base64 import b64decode, b64encode
from dataclasses import dataclass, field
from functools import cached_property
from html import escape
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from IPython.display import HTML
from PIL import Image

from iskit import files
from iskit.data import Dataset
from iskit.errors import InputError
from iskit.judging.findings import Checked
from iskit.randomness import Stream, permutation
from iskit.runs.parts import load
from iskit.study.archive import counts_of, history_of, sample_of, told_apart_by
from iskit.views import plots

IMAGES = 240  # of the sample, chosen at random
FRAMES = 120  # moments that a page holds at most; of more evaluations evenly chosen ones
PANELS = 6  # methods side by side
SIDE = 32  # pixels of an image on the page, at most
ACROSS = 20  # images in a row of the sheet
WEB = Path(__file__).parent / "web"
SCRIPTS = ("lines.js", "lights.js", "sampling.js")
NOTHING = "nothing is trained yet: press Run, or train a study by `iskit sweep`, then draw this anew"
UNTRUSTED = (
    "This figure plays by a script, which does not run here. In JupyterLab trust the notebook (View, Activate Command "
    "Palette, Trust Notebook) or run its cell again; elsewhere open the page that iskit report makes of it."
)


@dataclass(frozen=True)
class Seen:
    """One run as the page shows it: of k images of its sample, at each of m evaluations.

    row: of `iskit.results`; name: what it is called beside the others; index (k,), of the sample; t (m,) share of the
    budget spent; drawn (m, k), how often each was trained since the evaluation before; loss, prob (m, k).
    """

    row: pd.Series
    name: str
    index: np.ndarray
    t: np.ndarray
    drawn: np.ndarray
    loss: np.ndarray
    prob: np.ndarray

    @classmethod
    def of(cls, row: pd.Series, name: str) -> "Seen":
        """InputError for a run that keeps no sample."""
        sample = sample_of(row["path"])
        index = np.unique(sample["index"])
        if len(sample) == 0 or len(sample) % len(index) or (sample["index"] != np.resize(index, len(sample))).any():
            raise InputError(f"{row['path']} holds no whole sample: remove its folder and train it anew")
        grid = {column: sample[column].to_numpy().reshape(-1, len(index)) for column in sample}
        return cls(row, name, index, grid["t"][:, 0], grid["drawn"], grid["loss"], grid["prob"])

    @cached_property
    def history(self) -> pd.DataFrame:
        return history_of(self.row["path"])


@dataclass(frozen=True)
class Shown:
    """Runs of one seed on one data set, side by side; place: of the images shown, in the sample; notes: what of the
    results is not shown, and why."""

    seen: list[Seen]
    data: Dataset
    place: np.ndarray
    notes: list[str] = field(default_factory=list)

    @property
    def index(self) -> np.ndarray:
        """Of the images shown, in the training set."""
        return self.seen[0].index[self.place]

    @property
    def frames(self) -> np.ndarray:
        """The evaluations that the page holds."""
        count = len(self.seen[0].t)
        return np.linspace(0, count - 1, min(count, FRAMES)).round().astype(int)


def see(frame: pd.DataFrame, seed: int | None = None, images: int = IMAGES) -> HTML:
    """A page on which one sees which images each method of these results trains: to play, to click at.

    frame: of `iskit.results`; of several data sets the first. seed: None takes the first one that most methods have;
    images: how many of the sample. What cannot be shown is a sentence that says what to do.
    """
    try:
        shown = chosen(frame, seed, images)
        return HTML(fragment(told(shown), sheet(shown.data, shown.index)))
    except InputError as error:
        return HTML(f'<p role="status"><b>There is no sampling to see:</b> {escape(str(error))}</p>')


def chosen(frame: pd.DataFrame, seed: int | None = None, images: int = IMAGES) -> Shown:
    """What `see` shows. InputError if there is nothing to show, of which it says why."""
    if images < 1:
        raise InputError(f"images={images} must be at least 1")
    if frame.empty:
        raise InputError(NOTHING)
    same = ["dataset", "data_dir", "validation"]
    runs = frame[(frame[same] == frame.iloc[0][same]).all(axis=1)]
    notes = []
    if len(runs) < len(frame):
        notes.append(f"Only runs on {runs.iloc[0]['dataset']} are shown, {len(runs)} of {len(frame)}.")
    seeds = sorted(int(one) for one in runs["seed"].unique())
    if seed is not None and seed not in seeds:
        raise InputError(f"seed={seed} has no finished run: give one of {', '.join(map(str, seeds))}")
    seen, missing = _fullest(_named(runs), seeds if seed is None else [seed])
    if not seen:
        raise InputError(next(iter(missing), NOTHING))
    first, alike = seen[0], []
    for one in seen:
        if len(one.t) == len(first.t):
            alike.append(one)
        else:
            times = f"{len(one.t)} times, {first.name} {len(first.t)} times"
            missing.append(f"{one.name} was evaluated {times}: train both with the same evals")
    if len(alike) > PANELS:
        missing.append(f"{len(alike) - PANELS} more methods do not fit: choose at most {PANELS}")
    row = first.row
    where = files.root() / row["data_dir"]
    data = load(row["dataset"], where, int(row["validation"]), torch.device("cpu"), int(row["seed"]))
    known = row.get("data_digest")  # none of older runs
    if isinstance(known, str) and known != data.digest:
        raise InputError(f"dataset={row['dataset']!r} holds other images than {row['path']} was trained on: train anew")
    few = permutation(int(row["seed"]), Stream.SAMPLE, 1, len(first.index))[:images]
    notes += [f"Not shown: {why}." for why in missing]
    return Shown(alike[:PANELS], data, few.sort().values.numpy(), notes)


def _named(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs with a `name` for each configuration: its sampler, and what else tells it from others."""
    budgets, augments = (runs[name].nunique() > 1 for name in ("budget", "augment"))
    also = told_apart_by(runs)

    def name(row: pd.Series) -> str:
        words = [row["augment"]] if augments else []
        words += [plots.amount(row["budget"], row["unit"])] if budgets else []
        return ", ".join([row["sampler"], *words, *plots.apart(row, also)])

    return runs.assign(name=[name(row) for _, row in runs.iterrows()])


def _fullest(runs: pd.DataFrame, seeds: list[int]) -> tuple[list[Seen], list[str]]:
    """The first seed of which most methods can be seen: those, and why others cannot."""
    names = list(dict.fromkeys(runs["name"]))
    best: tuple[list[Seen], list[str]] = ([], [])
    for seed in seeds:
        rows = {row["name"]: row for _, row in runs[runs["seed"] == seed].iterrows()}
        seen, missing = [], []
        for name in names:
            if name not in rows:
                missing.append(f"{name} has no finished run of seed {seed} yet: train the rest")
                continue
            try:
                seen.append(Seen.of(rows[name], name))
            except InputError as error:
                missing.append(str(error))
        if len(seen) > len(best[0]) or not best[1]:
            best = (seen, missing)
        if len(seen) == len(names):
            break
    return best


def told(shown: Shown) -> dict[str, Any]:
    """What the page is made of, as JSON takes it; arrays in base64, little-endian, a row a frame, a column an image."""
    data, index, row = shown.data, torch.from_numpy(shown.index), shown.seen[0].row
    label = data.label[index]
    whole = label if data.whole is None or data.row is None else data.whole.label[data.row[index]]
    few = f"{len(index)} of " if len(index) < len(shown.seen[0].index) else ""
    return {
        "about": f"{few}{len(shown.seen[0].index):,} training images of {row['dataset']}, seed {row['seed']}",
        "classes": list(data.classes),
        "index": index.tolist(),
        "label": label.tolist(),
        "true": whole.tolist(),
        "kinds": {name: flag[index].int().tolist() for name, flag in data.flags.items()},
        "shares": {name: flag.double().mean().item() for name, flag in data.flags.items()},
        "examples": len(data),
        "across": ACROSS,
        "grey": data.channels == 1,
        "methods": [_method(one, shown) for one in shown.seen],
        "notes": shown.notes,
    }


def _method(one: Seen, shown: Shown) -> dict[str, Any]:
    at, place = shown.frames, shown.place
    drawn = np.diff(one.drawn.cumsum(axis=0)[at], axis=0, prepend=0)
    past = one.history
    lines = {"entropy": past["entropy"], "effective": np.exp(past["entropy"])}
    lines |= {name: past[f"share_{name}"] for name in shown.data.flags if f"share_{name}" in past}
    return {
        "name": one.name,
        "title": plots.label(one.row["sampler"]),
        "color": plots.color(one.row["sampler"]),
        "t": one.t[at].tolist(),
        "drawn": _packed(drawn[:, place], "<u4"),
        "loss": _packed(one.loss[at][:, place], "<f4"),
        "prob": _packed(one.prob[at][:, place], "<f4"),
        "lines": {
            "loss": {"t": one.t.tolist(), "value": one.loss.mean(axis=1, dtype=float).tolist()},
            **{name: {"t": past["t"].tolist(), "value": value.tolist()} for name, value in lines.items()},
        },
    }


def _packed(values: np.ndarray, kind: str) -> str:
    return b64encode(np.ascontiguousarray(values, kind).tobytes()).decode()


def unpacked(text: str, kind: str, images: int) -> np.ndarray:
    """(frames, images) of what `told` packed."""
    return np.frombuffer(b64decode(text), kind).reshape(-1, images)


def sheet(data: Dataset, index: np.ndarray) -> str:
    """All images on one, ACROSS a row, as the address of a PNG; larger ones are shrunk to SIDE."""
    pixels = data.images(torch.from_numpy(index)).numpy()
    side = min(SIDE, pixels.shape[1])
    mode = "L" if pixels.shape[-1] == 1 else "RGB"
    whole = Image.new(mode, (side * ACROSS, side * -(-len(pixels) // ACROSS)))
    for number, one in enumerate(pixels):
        tile = Image.fromarray(one[..., 0] if mode == "L" else one)
        down, left = divmod(number, ACROSS)
        if tile.size != (side, side):
            tile = tile.resize((side, side), Image.Resampling.LANCZOS)
        whole.paste(tile, (side * left, side * down))
    file = BytesIO()
    whole.save(file, "png", optimize=True)
    return "data:image/png;base64," + b64encode(file.getvalue()).decode()


def fragment(content: dict[str, Any], source: str) -> str:
    """HTML that stands alone: without scripts the images and what to do, with them the page that plays."""
    text = json.dumps(content, allow_nan=False).replace("<", "\\u003c")
    face = (WEB / "sampling.html").read_text(encoding="utf-8")
    script = "\n".join((WEB / name).read_text(encoding="utf-8") for name in SCRIPTS)
    return (
        f'<div class="iskit-sampling" role="group" aria-label="Which images each method trains"><p>{UNTRUSTED}</p>'
        f'<img src="{source}" alt="{escape(content["about"])}" style="max-width: 100%">'
        f'<script type="text/html">{face}</script><script type="application/json">{text}</script>'
        f'<script>(() => {{\n"use strict";\n{script}\n}})();</script></div>'
    )


def check(frame: pd.DataFrame, seed: int | None = None) -> Checked:
    """Holds what `see` shows against the runs' own files. AssertionError names the run that is shown wrongly."""
    shown = chosen(frame, seed)
    content = told(shown)
    for one, method in zip(shown.seen, content["methods"], strict=True):
        path, images = one.row["path"], len(shown.index)
        drawn = unpacked(method["drawn"], "<u4", images).sum(axis=0)
        assert np.array_equal(drawn, counts_of(path)[shown.index]), f"{path}: the page's draws are not its counts"
        sample = sample_of(path)
        for name in ("loss", "prob"):
            last = sample[sample["t"] == sample["t"].max()].set_index("index").loc[shown.index, name]
            assert np.array_equal(unpacked(method[name], "<f4", images)[-1], last), (
                f"{path}: {name} is not its sample's"
            )
    size = f"{len(shown.seen)} methods, {len(shown.frames)} moments, {len(shown.index)} images"
    held = "what is shown adds up to the runs' own counts, and ends at the losses and probabilities that they kept"
    return Checked([f"{size}: {held}."])
