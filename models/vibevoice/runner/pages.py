"""The pages of a paged cache: which are free, and how many a request needs. No torch."""

from __future__ import annotations

from collections.abc import Sequence

PAGE = 256  # tokens; the attention kernels take pages that are a multiple of it


def pages_for(tokens: int) -> int:
    """Pages that hold so many tokens."""
    return -(-tokens // PAGE)


class PagePool:
    """Hands out pages by number, from 0 to `count` - 1."""

    def __init__(self, count: int) -> None:
        """All pages are free."""
        self._free = list(range(count))
        self._taken: set[int] = set()

    @property
    def free(self) -> int:
        """Pages that can be taken."""
        return len(self._free)

    def take(self, count: int) -> list[int]:
        """Take so many pages, at least one. Raises ValueError if fewer are free."""
        if not 0 < count <= self.free:
            raise ValueError(f"{count} pages are needed, and {self.free} are free")
        taken = self._free[-count:]
        del self._free[-count:]
        self._taken.update(taken)
        return taken

    def give_back(self, pages: Sequence[int]) -> None:
        """Free pages that were taken. Raises ValueError if one of them is free already."""
        if not self._taken.issuperset(pages):
            raise ValueError("a page is released that was not taken")
        self._taken.difference_update(pages)
        self._free.extend(pages)
