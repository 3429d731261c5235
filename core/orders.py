"""What a signal orders, done in a thread of its own.

A handler interrupts the main thread anywhere, also while that holds a lock: in `Event.wait`, in a library, or in the
handler of a signal before. What takes that lock again waits for ever, so a handler may do nothing that takes one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from types import FrameType
from typing import Self


class Orders:
    """Calls `obey` with each number that is given, one after the other, in a thread. Used as a context."""

    def __init__(self, obey: Callable[[int], object]) -> None:
        self._obey = obey
        self._given: SimpleQueue[int | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._carry_out, name="orders", daemon=True)

    def give(self, number: int, _frame: FrameType | None = None) -> None:
        """Note a signal's number; a handler of signals itself. It may interrupt anything, itself too."""
        self._given.put(number)  # takes no lock, by its documentation

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """All that was given is done by then."""
        self._given.put(None)
        self._thread.join()

    def _carry_out(self) -> None:
        while (number := self._given.get()) is not None:
            self._obey(number)
