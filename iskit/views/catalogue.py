"""What the kit knows of its parts without loading them, for that takes seconds: a made file, written by `make readme`.

Where it is older than what the parts' files declare, as when somebody adds a sampler, the parts are asked instead.
"""

import ast
import functools
import inspect
import operator
import re
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from iskit import files
from iskit.docstrings import CARD_FIELDS, TAUGHT
from iskit.registry import Registry

PATH = Path(__file__).with_name("catalogue.json")
PACKAGE = Path(__file__).parents[1]
METHODS = ("sampler", "augment")  # what has a card
TYPES = {kind.__name__: kind for kind in (bool, int, float, str, tuple)} | {"None": type(None)}


def catalogued(*kinds: str) -> list[dict[str, Any]]:
    """An entry for each part of these kinds, sorted by name: kind, name, title (as papers write it), aliases, summary,
    options (name, default as written or None, types, choices, meaning), and of a method its card's fields."""
    return [entry for entry in entries() if entry["kind"] in kinds]


@functools.cache
def entries() -> list[dict[str, Any]]:
    kept = files.read_json(PATH)
    return kept["parts"] if kept["declared"] == declared() else made()["parts"]


def made() -> dict[str, Any]:
    """The file's content, asked of the parts themselves."""
    from iskit.augment import augments
    from iskit.data import datasets
    from iskit.models import models
    from iskit.samplers import samplers
    from iskit.training.schedules import schedules

    registries: tuple[Registry[Any], ...] = (samplers, augments, models, datasets, schedules)
    return {"declared": declared(), "parts": [_entry(one, name) for one in registries for name in one]}


def _entry(registry: Registry[Any], name: str) -> dict[str, Any]:
    part, meanings = registry[name], registry.meanings(name)
    hints = typing.get_type_hints(part.__init__ if inspect.isclass(part) else part)
    options = [
        {
            "name": key,
            "default": None if option.default is option.empty else repr(option.default),
            **_values(hints[key]),
            "meaning": meanings.get(key, ""),
        }
        for key, option in registry.options(name).items()
    ]
    title = next(iter(registry.aliases(name)), name)
    about = {"kind": registry.kind, "name": name, "title": title, "aliases": list(registry.aliases(name))}
    if registry.kind in METHODS:
        card = registry.card(name)
        return {
            **about,
            "summary": card.summary,
            "options": options,
            **{key: getattr(card, key) for key in (*CARD_FIELDS, *TAUGHT)},
        }
    told = inspect.getmodule(part) if inspect.isclass(part) else part  # a data set's file tells of it
    summary = (inspect.getdoc(told) or "").partition("\n\n")[0].replace("\n", " ")
    return {**about, "summary": summary, "options": options}


def _values(hint: Any) -> dict[str, Any]:
    """What an option may be: names of types, and single values."""
    kinds = typing.get_args(hint) if typing.get_origin(hint) not in (None, tuple, Literal) else (hint,)
    found: dict[str, Any] = {"types": [], "choices": []}
    for kind in kinds:
        if typing.get_origin(kind) is Literal:
            found["choices"] += typing.get_args(kind)
        else:
            found["types"].append("None" if kind is type(None) else (typing.get_origin(kind) or kind).__name__)
    return found


def declared() -> str:
    """A hash of what the parts' files say of them: docstrings, names, options; not of how they do it."""
    found = []
    for path in sorted([*PACKAGE.glob("[!.]*/*.py")]):
        if path.parent.name in ("samplers", "augment", "models", "data") or path.name == "schedules.py":
            found.append([path.relative_to(PACKAGE).as_posix(), *_declarations(path.read_text(encoding="utf-8"))])
    return files.digest(found)


def _declarations(text: str) -> Iterator[str | None]:
    """Of a file: as text, for how trees are written down changes with Python's version."""
    tree, lines = ast.parse(text), text.splitlines()

    def head(node: ast.ClassDef | ast.FunctionDef) -> str:
        first = min([node.lineno, *(one.lineno for one in node.decorator_list)])
        return "\n".join(lines[first - 1 : max(node.lineno, node.body[0].lineno - 1)])

    def whole(node: ast.stmt) -> str:
        return "\n".join(lines[node.lineno - 1 : node.end_lineno])

    yield ast.get_docstring(tree)
    for node in tree.body:
        match node:
            case ast.ClassDef():
                fields = [one for one in node.body if isinstance(one, ast.AnnAssign)]
                made = [one for one in node.body if isinstance(one, ast.FunctionDef) and one.name == "__init__"]
                yield from (head(node), ast.get_docstring(node), *map(head, made))
                yield from map(whole, fields)
            case ast.FunctionDef() if node.decorator_list:
                yield from (head(node), ast.get_docstring(node))
            case ast.Assign() | ast.AnnAssign():  # defaults may be named
                yield whole(node)


@functools.cache
def registries() -> dict[str, Registry[None]]:
    """The parts' names and options, by the setting that takes them: what reads a spec and refuses a misspelt one as
    the parts themselves would, at once."""
    found: dict[str, Registry[None]] = {}
    for entry in entries():
        registry = found.setdefault(entry["kind"], Registry(entry["kind"]))
        registry.register(entry["name"], *entry["aliases"])(_stub(entry["options"]))
    return found


def _stub(options: list[dict[str, Any]]) -> Any:
    def part() -> None: ...

    kinds = [[TYPES[name] for name in one["types"]] for one in options]
    hints = [
        [*types, *([Literal[tuple(one["choices"])]] if one["choices"] else [])]
        for one, types in zip(options, kinds, strict=True)
    ]
    part.__annotations__ = {
        one["name"]: functools.reduce(operator.or_, hint) for one, hint in zip(options, hints, strict=True)
    }
    parameters = [
        inspect.Parameter(
            one["name"],
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if one["default"] is None else ast.literal_eval(one["default"]),
        )
        for one in options
    ]
    part.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return part


def check_specs(settings: Mapping[str, Any]) -> None:
    """InputError for a misspelt name or option among the settings, of which any may be a list: in a second, where
    loading the parts would take three. What their values mean together, the parts themselves check."""
    for kind, registry in registries().items():
        value = settings.get(kind)
        for spec in value if isinstance(value, list) else [value]:
            if isinstance(spec, str) and not re.search(r"\.py\b", spec):  # a user's own
                for stage in spec.split("|") if kind == "augment" else [spec]:
                    registry.parse(stage)
