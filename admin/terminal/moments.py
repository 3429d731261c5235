"""Moments and stretches of time as people type them."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from dropscribe.core.errors import UsageError

_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
_DATE = re.compile(r"\d{4}-\d\d-\d\d")


def span(text: str) -> float:
    """Seconds of `90d`, `12h`, `30m`, `45s` or `2w`. Raises UsageError."""
    match = _SPAN.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"{text!r} is no stretch of time", remedy="write a number and s, m, h, d or w, such as 90d")
    return float(match[1]) * _SECONDS[match[2]]


def moment_if_any(text: str | None, *, end: bool = False) -> float | None:
    """See `moment`; None for an option that nobody gave."""
    return moment(text, end=end) if text else None


def moment(text: str, *, end: bool = False) -> float:
    """Seconds since the epoch of `2026-11-20`, `2026-11-20 15:30` (local time) or `7d` (so long ago).

    With `end`, a date means its end instead of its beginning. Raises UsageError.
    """
    if _SPAN.fullmatch(text.strip()):
        return datetime.now().astimezone().timestamp() - span(text)
    try:
        found = datetime.fromisoformat(text.strip())
        day = timedelta(days=end and _DATE.fullmatch(text.strip()) is not None)
        return (found + day).astimezone().timestamp()
    except (ValueError, OverflowError) as error:
        raise UsageError(
            f"{text!r} is no moment", remedy="write 2026-11-20, '2026-11-20 15:30', or 7d for a week ago"
        ) from error
