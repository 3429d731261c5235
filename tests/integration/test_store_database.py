"""What a database does not take by itself: file names that are no text, any prose, and an interrupt."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import exc

from dropscribe.core.errors import StoreError
from dropscribe.store import jobs, queries
from dropscribe.store.session import Database
from dropscribe.store.tables import FileName, Prose
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
