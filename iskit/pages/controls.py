"""What a panel is made of: boxes to tick with a field to add more, and what may be offered for each setting."""

from collections.abc import Callable, Collection, Mapping, Sequence
from html import escape
from typing import Any

import ipywidgets as ipw
import traitlets

from iskit.augment import augments
from iskit.data import datasets
from iskit.models import models
from iskit.runs.experiment import Experiment
from iskit.runs.parts import specs
from iskit.samplers import samplers

PAPER = ("sgd", "scan", "unif", "p", "c", "selective_backprop", "ordered")  # what Arazo et al. 2021 compare
BUDGETS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7)
SEEDS = 12
FIT = ipw.Layout(width="auto", margin="0 14px 0 0")
ROW = ipw.Layout(flex_flow="row wrap", align_items="center")


class Chips(ipw.VBox):
    """Boxes to tick, in groups that have names, all in view; what is typed into the field is added and ticked.

    value: the ticked ones as a tuple, in the order shown; with `one` the only ticked one. read: from what was typed to
    a value; what it refuses is said in `message`, beside the field. names: how a value is shown, if not as it is typed;
    tips: what is said of a value while the mouse rests on it.
    """

    value = traitlets.Any()

    def __init__(
        self,
        title: str,
        groups: Mapping[str, Sequence[Any]],
        chosen: Any,
        read: Callable[[str], Any],
        example: str,
        one: bool = False,
        names: Callable[[Any], str] = str,
        tips: Callable[[Any], str] = lambda value: "",
    ):
        self.read, self.one, self.names, self.tips = read, one, names, tips
        self.message = ipw.HTML()
        self.boxes: dict[Any, ipw.Checkbox] = {}
        self.busy = False
        rows = [self._row(group, values) for group, values in groups.items()]
        self.field = ipw.Text(
            placeholder=f"add, e.g. {example}",
            continuous_update=False,
            layout=ipw.Layout(width="270px"),
            tooltip=f"another of {title}, as one types it; Enter adds it",
        )
        self.field.observe(self._typed, "value")
        rows[-1].children += (self.field, self.message)
        self.last = rows[-1]
        super().__init__([_heading(title), *rows], layout=ipw.Layout(margin="0 0 4px 0"))
        wanted = list(chosen) if isinstance(chosen, list | tuple) else [chosen]
        for value in wanted:
            self._offer(value)
        self.value = wanted[0] if one else tuple(value for value in self.boxes if value in wanted)
        self._show()
        self.observe(self._show, "value")

    def _row(self, group: str, values: Sequence[Any]) -> ipw.HBox:
        named = [ipw.HTML(f'<span style="opacity:.65">{escape(group)}</span>', layout=ipw.Layout(width="92px"))]
        return ipw.HBox([*(named if group else []), *map(self._box, values)], layout=ROW)

    def _box(self, value: Any) -> ipw.Checkbox:
        box = ipw.Checkbox(False, description=self.names(value), indent=False, layout=FIT, tooltip=self.tips(value))
        box.observe(lambda change: self._ticked(value, change["new"]), "value")
        self.boxes[value] = box
        return box

    def _offer(self, value: Any) -> None:
        if value not in self.boxes:
            *before, field, message = self.last.children
            self.last.children = (*before, self._box(value), field, message)

    def _ticked(self, value: Any, on: bool) -> None:
        if self.busy:
            return
        if self.one:
            self.value = value
            self._show()  # a click on the one that is ticked leaves it so
        else:
            self.value = tuple(other for other, box in self.boxes.items() if box.value)

    def _typed(self, change: Mapping[str, Any]) -> None:
        text = change["new"].strip()
        if not text:
            return
        try:
            value = self.read(text)
        except ValueError as error:
            self.message.value = wrong(error)
            return
        self.message.value = ""
        self._offer(value)
        self.value = value if self.one else tuple(v for v in self.boxes if v == value or v in self.value)
        self.field.value = ""

    def _show(self, _: Any = None) -> None:
        """The boxes as `value` says, which may also be set by a program."""
        wanted = (self.value,) if self.one else self.value
        for value in wanted:
            self._offer(value)
        self.busy = True
        for value, box in self.boxes.items():
            box.value = value in wanted
        self.busy = False


def wrong(error: object) -> str:
    return f'<span style="color:#b00020">{escape(str(error))}</span>'


def sampler_chips(chosen: Any, one: bool = False) -> Chips:
    others = [name for name in samplers if name not in PAPER]
    groups = {"the paper's": list(PAPER)}
    for title, end in (("per epoch", "once an epoch"), ("per step", "once a step"), ("others", "")):
        groups[title] = [name for name in others if samplers.card(name).changes.endswith(end)]
        others = [name for name in others if name not in groups[title]]
    title = "sampler: which images" if one else "samplers: which images"

    def read(text: str) -> str:
        samplers.create(text)
        return text

    return Chips(title, groups, chosen, read, "p(smooth=False)", one, _named, _told)


def augment_chips(chosen: Any, one: bool = False) -> Chips:
    def read(text: str) -> str:
        specs(Experiment(augment=text))
        return text

    title = "augmentation: how they look" if one else "augmentations: how they look"
    return Chips(title, {"": looks()}, chosen, read, "standard|mixup(alpha=1)", one)


def budget_chips(chosen: Any, unit: str = "backward", one: bool = False) -> Chips:
    def read(text: str) -> float:
        return Experiment(budget=text, unit=unit).budget  # type: ignore[arg-type]  # numbers may come as text

    title = ("budget" if one else "budgets") + (": seconds" if unit == "seconds" else ": shares of the full run")
    offered = () if unit == "seconds" else BUDGETS
    return Chips(title, {"": offered}, chosen, read, "30" if unit == "seconds" else "0.15", one, "{:g}".format)


def more_controls(settings: Mapping[str, Any]) -> dict[str, ipw.ValueWidget]:
    """Of the settings that people change less often; those that are lists stay as they are."""
    defaults = {name: getattr(Experiment(), name) for name in ("model", "dataset", "lr", "epochs")}
    given = {**defaults, **settings}
    seeds = given.get("seeds", 0)
    made = {
        "model": lambda value: _named_part("model", list(models), value),
        "dataset": lambda value: _named_part("data set", list(datasets), value),
        "lr": lambda value: ipw.FloatText(value, description="lr", step=0.01, layout=NARROW, continuous_update=False),
        "epochs": lambda value: ipw.BoundedIntText(
            value, min=1, max=100_000, description="epochs", layout=NARROW, continuous_update=False
        ),
        "seeds": lambda value: ipw.IntSlider(
            value, 1, max(SEEDS, seeds), description="seeds", continuous_update=False, layout=ipw.Layout(width="300px")
        ),
    }
    return {name: make(given[name]) for name, make in made.items() if name in given and not _is_list(given[name])}


NARROW = ipw.Layout(width="170px")


def fold(boxes: Sequence[ipw.Widget], names: Collection[str]) -> list[ipw.Widget]:
    """Controls that are folded away behind their names; nothing, if there are none."""
    if not boxes:
        return []
    folded = ipw.Accordion([ipw.HBox(boxes, layout=ROW)])
    folded.set_title(0, "more: " + ", ".join(names))
    return [folded]


def looks() -> list[str]:
    """None, the standard one, and every other beside it, in the order that the other's source has them."""
    others = [name for name in augments if name not in ("none", "standard")]
    both = (f"{name}|standard" if augments.create(name).before_crop else f"standard|{name}" for name in others)
    return ["none", "standard", *both]


def _heading(title: str) -> ipw.HTML:
    name, _, rest = title.partition(":")
    return ipw.HTML(f"<b>{escape(name)}</b><span style='opacity:.65'>{escape(':' + rest if rest else '')}</span>")


def _named_part(title: str, known: list[str], value: str) -> ipw.Combobox:
    layout = ipw.Layout(width="300px")
    return ipw.Combobox(value=value, options=known, description=title, continuous_update=False, layout=layout)


def _named(spec: str) -> str:
    """As one types it, with the paper's word beside it where that is another."""
    title = samplers.title(spec)
    return spec if samplers.parse(spec)[0] in title.lower() else f"{spec} ({title})"


def _told(spec: str) -> str:
    name, _ = samplers.parse(spec)
    options = ", ".join(f"{key}={option.default!r}" for key, option in samplers.options(name).items())
    return samplers.card(name).summary + (f" Options: {options}." if options else "")


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple | range)
