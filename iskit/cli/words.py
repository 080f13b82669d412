"""The words of a command line that say what to train: study files, params files, key=value settings."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from iskit import files
from iskit.errors import InputError, suggest
from iskit.inputs import parse_yaml, read_yaml
from iskit.runs.experiment import check_names
from iskit.views.catalogue import check_specs

if TYPE_CHECKING:
    from iskit.study.plan import Plan  # imports torch, which a table of methods does not need


def read_settings(words: list[str]) -> dict[str, Any]:
    """`["params/x.yaml", "budget=0.3"]` -> settings; InputError for what is neither a file nor a setting,
    and for a misspelt part."""
    settings: dict[str, Any] = {}
    for word in words:
        key, _, value = word.partition("=")
        if _is_setting(word):
            try:
                settings[key] = parse_yaml(key, value)
            except InputError:  # then it is meant as it stands
                settings[key] = value
        else:
            found = read_yaml(word)
            if "blocks" in found:
                raise InputError(f"{word} is a study of many runs: train it by iskit sweep {word}")
            try:
                check_names(found, also=["seeds"])
            except InputError as error:
                raise InputError(f"{word}: {error}") from None
            settings.update(found)
    check_specs(settings)
    return settings


def read_plans(words: list[str], blocks: list[str]) -> "list[Plan]":
    """What a sweep's words ask for: of each study file its plan, all other words in place of what it says; else one
    grid. A file with `blocks` or `contrasts` is a study's, and so is one that stands alone.

    blocks: only these. InputError for what cannot work, with file and block.
    """
    asked = read_settings([word for word in words if _is_setting(word)])  # first, for what follows imports torch
    check_names(asked, also=["seeds"])
    from iskit.study import plan

    names = [word for word in words if not _is_setting(word)]
    studies = [name for name in names if read_yaml(name).keys() & set(plan.SECTIONS)] or names[: len(names) == 1]
    others = read_settings([word for word in words if word not in studies])
    plans = [plan.read_file(Path(name), others) for name in studies] or [plan.read(others)]
    if empty := [one.name for one in plans if not one.blocks]:
        raise InputError(f"{empty[0]} only says what is to be tuned: give it to iskit tune")
    for block in blocks:
        if not any(block in one.blocks for one in plans):
            raise InputError(
                f"--block {block} is unknown: {suggest(block, [name for p in plans for name in p.blocks])}"
            )
    chosen = [{name: runs for name, runs in p.blocks.items() if not blocks or name in blocks} for p in plans]
    return [replace(one, blocks=some) for one, some in zip(plans, chosen, strict=True) if some]


def plan_of(words: list[str]) -> str | None:
    """A hash of the one params file among the words, unless the others change what is trained."""
    from iskit.study.plan import HOW

    names = [word for word in words if not _is_setting(word)]
    keys = {word.partition("=")[0] for word in words if _is_setting(word)}
    if len(names) != 1 or not keys <= set(HOW):
        return None
    return files.digest(Path(names[0]).read_text(encoding="utf-8"))


def _is_setting(word: str) -> bool:
    key, equals, _ = word.partition("=")
    return equals != "" and key.isidentifier()
