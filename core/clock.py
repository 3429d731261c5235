"""Pure: moments and periods of a recording as people write them."""

from __future__ import annotations

import math

from dropscribe.core.types import Span


def clock(seconds: float, *, hours: int = 1) -> str:
    """`H:MM:SS`, the second that has begun; the hour has at least `hours` digits.

    >>> clock(3723.9), clock(3723.9, hours=2)
    ('1:02:03', '01:02:03')
    """
    whole = max(0, math.floor(seconds))
    return f"{whole // 3600:0{hours}}:{whole // 60 % 60:02}:{whole % 60:02}"


def period(span: Span) -> str:
    """From when to when, as `0:00:00-0:00:30`."""
    return f"{clock(span.start)}-{clock(span.end)}"
