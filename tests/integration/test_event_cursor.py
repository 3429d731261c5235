"""Events whose transactions end in another order than their numbers: nobody passes one that is still to come."""

from __future__ import annotations

import threading
from contextlib import closing
from http.client import HTTPConnection

import pytest
from sqlalchemy import Connection, event

from dropscribe.core.event_kinds import EventKind
from dropscribe.core.settings import Settings
from dropscribe.scheduler.duties.metrics import Totals
from dropscribe.serve.gate import Gate
from dropscribe.serve.shared_events import SharedEvents
from dropscribe.store import events
from dropscribe.store.event_cursor import EventCursor, moment_of
from dropscribe.store.session import Database
from tests.e2e.harness import wait_until
from tests.integration.console import admit
from tests.integration.serving import listening

pytestmark = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)  # SQLite has one writer at a time


def note(connection: Connection, job_id: str, detail: str) -> None:
    events.note(connection, job_id, EventKind.DEFERRED, detail, where="test")


def test_an_event_of_a_transaction_that_ends_late_is_streamed_counted_and_reported(database: Database) -> None:
    job_id = admit(database, "a.wav")
    stream, totals, cursor = (
        SharedEvents(database, clock=iter(range(99)).__next__),
        Totals(),
        EventCursor.at_end(database),
    )
    totals.catch_up(database)
    after = cursor.after
    with database.begin() as slow:
        note(slow, job_id, "slow")
        with database.begin() as quick:
            note(quick, job_id, "quick")
        for _ in range(3):
            totals.catch_up(database)
            assert (stream.since(after, None)[:2], events.postponed_since(cursor)) == (("", after), [])
    with database.begin() as later:
        note(later, job_id, "later")
        told = stream.since(after, None)
        assert told.written.count("event: deferred") == 2, "who writes by now keeps back nothing that is there"
        assert [one.reason for one in events.postponed_since(cursor)] == ["slow", "quick"]
    assert stream.since(told.after, None).written.count("event: deferred") == 1
    assert [one.reason for one in events.postponed_since(cursor)] == ["later"]
    totals.catch_up(database)
    assert totals.events["deferred"] == 3


def test_a_stream_begins_when_all_is_there_that_was_being_written(
    database: Database, made: Gate, own: Settings
) -> None:
    job_id, order = admit(database, "a.wav"), []
    looks: list[str] = []
    event.listen(database.engine, "before_cursor_execute", lambda *said: looks.append(said[2]))

    def follow(address: tuple[str, int]) -> None:
        with closing(HTTPConnection(*address, timeout=60)) as connection:
            connection.request("GET", "/api/v1/events")
            with connection.getresponse() as stream:
                order.append("begun")
                while not (line := stream.readline()).startswith(b"id: "):
                    assert line
                order.append(str(int(line[4:]) - before.newest))

    with listening(made, own) as address, database.begin() as slow:
        note(slow, job_id, "slow")
        with database.begin() as quick:
            note(quick, job_id, "quick")
        before = moment_of(database)
        reader = threading.Thread(target=follow, args=(address,))
        reader.start()
        wait_until("it was asked several times", lambda: sum("pg_locks" in look for look in looks) > 4)
        order.append("committed")
        slow.commit()
        wait_until("the stream begins", lambda: len(order) > 1)
        with database.begin() as other:
            note(other, job_id, "other")
        reader.join()
        made.app.state.stopping.set()
    assert order == ["committed", "begun", "1"], "what came before it began is on the page that it was opened by"
