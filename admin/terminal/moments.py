"""Moments and stretches of time as people type them."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from dropscribe.core.clock import HOW_LONG, seconds_of
from dropscribe.core.errors import UsageError

_DATE = re.compile(r"\d{4}-\d\d-\d\d")


def span(text: str) -> float:
    """Seconds of `90d`, `12h`, `30m`, `45s` or `2w`. Raises UsageError.

    >>> span("90d"), span("12h"), span("45s")
    (7776000.0, 43200.0, 45.0)
    """
    seconds = seconds_of(text)
    if seconds is None:
        raise UsageError(f"{text!r} is not a duration", remedy=HOW_LONG)
    return seconds


def moment_if_any(text: str | None, *, end: bool = False) -> float | None:
    """See `moment`; None for an option that nobody gave."""
    return moment(text, end=end) if text else None


def moment(text: str, *, end: bool = False) -> float:
    """Seconds since the epoch of `2026-11-20`, `2026-11-20 15:30` (local time) or `7d` (so long ago).

    With `end`, a date means its end instead of its beginning. Raises UsageError.
    """
    if (ago := seconds_of(text)) is not None:
        return datetime.now().astimezone().timestamp() - ago
    try:
        found = datetime.fromisoformat(text.strip())
        day = timedelta(days=end and _DATE.fullmatch(text.strip()) is not None)
        return (found + day).astimezone().timestamp()
    except (ValueError, OverflowError) as error:
        raise UsageError(
            f"{text!r} is not a time", remedy="write 2026-11-20, '2026-11-20 15:30', or 7d for a week ago"
        ) from error
