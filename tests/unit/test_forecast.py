"""How long recordings take, and their places in the queue: worked out without a store."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dropscribe.core.forecast import QueuedChunks, Stream, seconds_left
from dropscribe.core.types import EngineInfo, JobPhase, JobState
from dropscribe.store.fleet import Work, Worker
from dropscribe.store.queries import Backlog
from dropscribe.store.speeds import MIN_SAMPLE
from dropscribe.store.unfinished import Outlook, Unfinished, outlooks

QUEUE = "model"
ONE = Stream(1.0, [QUEUE])
ENGINE = EngineInfo("whisper", "base", "int8")
FAST = Worker(
    "fast", "host", 1, "model", "ready", "", ENGINE, 0.0, 0.0, 0.0, 1.0, "", 0, (QUEUE,), (), 700.0, 100.0
)  # 7 times real time
WAITS = Unfinished(
    "w", "/rec", "w.wav", JobState.TRANSCRIBING, "normal", 0.0, QUEUE, 94.0, None, "", 0, 1, 94.0, 0.0, 94.0
)
RUNS = replace(WAITS, id="r", path="r.wav", running=1, waiting=0, waiting_seconds=0.0)


def queued(
    job: str, *, chunks: int = 1, seconds: float = 60.0, queue: str = QUEUE, rank: int = 0, folder: str = ""
) -> QueuedChunks:
    return QueuedChunks(job, queue, chunks, seconds, rank, folder)


def busy(elapsed: float, read: float, length: float = 94.0) -> Worker:
    return replace(FAST, work=(Work("r", "r.wav", "transcribing", 0.0, length, read, elapsed),))


def expected(*recordings: Unfinished, worker: Worker = FAST, paused: bool = False) -> dict[str, Outlook]:
    return {one.recording.id: one for one in outlooks(recordings, [worker], paused=paused)}


def test_one_after_the_other_where_one_stream_transcribes() -> None:
    assert seconds_left([queued("a"), queued("b")], [ONE], 2) == {"a": 60.0, "b": 120.0}


def test_side_by_side_where_there_are_streams_for_all() -> None:
    assert seconds_left([queued("a"), queued("b", seconds=30.0)], [ONE, ONE], 2) == {"b": 30.0, "a": 60.0}


def test_one_chunk_is_not_divided_among_workers_but_a_long_recording_is() -> None:
    assert seconds_left([queued("a")], [ONE] * 4, 8) == {"a": 60.0}
    assert seconds_left([queued("a", chunks=4, seconds=240.0)], [ONE] * 4, 8) == {"a": 60.0}


def test_what_runs_counts_for_what_is_left_of_it() -> None:
    running = replace(ONE, speed=2.0, job="r", left=40.0)
    assert seconds_left([queued("a")], [running], 2) == {"r": 20.0, "a": 50.0}


def test_folders_take_turns() -> None:
    short = [queued(f"s{number}", folder="many") for number in range(1_000)]
    long = queued("long", chunks=10, seconds=600.0, folder="one")
    left = seconds_left([*short, long], [ONE], 1)
    assert left["long"] == pytest.approx(1_200, abs=60)  # every second chunk is its own
    assert max(left.values()) == 60_600


def test_the_urgent_goes_first() -> None:
    assert seconds_left([queued("low", rank=2), queued("high")], [ONE], 1) == {"high": 60.0, "low": 120.0}


def test_a_recording_that_no_worker_may_take_has_no_end_and_keeps_nobody_waiting() -> None:
    assert seconds_left([queued("other", queue="model.onnx"), queued("a")], [ONE], 2) == {"a": 60.0}


def test_without_a_worker_nothing_ends() -> None:
    assert seconds_left([queued("a")], [], 2) == {}


jobs_of_any_kind = st.lists(
    st.tuples(st.integers(1, 6), st.floats(1.0, 500.0), st.integers(0, 2)), min_size=1, max_size=8
)


@given(jobs_of_any_kind, st.lists(st.floats(0.1, 50.0), min_size=1, max_size=5), st.integers(2, 6))
def test_all_ends_and_no_sooner_than_the_work_takes(
    kinds: list[tuple[int, float, int]], speeds: list[float], window: int
) -> None:
    waiting = [queued(str(n), chunks=c, seconds=c * s, rank=r) for n, (c, s, r) in enumerate(kinds)]
    streams = [Stream(speed, [QUEUE]) for speed in speeds]
    ends = seconds_left(waiting, streams, window)
    assert set(ends) == {one.job for one in waiting}
    assert max(ends.values()) >= 0.999 * sum(one.seconds for one in waiting) / sum(speeds)
    for one in waiting:
        assert ends[one.job] >= 0.999 * one.seconds / one.chunks / max(speeds)


def test_the_speed_of_earlier_workers_tells_the_time_before_the_first_chunk_is_through() -> None:
    assert expected(WAITS)["w"].seconds_left == pytest.approx(94 / 7)
    assert expected(RUNS, worker=busy(0.2, 0.5))["r"].seconds_left == pytest.approx(93.5 / 7)


def test_a_model_that_tells_no_progress_is_taken_to_be_as_fast_as_ever() -> None:
    assert expected(RUNS, worker=busy(10.0, 0.0))["r"].seconds_left == pytest.approx(94 / 7 - 10)
    assert busy(60.0, 0.0).speed == 7.0
    assert expected(RUNS, worker=busy(60.0, 0.0))["r"].seconds_left == 0.0


def test_the_progress_of_running_chunks_tells_it_where_nothing_was_ever_measured_but_a_first_moment_does_not() -> None:
    new = {"kept_audio_seconds": 0.0, "kept_busy_seconds": 0.0}
    first = replace(busy(1.8, 0.2), **new)
    assert expected(RUNS, worker=first)["r"].seconds_left is None, "else it would be 14 minutes for 94 s"
    little = replace(busy(5.0, MIN_SAMPLE - 1), **new)
    assert expected(RUNS, worker=little)["r"].seconds_left is None
    later = replace(busy(4.0, 24.0), **new)
    assert later.speed == 6.0
    assert expected(RUNS, worker=later)["r"].seconds_left == pytest.approx(70 / 6)


def test_a_model_whose_speed_nobody_knows_is_taken_to_be_as_fast_as_the_others() -> None:
    new = replace(FAST, id="new", kept_audio_seconds=0.0, kept_busy_seconds=0.0)
    both = outlooks([WAITS, replace(WAITS, id="x")], [FAST, new])
    assert [one.seconds_left for one in both] == pytest.approx([94 / 7, 94 / 7])


def test_a_worker_with_several_slots_transcribes_as_many_chunks_at_once() -> None:
    batching = replace(FAST, engine=replace(ENGINE, slots=4))
    assert batching.speed == 28.0
    many = [replace(WAITS, id=str(number)) for number in range(4)]
    assert [one.seconds_left for one in outlooks(many, [batching])] == pytest.approx([94 / 7] * 4)


def test_places_count_what_waits_and_nothing_else() -> None:
    unprepared = replace(WAITS, id="u", state=JobState.QUEUED, waiting=0, waiting_seconds=0.0, chunk_seconds=0.0)
    follower = replace(unprepared, id="f", state=JobState.TRANSCRIBING, duplicate_of="w")
    found = expected(RUNS, WAITS, unprepared, follower, worker=busy(5.0, 24.0))
    assert {job: one.place for job, one in found.items()} == {"r": None, "w": 1, "u": 2, "f": None}
    assert found["u"].seconds_left is None, "its length is not known yet"
    assert found["f"].seconds_left == found["w"].seconds_left, "it ends with the recording of equal content"


def test_while_the_fleet_is_paused_only_what_runs_has_an_end() -> None:
    found = expected(RUNS, WAITS, worker=busy(5.0, 24.0), paused=True)
    assert (found["r"].seconds_left is None, found["w"].seconds_left) == (False, None)


@pytest.mark.parametrize(
    ("state", "running", "chunks_left", "phase"),
    [
        (JobState.QUEUED, 0, True, JobPhase.WAITING),
        (JobState.PREPARING, 0, True, JobPhase.PREPARING),
        (JobState.TRANSCRIBING, 0, True, JobPhase.WAITING),
        (JobState.TRANSCRIBING, 1, True, JobPhase.TRANSCRIBING),
        (JobState.TRANSCRIBING, 1, False, JobPhase.TRANSCRIBING),
        (JobState.TRANSCRIBING, 0, False, JobPhase.FINISHING),
        (JobState.FINISHING, 0, False, JobPhase.FINISHING),
        *((state, 0, False, JobPhase(state)) for state in JobState if state.is_final),
    ],
)
def test_waiting_and_being_transcribed_are_different_words(
    state: JobState, running: int, chunks_left: bool, phase: JobPhase
) -> None:
    assert JobPhase.of(state, running=running, chunks_left=chunks_left) is phase


def test_what_waits_is_counted_apart_from_what_is_transcribed() -> None:
    states = {JobState.QUEUED: 2, JobState.TRANSCRIBING: 6, JobState.DONE: 9}
    assert Backlog(transcribing=2, waiting=3).phases(states) == {
        JobPhase.WAITING: 5,
        JobPhase.TRANSCRIBING: 2,
        JobPhase.FINISHING: 1,
        JobPhase.DONE: 9,
    }
