"""Pure: moments and periods of a recording, and times that something takes, as people write them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from dropscribe.core.types import Span

_STRETCH = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
HOW_LONG = "write a number and s, m, h, d or w, such as 90d"


def seconds_of(text: str) -> float | None:
    """Seconds of a stretch of time as people write it; None if it is not one.

    >>> seconds_of("90d"), seconds_of("30 m"), seconds_of("soon")
    (7776000.0, 1800.0, None)
    """
    match = _STRETCH.fullmatch(text.strip())
    return float(match[1]) * _SECONDS[match[2]] if match else None


def iso(epoch: float) -> str:
    """A moment in seconds since the epoch as JSON has it: ISO 8601 with the zone, which is UTC.

    >>> iso(1_780_000_000.5)
    '2026-05-28T20:26:40.500+00:00'
    """
    return datetime.fromtimestamp(epoch, UTC).isoformat(timespec="milliseconds")


def with_moments(document: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """The document, in which those fields are moments: seconds since the epoch become text, None stays None."""
    moments = {name: document[name] for name in names}
    return {**document, **{name: iso(epoch) for name, epoch in moments.items() if epoch is not None}}


def clock(seconds: float, *, hours: int = 1) -> str:
    """`H:MM:SS`, the second that has begun; the hour has at least `hours` digits.

    >>> clock(3723.9), clock(3723.9, hours=2)
    ('1:02:03', '01:02:03')
    """
    whole = max(0, math.floor(seconds))
    return f"{whole // 3600:0{hours}}:{whole // 60 % 60:02}:{whole % 60:02}"


def period(span: Span) -> str:
    """From when to when, as `0:00:00-0:00:30`.

    >>> period(Span(0, 30))
    '0:00:00-0:00:30'
    """
    return f"{clock(span.start)}-{clock(span.end)}"


def about(seconds: float) -> str:
    """A time that something takes, as exactly as one can know it beforehand.

    >>> about(20), about(250), about(8000)
    ('less than a minute', 'about 5 min', 'about 2 h 20 min')
    """
    if seconds < 60:
        return "less than a minute"
    minutes = math.ceil(seconds / 60)
    if minutes < 60:
        return f"about {minutes} min"
    tens = math.ceil(minutes / 10)
    return f"about {tens // 6} h {tens % 6 * 10:02} min"
