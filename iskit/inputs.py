"""What comes from outside, as what it should be: values of settings, files of settings. InputError if it cannot."""

import hashlib
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from traceback import walk_tb
from types import ModuleType, UnionType
from typing import Any, get_args

from iskit.errors import InputError, one_line, shown

SETTINGS_BYTES = 1 << 20  # of a file of settings
NESTING = 20  # levels in a file of settings
OWN = "iskit_own_"  # begins the names of the modules that users' own files make
WHOLE = 2**63  # whole numbers lie below: they end up in int64


@contextmanager
def guard(what: str, remedy: str, kinds: type[Exception] = Exception) -> Iterator[None]:
    """Around a library, or a user's own function, that is handed what comes from outside: whatever it raises becomes
    an InputError, `what (why): remedy`. Every reading of outside input passes here.

    Never around code of this kit, where an error is a bug that must show where it came from; but for kinds=OSError,
    which says the same of the machine anywhere.
    """
    try:
        yield
    except InputError:
        raise
    except kinds as error:
        raise InputError(f"{what} ({reason(error)}): {remedy}") from error


def reason(error: BaseException) -> str:
    """Why, in a few words: what the system says, or the kind of error and what it says."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if mark := getattr(error, "problem_mark", None):  # of YAML, which says it in five lines
        return f"line {mark.line + 1}: {getattr(error, 'problem', None)}"
    text = str(error)
    return one_line(f"{type(error).__name__}: {text}" if text else type(error).__name__, 150)


def regular(path: str | Path) -> os.stat_result:
    """What the system knows of a file. InputError if it is none, or no regular one: opening a pipe waits for ever."""
    with guard(f"{path} cannot be opened", "give the path of a file that is there"):
        about = os.stat(path)
    if not stat.S_ISREG(about.st_mode):
        kind = "a folder" if stat.S_ISDIR(about.st_mode) else "no regular file"
        raise InputError(f"{path} cannot be opened (it is {kind}): give the path of a file, or remove it")
    return about


def free_memory() -> int:
    """Bytes that may still be taken, without what others would lose; what the machine has where it does not tell."""
    free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    group = Path("/sys/fs/cgroup")
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
        # Of a container: what its files keep in memory is given back.
        limit = int((group / "memory.max").read_text())
        cached = [line.split() for line in (group / "memory.stat").read_text().splitlines()]
        used = int((group / "memory.current").read_text()) - int(dict(cached)["inactive_file"])
        return min(free, limit - used)
    except (OSError, ValueError, StopIteration, KeyError):  # no Linux, or no limit
        return free


def fits(what: str, size: int, remedy: str, free: int | None = None) -> None:
    """InputError if `what` takes more bytes than are free (None: now): the system would sooner kill than refuse."""
    free = free_memory() if free is None else free
    if size > free:
        raise InputError(f"{what} takes {size / 1e9:,.1f} GB of memory, {free / 1e9:,.1f} GB are free: {remedy}")


def load_python(path: Path) -> ModuleType:
    """The module that a user's own file makes, run anew whenever its text has changed. InputError, with the line, if it
    cannot be read or run."""
    regular(path)
    with guard(f"{path} cannot be read", "make it readable"):
        text = path.read_bytes()
    place = hashlib.blake2b(os.fsencode(path), digest_size=4).hexdigest()
    name = f"{OWN}{place}_{hashlib.blake2b(text, digest_size=8).hexdigest()}"
    if name not in sys.modules:
        module = ModuleType(name)
        module.__file__ = str(path)
        sys.modules[name] = module  # where dataclasses and type hints look
        try:  # Not by importlib: its cache goes by seconds and sizes, and would miss a quick edit
            exec(compile(text, str(path), "exec", dont_inherit=True), vars(module))
        except (Exception, SystemExit) as error:
            del sys.modules[name]
            raise InputError(f"{own_line(error, path.name) or f'{path}: {reason(error)}'}: mend the file") from error
    return sys.modules[name]


def is_own(module: str) -> bool:
    """Whether a module of this name is a user's file."""
    return module.startswith(OWN)


def own_line(error: BaseException, file: str = "") -> str | None:
    """Where in a user's own file an error was raised, and which: `mine.py, line 3: NameError: ...`; None if in none.

    file: its name, for text that is no Python.
    """
    if isinstance(error, SyntaxError) and file:
        return f"{file}, line {error.lineno}: {type(error).__name__}: {error.msg}"
    frames = [one for one in walk_tb(error.__traceback__) if is_own(one[0].f_globals.get("__name__", ""))]
    if not frames:
        return None
    frame, line = frames[-1]
    return f"{Path(frame.f_code.co_filename).name}, line {line}: {type(error).__name__}: {one_line(str(error), 150)}"


WANTED = {bool: "true or false", str: "text", int: "a whole number", float: "a number"}


def typed(name: str, value: Any, kind: type | UnionType) -> Any:
    """The value as a setting's type; numbers may come as text (YAML 1.1 reads 1e-3 as a string). InputError if not.

    Of `bool | int` and the like, the first that fits.
    """
    if isinstance(kind, UnionType):
        return _first_fit(name, value, get_args(kind))
    try:
        if kind is bool:
            if not isinstance(value, bool | str):  # the text of a list may be endless
                raise ValueError
            return {"true": True, "false": False}[str(value).lower()]
        if kind is str:
            if not isinstance(value, str) or "\0" in value:
                raise ValueError
            value.encode()  # a byte of the command line that is no UTF-8 could not be written down
            return value
        if isinstance(value, bool) or value is None:
            raise ValueError
        number = float(value)
        if number != number or number in (float("inf"), float("-inf")):
            raise ValueError
        if kind is int:
            if number != int(number) or abs(number) >= WHOLE:
                raise ValueError
            return int(number)
        return number
    except (ValueError, TypeError, KeyError, OverflowError):
        raise InputError(f"{name}={shown(value)} must be {WANTED[kind]}") from None


def _first_fit(name: str, value: Any, kinds: tuple[type, ...]) -> Any:
    for kind in kinds:
        with suppress(InputError):
            return typed(name, value, kind)
    raise InputError(f"{name}={shown(value)} must be {' or '.join(WANTED[kind] for kind in kinds)}")


def parse_yaml(name: str, text: str) -> Any:
    """The value written in YAML. InputError, which says `name`, if it is none, or gives a key twice."""
    import yaml

    reader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast, where it is there
    with guard(f"{name} is not readable YAML", "write one `key: value` a line"):
        depth = 0
        for event in yaml.parse(text, reader):  # Trap: composing deep nesting ends the process, not only the call
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > NESTING:
                raise ValueError(f"nested deeper than {NESTING} levels")
        loader = reader(text)
        try:
            node = loader.get_single_node()
            value = None if node is None else loader.construct_document(node)
        except (AttributeError, LookupError, TypeError):  # of PyYAML: `!!timestamp x`, `!!bool x`
            raise ValueError("a value is not what its tag says") from None
        finally:
            loader.dispose()
    seen: set[str] = set()
    for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
        if key.value in seen:  # YAML takes the last one
            raise InputError(
                f"{name} gives {shown(key.value)} twice, again in line {key.start_mark.line + 1}: keep one"
            )
        seen.add(key.value)
    return value


def read_yaml(path: str | Path) -> dict[str, Any]:
    """The settings in a YAML file; InputError if it cannot be read or holds no mapping."""
    if regular(path).st_size > SETTINGS_BYTES:
        raise InputError(f"{path} is larger than a megabyte: give the path of a params/*.yaml file")
    with guard(f"{path} is not readable YAML", "give the path of a params/*.yaml file"):
        text = Path(path).read_text(encoding="utf-8")
    settings = parse_yaml(str(path), text)
    if not isinstance(settings, dict):
        raise InputError(f"{path} holds no settings: write one `key: value` a line")
    return settings
