"""What happened, asked once for all streams that have come equally far: each asks every second."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import NamedTuple

from dropscribe.core.clock import with_moments
from dropscribe.store import folder_queries
from dropscribe.store.event_cursor import EventCursor
from dropscribe.store.folder_queries import RecordingEvent
from dropscribe.store.session import Database

FRESH_SECONDS = 1.0
MAX_EVENTS = 500  # at once

Folders = tuple[str, ...] | None


class EventBatch(NamedTuple):
    """Events as server-sent events, empty where there were none; the number to go on `after`, and until when known."""

    written: str
    after: int
    until: float


@dataclass
class SharedEvents:
    """What happened after a number, at most `FRESH_SECONDS` old. Safe to share between threads."""

    database: Database
    clock: Callable[[], float] = time.monotonic
    _known: dict[tuple[int, Folders], EventBatch] = field(default_factory=dict)
    _cursor: EventCursor = field(init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._cursor = EventCursor(self.database)

    def since(self, after: int, folders: Folders) -> EventBatch:
        """What happened after that number to recordings in these folders (None: anywhere). Raises StoreError."""
        with self._lock:  # the first one asks, and the others wait for what it finds
            now = self.clock()
            self._known = {key: one for key, one in self._known.items() if one.until > now}
            if (after, folders) not in self._known:
                self._known[after, folders] = self._asked(after, folders)
            return self._known[after, folders]

    def _asked(self, after: int, folders: Folders) -> EventBatch:
        """The same, from the store."""
        upto = max(self._cursor.upto(), after)
        found = folder_queries.events_between(self.database, after, upto, folders, MAX_EVENTS)
        last = found[-1].number if len(found) == MAX_EVENTS else upto
        return EventBatch("".join(map(_written, found)), last, self.clock() + FRESH_SECONDS)


def _written(event: RecordingEvent) -> str:
    """An event as browsers expect it."""
    document = json.dumps(with_moments(asdict(event), "at"))
    return f"id: {event.number}\nevent: {event.kind}\ndata: {document}\n\n"
