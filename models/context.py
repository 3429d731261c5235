"""How much context a model takes."""

from __future__ import annotations

from collections.abc import Callable

from dropscribe.core.errors import SettingsError


def check_context(text: str, count: Callable[[str], int], limit: int) -> int:
    """The number of tokens of a context by `count`. Raises SettingsError when it is over the limit."""
    tokens = count(text)
    if tokens > limit:
        raise SettingsError(
            f"the context has {tokens:,} tokens and {limit:,} are allowed", remedy="shorten the context or the hotwords"
        )
    return tokens
