"""What comes from outside, as what it should be: values of settings, files of settings. InputError if it cannot."""

from contextlib import suppress
from pathlib import Path
from types import UnionType
from typing import Any, get_args

from iskit.errors import InputError

WANTED = {bool: "true or false", str: "text", int: "a whole number", float: "a number"}


def typed(name: str, value: Any, kind: type | UnionType) -> Any:
    """The value as a setting's type; numbers may come as text (YAML 1.1 reads 1e-3 as a string). InputError if not.

    Of `bool | int` and the like, the first that fits.
    """
    if isinstance(kind, UnionType):
        return _first_fit(name, value, get_args(kind))
    try:
        if kind is bool:
            return {"true": True, "false": False}[str(value).lower()]
        if kind is str:
            if not isinstance(value, str):
                raise ValueError
            return value
        if isinstance(value, bool) or value is None:
            raise ValueError
        number = float(value)
        if number != number or number in (float("inf"), float("-inf")):
            raise ValueError
        if kind is int:
            if number != int(number):
                raise ValueError
            return int(number)
        return number
    except (ValueError, TypeError, KeyError, OverflowError):
        raise InputError(f"{name}={value!r} must be {WANTED[kind]}") from None


def _first_fit(name: str, value: Any, kinds: tuple[type, ...]) -> Any:
    for kind in kinds:
        with suppress(InputError):
            return typed(name, value, kind)
    raise InputError(f"{name}={value!r} must be {' or '.join(WANTED[kind] for kind in kinds)}")


def read_yaml(path: str | Path) -> dict[str, Any]:
    """The settings in a YAML file; InputError if it cannot be read or holds no mapping."""
    import yaml

    try:
        text = Path(path).read_text(encoding="utf-8")
        settings, node = yaml.safe_load(text), yaml.compose(text)
    except OSError as error:
        raise InputError(f"{path} cannot be opened: {error.strerror}; give the path of a params/*.yaml file") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: no UTF-8, or an impossible date
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark else ""
        raise InputError(f"{path} is not readable YAML{where}: write one `key: value` a line") from None
    if not isinstance(settings, dict) or not isinstance(node, yaml.MappingNode):
        raise InputError(f"{path} holds no settings: write one `key: value` a line")
    seen: set[str] = set()
    for key, _ in node.value:
        if key.value in seen:  # YAML takes the last one
            raise InputError(f"{path} gives {key.value!r} twice, again in line {key.start_mark.line + 1}: keep one")
        seen.add(key.value)
    return settings
