"""What `dropscribe status` concludes from what the store says: speed, time to finish, warnings."""

from __future__ import annotations

from dataclasses import replace

from dropscribe.admin.state.fleet_status import Status
from dropscribe.admin.state.status_view import leaves_out, what_was_seen
from dropscribe.core.types import EngineInfo, JobState
from dropscribe.store.fleet import Worker
from dropscribe.store.queries import Backlog, Deferred
from dropscribe.store.roots import WatchedRoot

WHISPER = EngineInfo("whisper", "base", "int8", notice="expect mistakes")
NOTHING = Status(
    jobs={},
    backlog=Backlog(0.0, 0),
    workers=(),
    roots=(),
    paused_since=None,
    spool_full_since=None,
    engine="auto",
    silence=60.0,
)


def worker(role: str, name: str = "", *, silent: float = 1.0, audio: float = 0.0, busy: float = 0.0) -> Worker:
    engine = WHISPER if role == "model" else None
    kept = {"kept_audio_seconds": audio, "kept_busy_seconds": busy}
    return Worker(name or role, "host", 1, role, "ready", "", engine, audio, busy, 0.0, silent, **kept)


FLEET = (worker("scheduler"), worker("cpu"), worker("model", audio=100.0, busy=10.0))
WAITING = replace(NOTHING, jobs={JobState.QUEUED: 2, JobState.DONE: 5}, backlog=Backlog(600.0, 2, chunk_seconds=600.0))


def test_nothing_to_do_is_nothing_to_warn_of() -> None:
    assert NOTHING.warnings == []
    assert replace(NOTHING, jobs={JobState.DONE: 3}).warnings == []


def test_each_missing_role_is_named_while_jobs_wait() -> None:
    assert len(WAITING.warnings) == 3
    for role in ("scheduler", "cpu", "model"):
        there = tuple(one for one in FLEET if one.role != role)
        (warning,) = replace(WAITING, workers=there).warnings
        assert role.casefold() in warning.casefold()
    assert replace(WAITING, workers=FLEET).warnings == []


def test_up_is_recommended_only_where_nothing_runs_that_it_may_have_started() -> None:
    assert all("dropscribe up" in warning for warning in WAITING.warnings)
    _, model = replace(WAITING, workers=FLEET[:1]).warnings
    assert model.endswith("; start `dropscribe worker --role model`")


def test_a_silent_worker_counts_for_nothing() -> None:
    dead = replace(WAITING, workers=(*FLEET[:2], replace(FLEET[2], silent=61.0)))
    assert dead.speed is None
    assert dead.time_to_finish is None
    assert dead.engines == []
    assert any("no model worker" in warning for warning in dead.warnings)
    assert any("model" in warning and "silent" in warning for warning in dead.warnings)


def test_speeds_of_model_workers_add_up_and_preparing_is_no_speed() -> None:
    fleet = (
        worker("model", "one", audio=100.0, busy=10.0),
        worker("model", "two", audio=90.0, busy=3.0),
        worker("model", "new"),
        worker("cpu", audio=5000.0, busy=1.0),
    )
    status = replace(WAITING, workers=fleet)
    assert status.speed == 40.0
    assert status.time_to_finish == 15.0


def test_equal_engines_are_told_once_with_their_notice() -> None:
    status = replace(NOTHING, workers=(worker("model", "one"), worker("model", "two")))
    (engine,) = status.engines
    assert (engine["engine"], engine["notice"], engine["workers"]) == ("whisper", "expect mistakes", 2)


def test_an_offline_folder_and_a_parked_job_are_warned_of() -> None:
    gone = WatchedRoot("/nas", "host", "nfs4", False, "not mounted", 0, 0, 0, 0, 0.0, 1.0)
    status = replace(NOTHING, roots=(gone,), jobs={JobState.PARKED: 1})
    folder, parked = status.warnings
    assert "/nas" in folder
    assert "not mounted" in folder
    assert "parked" in parked


def test_deferred_jobs_are_shown_with_the_reason_and_a_recording() -> None:
    status = replace(NOTHING, deferred=(Deferred("/results is full", "a.wav", 3), Deferred("it is gone", "b.wav", 1)))
    several, one = status.warnings
    assert several == "a.wav and 2 others deferred, to be tried again: /results is full"
    assert one == "b.wav deferred, to be tried again: it is gone"


def test_of_many_reasons_to_defer_jobs_the_first_are_shown_and_the_others_counted() -> None:
    status = replace(NOTHING, deferred=tuple(Deferred(f"{name} is gone", name, 1) for name in "abcde"))
    assert len(status.warnings) == 4
    assert status.warnings[-1] == "2 jobs deferred for other reasons; see `dropscribe jobs`"


def test_the_json_has_all_states_also_those_without_jobs() -> None:
    assert NOTHING.to_json()["jobs"] == {state.value: 0 for state in JobState}


def test_a_folder_without_a_recording_tells_what_was_seen_there() -> None:
    notes = WatchedRoot("/nas", "host", "ext4", True, "", 0, 0, 5, 1, 0.0, 1.0)
    assert leaves_out(notes)
    assert what_was_seen(notes) == "/nas: 0 recordings; left out: 5 other files, 1 hidden, unfinished or linked"
    assert leaves_out(replace(notes, not_media=0, ignored=0))
    assert leaves_out(replace(notes, files=2))
    assert not leaves_out(replace(notes, files=2, not_media=0, ignored=0))
