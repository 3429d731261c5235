"""The table that a measurement prints: how many things a second, and the ratio to the rival in its first row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """One way of doing it: how many things in how many seconds."""

    name: str
    count: int
    seconds: float

    @property
    def rate(self) -> float:
        """Things a second."""
        return self.count / self.seconds


def print_rates(things: str, rows: Sequence[Row]) -> None:
    """The ratios refer to the first row."""
    print(f"\n{'':52}{things + ' a second':>22}{'ratio':>9}")
    for row in rows:
        print(f"{row.name:52}{row.rate:22,.1f}{row.rate / rows[0].rate:8.3f}x", flush=True)
