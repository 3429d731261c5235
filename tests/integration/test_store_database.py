"""What a database does not take by itself: file names that are no text, any prose, and an interrupt."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import create_engine, exc, make_url, text

from dropscribe.admin.check.checks import Severity
from dropscribe.admin.check.doctor import encoding
from dropscribe.core.errors import StoreError, StoreUnavailableError, UnstorableError
from dropscribe.store import jobs, queries
from dropscribe.store.jobs import NewJob
from dropscribe.store.roots import RootReport, UnreadablePlace, list_roots, report_roots
from dropscribe.store.session import Database, open_database
from dropscribe.store.tables import FileName, Prose
from tests.e2e.harness import wait_until
from tests.integration.store_steps import LEASE, admit


def test_names_that_are_no_text_come_back_as_they_were(database: Database) -> None:
    name = b"caf\xe9 \xff.wav".decode("utf-8", "surrogateescape")
    job_id = admit(database, name)
    assert queries.job(database, job_id).path == name
    assert jobs.known(database, "/root") == {name: (10, 1)}
    claim = jobs.claim_prepare(database, job_id, "cpu", LEASE)
    assert claim
    jobs.fail(database, claim, f"{name}: \0 broken")
    assert "\ufffd" in queries.job(database, job_id).reason


@given(st.binary(max_size=60))
def test_any_bytes_make_a_file_name_that_survives_the_store(raw: bytes) -> None:
    name = raw.decode("utf-8", "surrogateescape")
    bind: Callable[..., str | None] = FileName().process_bind_param
    stored = bind(name, None)
    assert stored is not None
    stored.encode("utf-8", "strict")  # as a database does
    assert FileName().process_result_value(stored, None) == name


@given(st.text(st.characters(codec=None), max_size=60))
def test_any_text_becomes_prose_that_a_database_takes(raw: str) -> None:
    stored = Prose().process_bind_param(raw, None)
    assert stored is not None
    assert "\0" not in stored
    stored.encode("utf-8", "strict")  # as a database does


@pytest.fixture
def latin(postgresql: str) -> Iterator[Database]:
    """A store in an encoding that lacks most letters."""
    engine = create_engine(postgresql, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0"))
        url = make_url(postgresql).set(database="latin").render_as_string(hide_password=False)
        store = open_database(url)
        yield store
        store.close()
        connection.execute(text("DROP DATABASE latin"))
    engine.dispose()


def test_a_name_that_the_encoding_lacks_is_refused_with_the_reason_and_doctor_names_the_encoding(
    latin: Database,
) -> None:
    assert jobs.admit(latin, [NewJob("/root", "caf\xe9.wav", 1, 1, "s", "normal")])
    with pytest.raises(UnstorableError, match=r'no equivalent in encoding "LATIN1"; rename it'):
        jobs.admit(latin, [NewJob("/root", "\u043a\u0438\u043d\u043e.wav", 1, 1, "s", "normal")])
    place = UnreadablePlace("\u043a\u0438\u043d\u043e \udcff.wav", "it cannot hold it", "rename it")
    report = RootReport("/root", "here", "ext4", online=True, unreadable=[place], unreadable_count=1)
    report_roots(latin, [report])
    assert list_roots(latin)[0].unreadable == (place,)
    found = encoding(latin.encoding())
    assert (found.level, "LATIN1" in found.finding) == (Severity.WARN, True)


def test_both_databases_of_ours_hold_any_text(database: Database) -> None:
    assert encoding(database.encoding()).level is Severity.OK


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_process_that_slept_in_a_transaction_finds_the_store_away_and_not_broken(database: Database) -> None:
    def is_there(pid: int) -> bool:
        with database.read() as other:
            of = {"pid": pid}
            return bool(other.execute(text("SELECT count(*) FROM pg_stat_activity WHERE pid = :pid"), of).scalar())

    def sleep() -> None:
        with database.begin() as sleeper:
            pid = sleeper.execute(text("SELECT pg_backend_pid()")).scalar_one()
            sleeper.execute(text("SET LOCAL idle_in_transaction_session_timeout = '1ms'"))
            wait_until("its connection is cut", lambda: not is_there(pid))
            sleeper.execute(text("SELECT 1"))

    with pytest.raises(StoreUnavailableError):
        sleep()


def test_an_interrupt_stays_one_whatever_the_driver_says_about_it(database: Database) -> None:
    def interrupted() -> None:
        try:
            raise KeyboardInterrupt
        finally:
            raise exc.ProgrammingError("", {}, Exception("can't change 'autocommit' now"))

    with pytest.raises(KeyboardInterrupt), database.read():
        interrupted()
    with pytest.raises(StoreError, match="autocommit"), database.read():
        raise exc.ProgrammingError("", {}, Exception("can't change 'autocommit' now"))
