"""Pure: what is wrong with settings, as sentences that name the setting and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError

from dropscribe.core.errors import SettingsError
from dropscribe.core.passwords import HIDDEN
from dropscribe.core.settings_groups import marks_of
from dropscribe.core.store_settings import PREFIX

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo
    from pydantic_core import ErrorDetails

NEAR = 0.7  # similarity of names, by difflib, of which one may be the other mistyped

Declared = TypeVar("Declared", bound=BaseModel)


def validated(declared: type[Declared], values: Mapping[str, Any], called: Callable[[str], str] = str) -> Declared:
    """Settings of these values; `called` says what a setting is called in the place that it came from.

    Raises SettingsError that names everything that is wrong.
    """
    try:
        return declared.model_validate(values)
    except ValidationError as error:
        wrong = "; ".join(_explain(item, called, secrets(declared.model_fields)) for item in faults(error))
        raise SettingsError(wrong) from error


def secrets(declared: Mapping[str, FieldInfo]) -> dict[str, bool | str]:
    """The settings that hold a secret: True where it is part of an address, "whole" where all of it is secret."""
    return {name: kind for name, field in declared.items() if (kind := marks_of(field).get("secret"))}


def _explain(item: ErrorDetails, called: Callable[[str], str], hidden: Collection[str]) -> str:
    """One mistake as a sentence: what the setting is called, what was said, what is wrong. A secret is not shown."""
    if not item["loc"]:
        return f"settings = {item['input']!r}: {reason(item)}"
    name = str(item["loc"][0])
    shown = HIDDEN if name in hidden else repr(item["input"])
    return f"{called(name)} = {shown}: {reason(item)}"


def faults(error: ValidationError) -> list[ErrorDetails]:
    """What is wrong, without what only follows from it: a list whose every item is wrong is not empty besides."""
    return [one for one in error.errors() if one["type"] != "too_short" or not one["input"]]


def reason(item: ErrorDetails) -> str:
    """Why a value does not fit.

    >>> reason({"msg": "Value error, Must be above zero"})
    'must be above zero'
    """
    said = item["msg"].removeprefix("Value error, ")
    return said[:1].lower() + said[1:]


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """A name that there is not, and the one that was probably meant."""
    bare = {one.removeprefix(PREFIX): one for one in known}  # what all have in common makes none more alike
    likely = [bare[one] for one in alike(name.removeprefix(PREFIX), bare)]
    return f"unknown {kind} {name}; {guess(likely, '`dropscribe config` lists them all')}"


def alike(name: str, known: Iterable[str], *, most: int = 1) -> list[str]:
    """Those of the known names that may have been meant by another one, the likeliest first.

    >>> alike("langage", ["language", "channels"])
    ['language']
    """
    return difflib.get_close_matches(name, list(known), n=most, cutoff=NEAR)


def guess(likely: Sequence[str], otherwise: str) -> str:
    """A remedy for a wrong name: the names that are `likely` meant, or what is said where there are none.

    >>> guess(["language"], "see the list"), guess([], "see the list")
    ('did you mean language?', 'see the list')
    """
    return f"did you mean {' or '.join(likely)}?" if likely else otherwise
