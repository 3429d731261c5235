"""Finding again what was said, on both kinds of database."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as tuned
from hypothesis import strategies as st
from sqlalchemy import text

from dropscribe.core.types import EngineInfo, JobState, Segment, Source, Speaker, Transcript
from dropscribe.store import jobs, search, search_words, transcripts
from dropscribe.store.jobs import NewJob
from dropscribe.store.search import Query
from dropscribe.store.session import Database, open_database
from dropscribe.worker.outputs import render
from tests.integration.older_store import older_store

ENGINE = EngineInfo("scripted", "none", "fp32")
TALK = (
    Segment(0.0, 4.0, "The Café budget for next year.", 0),
    Segment(4.0, 9.0, "Budgets? The year is long, and next is the plan.", 1),
    Segment(9.0, 12.0, "世界 is hello-world.", 0),
)
PEOPLE = (Speaker(0, "Ada Lovelace", 7.0), Speaker(1, "", 5.0))


def document(job_id: str, segments: tuple[Segment, ...] = TALK, people: tuple[Speaker, ...] = PEOPLE) -> str:
    source = Source("/rec/a.wav", 1234, "ab" * 32, 60.0, "wav", "pcm_s16le", 1, 16_000)
    return render(Transcript(job_id, source, ENGINE, segments, people), "json").decode()


def admit(database: Database, path: str, *, mtime: float = 1e9, digest: str = "d", root: str = "/rec") -> str:
    recording = NewJob(root, path, 1, int(mtime * 1e9), digest, "normal")
    (job_id,) = jobs.admit(database, [recording], again=True)
    return job_id


def write(database: Database, job_id: str, told: str) -> None:
    claim = jobs.claim_finish(database, job_id, "cpu-1", 90)
    assert claim
    transcripts.save(database, claim, told)
    jobs.complete(database, claim, JobState.DONE)


def transcribed(database: Database, path: str = "a.wav", told: str = "", **recording: object) -> str:
    job_id = admit(database, path, **recording)
    with database.begin() as connection:
        connection.execute(text("UPDATE jobs SET state = 'finishing' WHERE id = :id"), {"id": job_id})
    write(database, job_id, told or document(job_id))
    return job_id


def found(database: Database, query: str, **narrower: object) -> list[int]:
    return [hit.position for hit in search.find(database, Query(search_words.parse(query), **narrower))]


@pytest.mark.parametrize(
    ("query", "positions"),
    [
        ("budget", [0]),
        ("BUDGET*", [0, 1]),
        ("cafe", [0]),
        ("café", [0]),
        ('"next year"', [0]),
        ("next year", [0, 1]),
        ('"year next"', []),
        ('"next ye*"', [0]),
        ("year plan budgets", [1]),
        ("hello-world", [2]),
        ('"hello world"', [2]),
        ("世界", [2]),
        ("界世", []),
        ("nothing", []),
    ],
)
def test_words_phrases_and_beginnings_are_found(database: Database, query: str, positions: list[int]) -> None:
    transcribed(database)
    assert found(database, query) == positions


def test_a_hit_tells_who_said_it_when_and_where(database: Database) -> None:
    job_id = transcribed(database, mtime=1e9)
    (hit,) = search.find(database, Query(search_words.parse("plan")))
    assert hit == search.Hit(
        job_id, "/rec", "a.wav", 10**18, 1, 4.0, 9.0, "Speaker 2", "Budgets? The year is long, and next is the plan."
    )
    assert hit.source == "/rec/a.wav"
    assert [line.position for line in search.around(database, hit, 1)] == [0, 1, 2]
    assert [line.position for line in search.around(database, hit, 0)] == [1]


def test_a_search_is_narrowed_by_speaker_time_and_folder(database: Database) -> None:
    transcribed(database, "one/a.wav", mtime=1000.0)
    newer = transcribed(database, "two/b.wav", mtime=2000.0)
    assert found(database, "year") == [0, 1, 0, 1]
    assert found(database, "year", speaker="lovelace") == [0, 0]
    assert found(database, "year", speaker="ADA LOVELACE") == [0, 0]
    assert found(database, "year", speaker="love") == []
    assert found(database, "year", speaker="Speaker 2") == [1, 1]
    assert found(database, "plan", since=2000.0) == [1]
    assert found(database, "plan", until=2000.0) == [1]
    assert found(database, "plan", since=1e11) == []
    assert found(database, "plan", since=2000.5) == []
    (hit,) = search.find(database, Query(search_words.parse("plan"), folder="/rec/two"))
    assert hit.job == newer
    assert len(search.find(database, Query(search_words.parse("year")), limit=3)) == 3


def test_what_is_written_again_is_found_under_its_new_names_only(database: Database) -> None:
    job_id = transcribed(database)
    with database.begin() as connection:
        connection.execute(text("UPDATE jobs SET state = 'finishing' WHERE id = :id"), {"id": job_id})
    told = document(job_id, TALK[:1], (replace(PEOPLE[0], name="Charles"),))
    write(database, job_id, told)
    assert found(database, "budget", speaker="Ada") == []
    assert found(database, "budget", speaker="Charles") == [0]
    assert found(database, "plan") == []


def test_of_a_recording_the_newest_transcript_is_found(database: Database) -> None:
    older = transcribed(database, digest="one")
    with database.begin() as connection:
        connection.execute(text("UPDATE jobs SET created_at = 1 WHERE id = :id"), {"id": older})
    newer = transcribed(database, digest="two")
    assert [hit.job for hit in search.find(database, Query(search_words.parse("plan")))] == [newer]


def test_what_is_removed_is_not_found_and_the_index_stays_whole(database: Database) -> None:
    gone, kept = transcribed(database, "a.wav"), transcribed(database, "b.wav")
    with database.begin() as connection:
        connection.execute(text("DELETE FROM jobs WHERE id = :id"), {"id": gone})
    assert [hit.job for hit in search.find(database, Query(search_words.parse("plan")))] == [kept]
    if database.is_sqlite:
        with database.begin() as connection:
            connection.execute(text("INSERT INTO lines_index(lines_index) VALUES ('integrity-check')"))


@pytest.mark.parametrize(
    "hostile", ['"', "*", "-", "a OR", "NEAR(a b)", "{a}: b", "'", "a & | !b", "\\", "zz:*", "col:x"]
)
def test_no_query_is_an_error_of_the_database(database: Database, hostile: str) -> None:
    transcribed(database)
    if terms := search_words.parse(hostile):
        assert search.find(database, Query(terms)) == []


@tuned(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.characters(codec=None, exclude_categories=()), max_size=40))
def test_whatever_is_said_is_found_by_its_own_words(database: Database, said: str) -> None:
    rows = search.entries("x", json.dumps({"segments": [{"start": 0, "end": 1, "speaker": None, "text": said}]}))
    job_id = admit(database, "p.wav")
    with database.begin() as connection:
        connection.execute(text("DELETE FROM lines"))
        search.insert_all(connection, search.lines, [row | {"job_id": job_id} for row in rows])
    if terms := search_words.parse(said):
        assert found(database, said) == [0], (said, terms)
    with database.begin() as connection:
        connection.execute(text("DELETE FROM jobs"))


def test_words_and_lines_without_end_are_indexed_by_their_beginning(database: Database) -> None:
    job_id = admit(database, "a.wav")
    with database.begin() as connection:
        connection.execute(text("UPDATE jobs SET state = 'finishing' WHERE id = :id"), {"id": job_id})
    endless = "y" * 3000
    many = " ".join(f"{'x' * 30}{number}" for number in range(search_words.MAX_WORDS + 1))
    write(database, job_id, document(job_id, (Segment(0.0, 1.0, f"{endless} {many}", 0),)))
    assert found(database, endless) == [0]
    assert found(database, f"{'x' * 30}{search_words.MAX_WORDS - 2}") == [0]
    assert found(database, f"{'x' * 30}{search_words.MAX_WORDS}") == []


def test_transcripts_that_are_there_already_are_indexed_by_the_migration(database_url: str) -> None:
    older_store(database_url, "0006", document=document("x")).close()
    upgraded = open_database(database_url)
    assert found(upgraded, "budget*") == [0, 1]
    upgraded.close()
