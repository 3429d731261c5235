"""The queue as both databases tell it: phases, places, what is left; and that history costs it nothing."""

from __future__ import annotations

import pytest

from dropscribe.core.routing import ResidentModel
from dropscribe.core.types import JobPhase
from dropscribe.store import chunks, fleet, jobs, leases, queries, unfinished
from dropscribe.store.jobs import NewJob
from dropscribe.store.session import Database
from dropscribe.store.speeds import MIN_SAMPLE, Place
from tests.integration.console import ENGINE, admit, prepare, read

WORKER = "model-1"


def work(store: Database, *, audio: float = 0.0, busy: float = 0.0, host: str = "here", gpu: str = "") -> None:
    fleet.register(store, WORKER, host=host, pid=1, role="model", state="ready", gpu=gpu)
    fleet.heartbeat(store, WORKER, engine=ENGINE, audio=audio, busy=busy)


def speed(store: Database) -> float | None:
    (worker,) = fleet.list_workers(store)
    return worker.speed


def test_a_recording_waits_until_a_model_works_on_it_and_finishes_when_all_is_transcribed(store: Database) -> None:
    job_id = admit(store, "a.wav")
    seen = [(queries.job(store, job_id).phase, unfinished.unfinished(store)[0].phase)]

    def look() -> None:
        (one,) = unfinished.unfinished(store)
        job = queries.job(store, job_id)
        counted = queries.backlog(store).phases(queries.count_by_state(store))
        assert [job.id for job in queries.list_jobs(store, phases=[one.phase])] == [job_id]
        assert counted == {one.phase: 1}
        assert job.phase is one.phase
        seen.append((job.phase, one.phase))

    prepare(store, job_id, (0.0, 30.0), (20.0, 40.0))
    look()
    claimed = chunks.claim(store, f"{job_id}.0", WORKER, 90)
    assert claimed
    look()
    chunks.release(store, claimed.claim)
    look()
    read(store, job_id)
    read(store, job_id, 1)
    look()
    words = [JobPhase.WAITING, JobPhase.WAITING, JobPhase.TRANSCRIBING, JobPhase.WAITING, JobPhase.FINISHING]
    assert [phase for phase, _ in seen] == words


def test_what_is_left_is_told_in_the_recordings_own_length(store: Database) -> None:
    runs, waits = admit(store, "runs.wav"), admit(store, "waits.wav")
    for job_id in (runs, waits):
        prepare(store, job_id, (0.0, 30.0), (20.0, 40.0))
    claimed = chunks.claim(store, f"{runs}.0", WORKER, 90)
    assert claimed
    leases.renew(store, claimed.claim, 90, progress=10.0)
    left = queries.backlog(store)
    assert (left.audio_seconds, left.transcribing_seconds, left.waiting_seconds) == pytest.approx((72.0, 32.0, 40.0))
    assert left.chunk_seconds == 90.0


def test_of_a_chunk_that_is_given_back_nothing_is_transcribed(store: Database) -> None:
    job_id = admit(store, "a.wav")
    prepare(store, job_id, (0.0, 30.0))
    claimed = chunks.claim(store, f"{job_id}.0", WORKER, 90)
    assert claimed
    leases.renew(store, claimed.claim, 90, progress=10.0)
    assert queries.job(store, job_id).progress > 0
    chunks.release(store, claimed.claim)
    assert queries.job(store, job_id).progress == 0
    assert queries.backlog(store).audio_seconds == 30.0


def test_a_limit_keeps_what_is_worked_on_and_the_first_that_wait(store: Database) -> None:
    waiting = [admit(store, f"{number}.wav") for number in range(4)]
    prepare(store, waiting[3], (0.0, 30.0))
    assert chunks.claim(store, f"{waiting[3]}.0", WORKER, 90)
    found = [one.id for one in unfinished.unfinished(store, limit=2)]
    assert found == [waiting[0], waiting[1], waiting[3]]
    assert [one.id for one in unfinished.unfinished(store)] == waiting


def test_the_queue_of_one_folder_is_its_own_part_of_it_in_the_same_order(store: Database) -> None:
    admit(store, "0.wav", root="/other")
    own = [admit(store, f"{number}.wav") for number in range(3)]
    assert [one.id for one in unfinished.unfinished(store, limit=2, root="/rec")] == own[:2]
    assert [one.id for one in unfinished.unfinished(store, root="/rec")] == own


def test_the_speed_of_a_model_outlives_its_worker(store: Database) -> None:
    work(store, audio=700.0, busy=100.0)
    fleet.leave(store, WORKER)
    work(store)
    assert speed(store) == 7.0


def test_a_host_that_is_new_has_the_speed_of_the_same_model_elsewhere(store: Database) -> None:
    work(store, audio=700.0, busy=100.0, host="container-1")
    work(store, host="container-2")
    assert speed(store) == 7.0
    work(store, host="container-3", gpu="GPU-1")
    assert speed(store) is None, "a GPU is no CPU"


def test_a_host_has_a_speed_of_its_own_once_enough_was_measured_there(store: Database) -> None:
    work(store, audio=700.0, busy=100.0, host="container-1")
    work(store, audio=MIN_SAMPLE - 1, busy=1.0, host="container-2")
    assert speed(store) == pytest.approx(7.0, abs=0.1)
    fleet.heartbeat(store, WORKER, audio=11.0, busy=1.0)
    assert speed(store) == pytest.approx(10.0, abs=0.1)


def test_what_was_measured_lately_counts_more(store: Database) -> None:
    work(store, audio=700.0, busy=100.0)
    for _ in range(30):
        fleet.heartbeat(store, WORKER, audio=200.0, busy=100.0)
    assert speed(store) == pytest.approx(2.0, abs=0.2)


def test_a_place_is_that_of_one_very_model() -> None:
    model = ResidentModel.of(ENGINE)
    assert Place.of("here", "", model.queues) == ("here", "", model.own_queue)


def test_the_queue_is_in_order_of_urgency_and_then_of_age(store: Database) -> None:
    news = [NewJob("/rec", f"{n}.wav", 1, n, "digest", one) for n, one in enumerate(("low", "normal", "high", "high"))]
    ids = [job_id for new in news for job_id in jobs.admit(store, [new])]
    assert [one.id for one in unfinished.unfinished(store)] == [ids[2], ids[3], ids[1], ids[0]]
