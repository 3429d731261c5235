"""Pure: which of several models have room on one card, and how much of it each may plan with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

GRAIN = 1000  # of a share, which is rounded down to such parts of a card


@dataclass(frozen=True, slots=True)
class Need:
    """Bytes that a model takes of a card at least, with its context; 0 where nobody knows beforehand.

    One that `fills` the card takes more where there is more: it serves more at once.
    """

    least: int = 0
    fills: bool = False


@dataclass(frozen=True, slots=True)
class Room:
    """Whether a model is given room, the bytes that were left for it, and its share of the card if that is limited."""

    given: bool
    left: int
    share: float | None = None


def share_out(needs: Sequence[Need], total: int, free: int, limit: float) -> list[Room]:
    """Room for each model on a card of `total` bytes of which `free` are free; none takes more than `limit` of it.

    They are served in their order. The first is given room in any case: its worker says best what is wrong. What all
    leave over is divided among those that fill the card.

    >>> [room.share for room in share_out([Need(8, fills=True), Need(4)], 20, 20, 1.0)]
    [0.8, None]
    """
    rooms = _admit(needs, total, free, limit)
    pairs = list(zip(needs, rooms, strict=True))
    spare = max(0, free - sum(need.least * room.given for need, room in pairs))
    part = spare // max(1, sum(need.fills * room.given for need, room in pairs))
    return [replace(room, share=_share(need, part, total, limit)) for need, room in pairs]


def _admit(needs: Sequence[Need], total: int, free: int, limit: float) -> list[Room]:
    """Which of the models have room beside those before them, and how much is left for each. The first always does."""
    left, rooms = free, list[Room]()
    for need in needs:
        given = not rooms or need.least <= min(left, limit * total)
        rooms.append(Room(given, left))
        left = max(0, left - need.least * given)
    return rooms


def _share(need: Need, part: int, total: int, limit: float) -> float | None:
    """What it takes at least, and its part of what is left over; None where there is nothing to limit."""
    share = (need.least + part) * GRAIN // total / GRAIN
    return min(limit, share) or None if need.fills else None
