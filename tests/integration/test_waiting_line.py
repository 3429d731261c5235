"""Who waits for whom: folders take turns, and what is urgent goes before all."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest

from dropscribe.core import chunk_ids
from dropscribe.core.errors import DropscribeError
from dropscribe.core.job_overrides import JobOverrides
from dropscribe.core.routing import ANY_MODEL, ResidentModel
from dropscribe.store import chunks, commands, jobs, queries
from dropscribe.store.events import events_of
from dropscribe.store.jobs import NewJob
from dropscribe.store.leases import JobClaim, in_turn
from dropscribe.store.session import Database
from tests.integration.store_steps import LEASE, prepare, read


def drop(database: Database, folder: str, count: int, priority: str = "normal") -> list[str]:
    """Admit so many recordings of a folder below the same root; returns their ids."""
    found = [NewJob("/share", f"{folder}/{number}.wav", 10, 1, "d", priority) for number in range(count)]
    return jobs.admit(database, found)


def next_folders(database: Database, count: int) -> list[str]:
    """The folders of the next recordings that a CPU worker prepares."""
    ids = [next_job(database) for _ in range(count)]
    return [queries.job(database, job_id).path.partition("/")[0] for job_id in ids]


def next_job(database: Database) -> str:
    return claim_next(database).id


def claim_next(database: Database) -> JobClaim:
    """Claim the next job to prepare it."""
    claim = jobs.claim_prepare(database, first_job(database), "cpu", LEASE)
    assert claim
    return claim


def first_job(database: Database) -> str:
    (first,) = jobs.first_to_prepare(database, 1)
    return first


def next_window(database: Database) -> str:
    """The job of the next window that a model worker transcribes."""
    (first,) = chunks.first_to_transcribe(database, ANY_MODEL.queues, 1)
    read(database, first)
    return first.partition(".")[0]


def test_the_one_file_of_a_folder_does_not_wait_for_the_thousand_of_another(database: Database) -> None:
    drop(database, "large", 1000)
    assert next_folders(database, 3) == ["large"] * 3
    drop(database, "small", 1)
    assert "small" in next_folders(database, 3)


def test_two_large_folders_take_turns_and_one_that_comes_file_by_file_keeps_nobody_waiting(database: Database) -> None:
    drop(database, "a", 50)
    drop(database, "b", 50)
    assert next_folders(database, 20).count("b") in {9, 10}
    served = []
    for number in range(6):
        jobs.admit(database, [NewJob("/share", f"trickle/late {number}.wav", 10, 1, "d", "normal")])
        served += next_folders(database, 3)
    assert all(served.count(name) in {5, 6, 7} for name in ("a", "b", "trickle")), served


def test_a_short_recording_is_not_transcribed_after_all_that_is_prepared_of_another_folder(database: Database) -> None:
    for job_id in drop(database, "large", 30):
        prepare(database, job_id, windows=2)
    next_window(database)
    (small,) = drop(database, "small", 1)
    prepare(database, small)
    assert small in [next_window(database) for _ in range(3)]


def test_a_long_recording_leaves_every_other_window_to_another_folder(database: Database) -> None:
    (long,) = drop(database, "long", 1)
    prepare(database, long, windows=10, at_once=2)
    shorts = drop(database, "short", 5)
    for job_id in shorts:
        prepare(database, job_id)
    served = [next_window(database) == long for _ in range(8)]
    assert sum(served) in {4, 5}


def test_what_a_worker_gives_back_is_first_in_line(database: Database) -> None:
    drop(database, "a", 5)
    claim = claim_next(database)
    assert first_job(database) != claim.id
    jobs.release(database, claim)
    assert first_job(database) == claim.id


def test_of_workers_that_claim_at_once_each_gets_what_is_next_and_the_last_nothing(database: Database) -> None:
    ids = drop(database, "a", 3)
    tried: list[str] = []

    def claim_as_second(job_id: str) -> jobs.JobClaim | None:
        """Another worker was quicker each first time."""
        if job_id not in tried:
            tried.append(job_id)
            assert jobs.claim_prepare(database, job_id, "quicker", LEASE)
        return jobs.claim_prepare(database, job_id, "slower", LEASE)

    assert in_turn(partial(jobs.first_to_prepare, database), claim_as_second) is None
    assert (tried[0], {*tried}, len(tried)) == (ids[0], {*ids}, 3)


def test_of_workers_that_come_at_once_only_the_first_try_is_for_the_same_job(database: Database) -> None:
    ids = drop(database, "a", 20)
    second_tries = set()
    for _ in range(40):
        tried: list[str] = []

        def claim_second(job_id: str, tried: list[str] = tried) -> str | None:
            tried.append(job_id)
            return job_id if len(tried) == 2 else None

        assert in_turn(partial(jobs.first_to_prepare, database), claim_second) == tried[1]
        assert tried[0] == ids[0]
        second_tries.add(tried[1])
    assert second_tries <= {*ids[:8]}
    assert len(second_tries) >= 4, "forty throws of a die with eight sides show four of them"


def test_nobody_takes_a_normal_job_while_one_of_high_priority_waits(database: Database) -> None:
    drop(database, "normal", 9)
    urgent = drop(database, "high", 2, "high")
    assert jobs.first_to_prepare(database, 8) == urgent
    for job_id in [*drop(database, "low", 2, "low"), *urgent]:
        prepare(database, job_id, windows=2)
    windows = chunks.first_to_transcribe(database, ANY_MODEL.queues, 8)
    assert {chunk_ids.job_of(window) for window in windows} == {*urgent}


def test_a_row_that_waits_for_a_later_moment_holds_the_line_back_for_nobody(database: Database) -> None:
    drop(database, "bulk", 40)
    jobs.postpone(database, claim_next(database), "the share is away", delay=3600.0)
    next_job(database)
    served = []
    for number in range(36):
        drop(database, f"new {number}", 1)
        served += next_folders(database, 1)
    assert served.count("bulk") in {7, 8, 9}, "one folder of ever more that wait: turns of 1 + 2 + ... + 8 claims"


def test_a_window_that_no_worker_may_take_holds_the_line_back_for_nobody(database: Database) -> None:
    (stranded, *bulk) = drop(database, "gone", 1) + drop(database, "bulk", 30)
    for job_id in (stranded, *bulk):
        prepare(database, job_id, windows=2)
    gone = ResidentModel("gone", "g", "int8")
    (first,) = chunks.first_to_transcribe(database, gone.queues, 1)
    assert chunks.claim(database, first, "gone", LEASE, gone)
    served = []
    for number in range(20):
        (new,) = drop(database, f"new {number}", 1)
        prepare(database, new)
        served.append(next_window(database) in bulk)
    assert sum(served) in {5, 6, 7}, "one folder of ever more that wait: turns of 1 + 2 + ... + 6 claims"


def test_a_model_that_is_far_behind_the_others_lets_the_next_folder_take_turns_too(database: Database) -> None:
    slow, quick = ResidentModel("slow", "s", "int8"), ResidentModel("quick", "q", "int8")
    wish = JobOverrides(engine="slow")
    for_slow = [NewJob("/share", f"s/{number}.wav", 10, 1, "d", "normal", overrides=wish) for number in range(9)]
    for job_id in [*jobs.admit(database, for_slow), *drop(database, "bulk", 20)]:
        prepare(database, job_id)
    for _ in range(15):
        (window,) = chunks.first_to_transcribe(database, quick.queues, 1)
        assert chunks.claim(database, window, "quick", LEASE, quick)
    (other,) = jobs.admit(database, [replace(for_slow[0], path="other/1.wav")])
    prepare(database, other)
    assert other in {chunk_ids.job_of(window) for window in chunks.first_to_transcribe(database, slow.queues, 2)}


def test_turns_go_on_where_they_were_when_the_line_has_been_empty(database: Database) -> None:
    drop(database, "a", 50)
    *_, last = [claim_next(database) for _ in range(50)]
    assert jobs.first_to_prepare(database, 1) == []
    drop(database, "b", 50)
    jobs.release(database, last)
    assert first_job(database) == last.id


def test_high_goes_before_normal_and_normal_before_low_whatever_came_first(database: Database) -> None:
    for priority in ("low", "normal", "high"):
        drop(database, priority, 2, priority)
    assert next_folders(database, 6) == ["high", "high", "normal", "normal", "low", "low"]


def test_a_job_that_waits_gets_another_priority_and_its_place_in_line(database: Database) -> None:
    *_, last = drop(database, "a", 20)
    commands.set_priority(database, last, "high")
    assert first_job(database) == last
    assert queries.job(database, last).priority == "high"
    assert [(one.kind, one.detail) for one in events_of(database, last)][-1] == ("priority", "from normal to high")
    commands.set_priority(database, last, "low")
    assert first_job(database) != last


def test_windows_that_wait_go_with_the_priority_of_their_job(database: Database) -> None:
    ids = drop(database, "a", 3)
    for job_id in ids:
        prepare(database, job_id, windows=2)
    commands.set_priority(database, ids[2], "high")
    assert [next_window(database) for _ in range(3)] == [ids[2], ids[2], ids[0]]


def test_a_window_under_way_when_its_job_was_raised_comes_back_before_those_of_low_priority(database: Database) -> None:
    raised, *others = drop(database, "a", 5, "low")
    for job_id in (raised, *others):
        prepare(database, job_id)
    (first,) = chunks.first_to_transcribe(database, ANY_MODEL.queues, 1)
    work = chunks.claim(database, first, "model", LEASE)
    assert work
    commands.set_priority(database, raised, "high")
    (normal,) = drop(database, "b", 1)
    prepare(database, normal)
    chunks.release(database, work.claim)
    assert chunks.first_to_transcribe(database, ANY_MODEL.queues, 1) == [first]


def test_a_job_that_is_over_has_no_priority_any_more(database: Database) -> None:
    (job_id,) = drop(database, "a", 1)
    commands.cancel(database, job_id)
    with pytest.raises(DropscribeError, match="is cancelled already; `dropscribe retry"):
        commands.set_priority(database, job_id, "high")
