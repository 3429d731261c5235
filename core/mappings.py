"""Pure: mappings without what nobody said."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


def said(values: Mapping[Key, Value | None]) -> dict[Key, Value]:
    """The entries that are not None.

    >>> said({"a": 0, "b": None})
    {'a': 0}
    """
    return {key: value for key, value in values.items() if value is not None}
