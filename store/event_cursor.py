"""A place in the audit trail that never passes an event which is still to come.

Numbers are given out in order, but transactions end in any: who has seen number 9 may find number 8 later. So a cursor
goes up to the newest number of a moment only when all transactions have ended that were writing events then. SQLite
lets one transaction write at a time, and knows no such gaps.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sqlalchemy import ColumnClause, func, literal_column, select

from dropscribe.store.session import Database
from dropscribe.store.tables import events

# Anyone who writes a row holds this lock from before it takes a number until its transaction has ended.
_WRITERS: ColumnClause[Any] = literal_column(
    "ARRAY(SELECT virtualtransaction FROM pg_locks JOIN pg_database ON pg_database.oid = database"
    " WHERE datname = current_database() AND relation = 'events'::regclass AND mode = 'RowExclusiveLock')"
)
_NEWEST = select(func.coalesce(func.max(events.c.id), 0))
_NEWEST_AND_WRITERS = _NEWEST.add_columns(_WRITERS)


class Moment(NamedTuple):
    """The newest number at a moment, and the transactions that may still add lower ones."""

    newest: int = 0
    writers: frozenset[str] = frozenset()

    def is_whole(self, later: Moment) -> bool:
        """Was by a later moment everything there that was being written at this one?"""
        return self.writers.isdisjoint(later.writers)


def moment_of(database: Database) -> Moment:
    """Now. PostgreSQL looks for locks when it knows which rows it sees: who holds none by then is seen later."""
    with database.read() as connection:
        newest, *writers = connection.execute(_NEWEST if database.is_sqlite else _NEWEST_AND_WRITERS).one()
        return Moment(newest, frozenset(*writers))


@dataclass
class EventCursor:
    """Stands behind the event with the number `after`; who has read on sets that. Of one thread at a time."""

    database: Database
    after: int = 0
    _seen: Moment = field(default_factory=Moment)

    @classmethod
    def at_end(cls, database: Database) -> EventCursor:
        """Behind the newest event that there is now. Raises StoreError."""
        return cls(database, moment_of(database).newest)

    def upto(self) -> int:
        """The number up to which nothing is still to come, `after` or above. Raises StoreError."""
        now = moment_of(self.database)
        if not self._seen.is_whole(now):
            return self.after
        whole, self._seen = self._seen.newest if now.writers else now.newest, now
        return max(whole, self.after)
