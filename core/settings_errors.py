"""Pure: what is wrong with settings, as sentences that name the setting and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError

from dropscribe.core.errors import SettingsError

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

NEAR = 0.7  # likeness of names, by difflib, of which one may be the other mistyped
PREFIX = "DROPSCRIBE_"  # of every environment variable

Declared = TypeVar("Declared", bound=BaseModel)


def validated(declared: type[Declared], values: Mapping[str, Any], called: Callable[[str], str] = str) -> Declared:
    """Settings of these values; `called` says what a setting is called in the place that it came from.

    Raises SettingsError that names everything that is wrong.
    """
    try:
        return declared.model_validate(values)
    except ValidationError as error:
        raise SettingsError("; ".join(_explain(item, called) for item in faults(error))) from error


def _explain(item: ErrorDetails, called: Callable[[str], str]) -> str:
    name = called(str(item["loc"][0])) if item["loc"] else "settings"
    return f"{name} = {item['input']!r}: {reason(item)}"


def faults(error: ValidationError) -> list[ErrorDetails]:
    """What is wrong, without what only follows from it: a list whose every item is wrong is not empty besides."""
    return [one for one in error.errors() if one["type"] != "too_short" or not one["input"]]


def reason(item: ErrorDetails) -> str:
    """Why a value does not fit."""
    return item["msg"].removeprefix("Value error, ").lower()


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """A name that there is not, and the one that was probably meant."""
    bare = {one.removeprefix(PREFIX): one for one in known}  # what all have in common makes none more alike
    nearest = difflib.get_close_matches(name.removeprefix(PREFIX), bare, n=1, cutoff=NEAR)
    hint = f"did you mean {bare[nearest[0]]}?" if nearest else "`dropscribe config` lists them all"
    return f"unknown {kind} {name}; {hint}"
