"""Named parts with options, written as spec strings: `p`, `p(smooth=False)`, `standard|mixup(alpha=0.3)`.

The one convention: of a registered class or function, the keyword-only parameters are the options that a
spec string may set; the positional ones are what the program supplies. Its docstring says `option: what it means`.
A sampler may also be a class in a file of the user's own: `./mine.py:Mine(strength=2)`.
"""

import ast
import inspect
import os
import re
import sys
import types
import typing
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Generic, TypeVar

from iskit import files
from iskit.docstrings import Card, explained
from iskit.errors import InputError, shown, suggest
from iskit.inputs import WHOLE, guard, is_own, load_python, typed

T = TypeVar("T")

LONGEST = 4096  # characters of a spec: as long as a path may be

FILE = r"(?P<file>[^()]+\.py)(?::(?P<name>\w+))?"  # and the class in it


def met(
    revised: Mapping[str, int],
    values: Mapping[str, Any],
    defaults: Mapping[str, Any],
    write: Callable[[Any], str] = repr,
) -> dict[str, int]:
    """The entries of `revised` that concern these values: `name=value` that value, written by `write`; `name` any but
    the default; an empty name all."""
    concerned = {"", *(f"{name}={write(value)}" for name, value in values.items())}
    concerned |= {name for name, value in values.items() if value != defaults[name]}
    return {key: number for key, number in revised.items() if key in concerned}


class Registry(Generic[T]):
    """The known parts of one kind (`sampler`, `model`, ...), found by name or alias, without regard to case.

    revised: of an option that all of them have, see `register`. base: where users may give parts of their own, by the
    file and the class in it: what that must be a subclass of.
    """

    def __init__(self, kind: str, revised: Mapping[str, int] | None = None, base: type | None = None):
        self.kind, self.revised, self.base = kind, revised or {}, base
        self._own: dict[str, Callable[..., T]] = {}  # by FILE:CLASS, as last read
        self._parts: dict[str, Callable[..., T]] = {}
        self._aliases: dict[str, tuple[str, ...]] = {}
        self._names: dict[str, str] = {}  # of every name and alias in lower case
        self._parsed = lru_cache(maxsize=4096)(self._parse)  # a grid asks for few specs, thousands of times
        self._options = lru_cache(maxsize=None)(self._keywords)
        self._revised: dict[str, Mapping[str, int]] = {}

    def register(
        self, name: str, *aliases: str, revised: Mapping[str, int] | None = None
    ) -> Callable[[Callable[..., T]], Callable[..., T]]:
        """Decorator: makes a class or function known. ValueError if one of its names is taken.

        aliases: other spellings, the first of them as papers write it. revised: what of the part gives other numbers
        than it first did, and the number of its present revision, from 2 on, see `met`: {"": 2} the part as a whole,
        {"official=True": 2} a value of an option. Run ids hold it, so that runs of before stay what they say.
        """

        def add(part: Callable[..., T]) -> Callable[..., T]:
            if is_own(part.__module__):  # found by its file; its text may change, and the name would be taken
                return part
            words = [word.lower() for word in (name, *aliases)]
            for word in words:
                if word in self._names:
                    raise ValueError(f"{self.kind} {word!r} is registered already")
            self._names.update(dict.fromkeys(words, name))
            self._parts[name], self._aliases[name] = part, aliases
            self._revised[name] = {**self.revised, **(revised or {})}
            for key in self._revised[name]:
                if key.partition("=")[0] not in ("", *self.options(name)):
                    raise ValueError(f"{self.kind} {name!r} has no option for the revision of {key!r}")
            return part

        return add

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._parts))

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._names

    def __getitem__(self, name: str) -> Callable[..., T]:
        return self._part(self._find(name))

    def title(self, spec: str) -> str:
        """The spec as shown to people, with the name that papers use: `p(smooth=False)` -> `p-SGD(smooth=False)`.

        As it stands, if it is known no more: results outlive their methods.
        """
        if self._own_part(spec):  # its file need not be there any more
            return spec
        try:
            name, _ = self.parse(spec)
        except InputError:
            return spec
        return self.canonical(spec).replace(name, next(iter(self._aliases[name]), name), 1)

    def aliases(self, name: str) -> tuple[str, ...]:
        """Other spellings of a name, the first of them as papers write it."""
        return self._aliases.get(self._find(name), ())

    def card(self, name: str) -> Card:
        """The card at the head of the part's file, or of the class where a file holds an alias."""
        name = self._find(name)
        part = self._part(name)
        own = part.__doc__ or ""
        module = sys.modules[part.__module__].__doc__ or ""
        return Card.read(name, own if re.search(r"^\s*cite:", own, flags=re.MULTILINE) else module)

    def options(self, name: str) -> dict[str, inspect.Parameter]:
        """The options a spec string of this part may set, with their defaults."""
        name = self._find(name)
        return self._keywords(name) if name in self._own else dict(self._options(name))

    def meanings(self, name: str) -> dict[str, str]:
        """What each option means, as the docstrings of the part and of what it inherits from say: `option: ...;`."""
        part, options = self[name], self.options(name)
        said: dict[str, str] = {}
        for one in reversed(inspect.getmro(part) if inspect.isclass(part) else (part,)):
            said |= explained(vars(one).get("__doc__") or "" if inspect.isclass(one) else one.__doc__ or "")
        return {key: said[key] for key in options if key in said}

    def source(self, spec: str) -> str:
        """A hash of the file that a user's own part is in, for it may change; empty for all that are registered."""
        if not self._own_part(spec):
            return ""
        return self[self.parse(spec)[0]].__module__.rpartition("_")[2]

    def parse(self, spec: str) -> tuple[str, dict[str, Any]]:
        """`"p-SGD(smooth=False)"` -> `("p", {"smooth": False})`; InputError if it cannot be meant."""
        spec = typed(self.kind, spec, str)
        name, options = self._parse(spec) if self._own_part(spec) else self._parsed(spec)
        return name, dict(options)

    def _part(self, name: str) -> Callable[..., T]:
        return self._own[name] if name in self._own else self._parts[name]

    def _own_part(self, spec: str) -> "re.Match[str] | None":
        """Whether a spec, or a name, is a file's and a class's in it."""
        return re.match(rf"\s*{FILE}", spec) if self.base else None

    def _keywords(self, name: str) -> dict[str, inspect.Parameter]:
        parameters = inspect.signature(self._part(name)).parameters
        return {key: p for key, p in parameters.items() if p.kind is p.KEYWORD_ONLY}

    def _parse(self, spec: str) -> tuple[str, dict[str, Any]]:
        named = rf"{FILE}|[\w.-]+" if self.base else r"[\w.-]+"
        match = (
            re.fullmatch(rf"\s*({named})\s*(?:\((?P<options>.*)\))?\s*", spec, flags=re.DOTALL)
            if len(spec) <= LONGEST
            else None
        )
        if not match:
            raise InputError(f"{self.kind}={shown(spec)} cannot be read: write name or name(option=value, ...)")
        name = self._find(match[1])
        options = self._literals(spec, match["options"] or "")
        known = self.options(name)
        part = self._part(name)
        hints = typing.get_type_hints(part.__init__ if inspect.isclass(part) else part)
        for key, value in options.items():
            if key not in known:
                remedy = suggest(key, known) if known else f"{name} has no options"
                raise InputError(f"{self.kind}={shown(spec)} has the unknown option {shown(key)}: {remedy}")
            options[key] = self._typed(spec, key, value, hints.get(key, Any))
        missing = [key for key, p in known.items() if p.default is p.empty and key not in options]
        if missing:
            raise InputError(f"{self.kind}={shown(spec)} needs {missing[0]}: write {name}({missing[0]}=...)")
        return name, options

    def canonical(self, spec: str) -> str:
        """One spelling for all specs that mean the same: real name, sorted options, defaults left out."""
        return self.spec(*self.parse(spec))

    def spec(self, name: str, options: Mapping[str, Any]) -> str:
        """The canonical spelling of a part with these options."""
        known = self.options(name)
        text = ", ".join(f"{k}={v!r}" for k, v in sorted(options.items()) if v != known[k].default)
        return f"{name}({text})" if text else name

    def revisions(self, spec: str) -> dict[str, int]:
        """What of a spec was revised, and its number, like {"selective_backprop(official=True)": 2}; or nothing."""
        name, options = self.parse(spec)
        defaults = {key: p.default for key, p in self.options(name).items()}
        found = met(self._revised.get(name, {}), defaults | options, defaults)
        return {f"{name}({key})" if key else name: number for key, number in found.items()}

    def partial(self, spec: str) -> Callable[..., T]:
        """The part with its options set, waiting for what the program supplies."""
        name, options = self.parse(spec)
        return partial(self._part(name), **options)

    def create(self, spec: str, *supplied: Any) -> T:
        """`create("cnn(width=8)", classes, channels)` -> `cnn(classes, channels, width=8)`."""
        return self.partial(spec)(*supplied)

    def _find(self, name: str) -> str:
        if match := self._own_part(name):
            return self._read(match["file"], match["name"])
        try:
            return self._names[name.lower()]
        except KeyError:
            aliases = [alias for of in self._aliases.values() for alias in of]
            raise InputError(f"{self.kind}={shown(name)} is unknown: {suggest(name, self._parts, aliases)}") from None

    def _read(self, path: str, name: str | None) -> str:
        """Loads a user's own part, anew if its file has changed; gives the one name that all its spellings share."""
        assert self.base is not None
        root = files.root()
        file = Path(os.path.normpath(root / path))
        module = load_python(file)
        known = own_parts(module, self.base)
        if name is None or name not in known:
            what = f"{self.kind}={shown(path if name is None else f'{path}:{name}')}"
            if name is not None and hasattr(module, name):
                raise InputError(f"{what} is no {self.base.__name__}: write class {name}({self.base.__name__})")
            remedy = suggest(name or "", known) if known else f"write class Mine({self.base.__name__}) into the file"
            raise InputError(f"{what} {'names no class' if name is None else 'is no class of the file'}: {remedy}")
        key = f"{(file.relative_to(root) if file.is_relative_to(root) else file).as_posix()}:{name}"
        self._own[key] = known[name]
        for option in inspect.signature(known[name]).parameters.values():
            if option.kind is not option.KEYWORD_ONLY:
                raise InputError(
                    f"{self.kind}={shown(key)}: its parameter {option.name} is not keyword-only: write def "
                    f"__init__(self, *, {option.name}=...), and no *args or **kwargs"
                )
        with guard(f"{self.kind}={shown(key)}: the types of its options cannot be read", "import what they name"):
            typing.get_type_hints(known[name].__init__)
        return key

    def _literals(self, spec: str, arguments: str) -> dict[str, Any]:
        words = {"true": True, "false": False, "none": None}  # as YAML spells them
        remedy = "options are written name=value, words in quotes"
        with guard(f"{self.kind}={shown(spec)} cannot be read", remedy), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the parser's, of code that nobody runs
            call = ast.parse(f"f({arguments})", mode="eval").body
            if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.args:
                raise ValueError("no options")
            options: dict[str, Any] = {}
            for k in call.keywords:
                if k.arg is None or k.arg in options:  # ast lets a repeated name pass
                    raise ValueError("an option is given twice")
                value = k.value
                options[k.arg] = words[value.id.lower()] if isinstance(value, ast.Name) else ast.literal_eval(value)
                _check_sound(k.arg, options[k.arg])
        return options

    def _typed(self, spec: str, key: str, value: Any, hint: Any) -> Any:
        allowed = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
        choices: list[Any] = []
        for kind in allowed:
            base = typing.get_origin(kind) or kind
            if base is typing.Literal:
                choices += typing.get_args(kind)
            elif kind is Any:
                return value
            elif kind is float:
                if type(value) in (int, float) and abs(value) <= sys.float_info.max:
                    return float(value)
            elif isinstance(value, base) and (base is bool or not isinstance(value, bool)):
                return value
        if any(value == choice and type(value) is type(choice) for choice in choices):  # True equals 1, and is not it
            return value
        if choices:
            raise InputError(
                f"{self.kind}={shown(spec)}: {key}={shown(value)} is unknown: {suggest(str(value), map(str, choices))}"
            )
        wanted = " or ".join("None" if kind is type(None) else getattr(kind, "__name__", str(kind)) for kind in allowed)
        raise InputError(f"{self.kind}={shown(spec)}: {key}={shown(value)} must be {wanted}")


def own_parts(module: types.ModuleType, base: type) -> dict[str, Any]:
    """The subclasses of `base` that a user's file defines, by name."""
    made = {name: part for name, part in vars(module).items() if inspect.isclass(part) and issubclass(part, base)}
    return {name: part for name, part in made.items() if part.__module__ == module.__name__}


def _check_sound(name: str, value: Any) -> None:
    """ValueError for what no part can use: whole numbers beyond int64, text that can be no path."""
    if isinstance(value, tuple | list):
        for item in value:
            _check_sound(name, item)
    elif isinstance(value, int) and abs(value) >= WHOLE:
        raise ValueError("a number is too large")
    elif isinstance(value, str):
        typed(name, value, str)
