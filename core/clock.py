"""Pure: a moment of a recording as people write it."""

from __future__ import annotations

import math


def clock(seconds: float, *, hours: int = 1) -> str:
    """`H:MM:SS`, the second that has begun; the hour has at least `hours` digits.

    >>> clock(3723.9), clock(3723.9, hours=2)
    ('1:02:03', '01:02:03')
    """
    whole = max(0, math.floor(seconds))
    return f"{whole // 3600:0{hours}}:{whole // 60 % 60:02}:{whole % 60:02}"
