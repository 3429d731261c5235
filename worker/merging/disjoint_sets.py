"""Pure: which of many things belong together, where that is found out pair by pair."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)


class DisjointSets(Generic[T]):
    """Sets of which none shares a member with another; at first each member is alone.

    Joining moves the smaller set into the larger, so that n members take n log n steps in all.

    >>> sets = DisjointSets("abcd")
    >>> sets.join("d", "b")
    >>> sets.together("b", "d"), sets.together("a", "b")
    (True, False)
    >>> sets.all()
    [['a'], ['b', 'd'], ['c']]
    >>> sets.numbers()
    {'a': 0, 'b': 1, 'c': 2, 'd': 1}
    """

    def __init__(self, members: Iterable[T]) -> None:
        self._of = {member: [member] for member in members}

    def of(self, member: T) -> list[T]:
        """The members of the set that has this one."""
        return self._of[member]

    def together(self, one: T, other: T) -> bool:
        """True when both are in one set."""
        return self._of[one] is self._of[other]

    def join(self, one: T, other: T) -> None:
        """Make one set of the two that have these members."""
        small, large = sorted((self._of[one], self._of[other]), key=len)
        if small is not large:
            large += small
            self._of |= dict.fromkeys(small, large)

    def all(self) -> list[list[T]]:
        """The sets by first member, and each set's members, in the order in which the members were given."""
        found: dict[int, list[T]] = {}
        for member, members in self._of.items():
            found.setdefault(id(members), []).append(member)
        return list(found.values())

    def numbers(self) -> dict[T, int]:
        """For each member, in the order in which they were given, the number of its set by first member."""
        found: dict[int, int] = {}
        return {member: found.setdefault(id(members), len(found)) for member, members in self._of.items()}
