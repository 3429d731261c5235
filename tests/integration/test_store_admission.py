"""How recordings get into the store: each is admitted once and found again, and equal content follows one job."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dropscribe.core.errors import AmbiguousJobError, JobNotFoundError
from dropscribe.core.recording_parts import RecordingPart
from dropscribe.core.types import JobState, Media
from dropscribe.store import chunk_plans, jobs, queries, recording_moves, recovery, tables
from dropscribe.store.chunk_plans import Prepared
from dropscribe.store.session import Database
from tests.integration.store_steps import LEASE, LIMIT, admit, finish, follow, new_job, state


def test_the_same_recording_is_admitted_once(database: Database) -> None:
    job_id = admit(database)
    assert jobs.admit(database, [new_job()]) == []
    assert jobs.admit(database, [new_job(digest="other settings")]) == [], "new settings re-run nothing by themselves"
    (again,) = jobs.admit(database, [new_job(digest="other settings")], again=True)
    assert again != job_id
    assert jobs.admit(database, [new_job(size=11)]) != [], "a changed file is another recording"
    assert jobs.find_admitted(database, new_job()) == job_id


def test_a_renamed_file_keeps_its_place_in_the_queue(database: Database) -> None:
    job_id = admit(database, "old.wav")
    assert recording_moves.adopt_renamed(database, new_job("new.wav"), {"other.wav"}) is None
    assert recording_moves.adopt_renamed(database, new_job("new.wav", size=99), {"old.wav"}) is None
    assert recording_moves.adopt_renamed(database, new_job("new.wav"), {"old.wav"}) == job_id
    assert queries.job(database, job_id).source == "/root/new.wav"
    assert jobs.admit(database, [new_job("new.wav")]) == []


def test_a_job_is_found_by_id_prefix_and_path(database: Database) -> None:
    job_id = admit(database)
    assert queries.find(database, job_id, "/elsewhere") == job_id
    assert queries.find(database, job_id[:5], "/elsewhere") == job_id
    assert queries.find(database, "talk.wav", "/root/talk.wav") == job_id
    with pytest.raises(JobNotFoundError, match="nothing%like_it"):
        queries.find(database, "nothing%like_it", "/elsewhere")
    with database.begin() as connection:
        for n in range(2):
            twin = {"id": f"twin{n}", "identity": f"0{n}", "path_key": f"0{n}"}
            columns = [c for c in tables.jobs.c if c.name not in twin]
            row = connection.execute(tables.jobs.select().where(tables.jobs.c.id == job_id)).one()
            values = {c.name: row._mapping[c.name] for c in columns if row._mapping[c.name] is not None}
            connection.execute(tables.jobs.insert().values(**values, **twin))
    with pytest.raises(AmbiguousJobError, match="twin0, twin1"):
        queries.find(database, "twin", "/elsewhere")


def test_the_same_content_follows_the_job_that_transcribes_it(database: Database) -> None:
    leader, nobody, _ = follow(database, "a.wav", "same")
    follower, followed, woken = follow(database, "b.wav", "same")
    assert (nobody, followed, woken) == (None, leader, [])
    assert state(database, follower) is JobState.TRANSCRIBING
    recovery.expire_all(database, LIMIT)  # the leader is prepared again
    claim = jobs.claim_prepare(database, leader, "cpu", LEASE)
    assert claim
    assert jobs.lead_or_follow(database, claim, "same") == (None, [])
    chunk_plans.prepared(database, claim, Prepared(1.0, Media(), "energy", (), ()), window=1)
    assert finish(database, leader) == [follower], "the leader's end wakes its followers"
    assert state(database, follower) is JobState.FINISHING
    late, followed, woken = follow(database, "c.wav", "same")
    assert (followed, woken) == (leader, [late]), "who comes late need not wait"


def test_a_follower_of_a_failed_job_transcribes_by_itself(database: Database) -> None:
    job_id = admit(database, "a.wav")
    claim = jobs.claim_prepare(database, job_id, "cpu", LEASE)
    assert claim
    jobs.lead_or_follow(database, claim, "same")
    follower, _, _ = follow(database, "b.wav", "same")
    assert jobs.fail(database, claim, "broken") == [follower]
    finishing = jobs.claim_finish(database, follower, "cpu", LEASE)
    assert finishing
    assert jobs.start_over(database, finishing, "no transcript") == [follower]
    again = jobs.claim_prepare(database, follower, "cpu", LEASE)
    assert again
    assert jobs.lead_or_follow(database, again, "same") == (None, [])


def test_a_recording_with_a_further_part_wakes_the_followers_of_the_job_whose_place_it_takes(
    database: Database,
) -> None:
    leader, *_ = follow(database, "a.wav", "same")
    follower, *_ = follow(database, "b.wav", "same")
    recovery.expire_all(database, LIMIT)
    woken: list[str] = []
    joined = replace(new_job("a.wav"), parts=(RecordingPart("a2.wav", 10, 1),))
    assert len(jobs.admit(database, [joined], woken=woken)) == 1
    assert (state(database, leader), woken) == (JobState.CANCELLED, [follower])
