"""A job's timeline: every attempt has its end, and the parts add up to the whole."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dropscribe.admin.ask import timeline
from dropscribe.core.types import JobState, Span
from dropscribe.store.events import Event
from dropscribe.store.transitions import CHUNKS as CHANGES_OF_CHUNKS
from dropscribe.store.transitions import JOBS

WINDOWS = {"0": Span(0.0, 600.0), "1": Span(570.0, 1200.0)}
KINDS = [
    *timeline.BEGINS,
    *timeline.ENDS_ONE,
    *timeline.ENDS_ALL,
    "admitted",
    "retried",
    "speakers",
    "failed_checks",
    "renamed",
]
CHUNKS = ["", "0", "1", "1.0", "e0"]


def test_every_transition_that_ends_an_attempt_or_revives_a_job_is_told_so() -> None:
    ends = {
        made.kind for made in [*JOBS.values(), *CHANGES_OF_CHUNKS.values()] if made.is_of_an_attempt and not made.claims
    }
    assert ends - {None} == timeline.ENDS_ONE
    final = [state for state in JobState if state.is_final]
    revives = {made.kind for made in JOBS.values() if made.moves.keys() & final}
    assert revives - {None} | timeline.BEGINS.keys() == timeline.REVIVES


def events(*told: tuple[float, str, str, str] | tuple[float, str, str, str, str]) -> list[Event]:
    return [Event(*one) for one in told]


def parts(told: timeline.JobTimeline) -> dict[str, float]:
    return {part.name: part.seconds for part in told.parts}


ORDINARY = events(
    (0, "admitted", "scheduler", ""),
    (2, "preparing", "cpu", ""),
    (7, "prepared", "cpu", "chunks: 2"),
    (10, "transcribing", "model-1", "", "0"),
    (11, "transcribing", "model-2", "", "1"),
    (20, "transcribed", "model-1", "", "0"),
    (30, "transcribed", "model-2", "", "1"),
    (31, "finishing", "cpu", ""),
    (33, "done", "cpu", ""),
)


def test_an_ordinary_job_waits_is_prepared_read_and_finished() -> None:
    timings = {"audio_decode": 3.0, "speech_detection": 1.0, "model": 28.0}
    told = timeline.build(ORDINARY, WINDOWS, state=JobState.DONE, now=99, timings=timings)
    assert parts(told) == {
        "waiting to be prepared": 2,
        "staging": 1,
        "decoding": 3,
        "finding speech": 1,
        "waiting for a model": 3,
        "in the model": 20,
        "waiting to be finished": 1,
        "finishing": 2,
    }
    assert [(one.step, one.chunk, one.worker, one.began, one.ended, one.outcome) for one in told.attempts] == [
        ("prepare", "", "cpu", 2, 7, "prepared"),
        ("transcribe", "0", "model-1", 10, 20, "transcribed"),
        ("transcribe", "1", "model-2", 11, 30, "transcribed"),
        ("finish", "", "cpu", 31, 33, "done"),
    ]
    assert [one.window for one in told.attempts] == [None, WINDOWS["0"], WINDOWS["1"], None]


def test_a_lost_chunk_is_an_attempt_of_its_own_and_waits_again() -> None:
    told = timeline.build(
        events(
            (0, "admitted", "scheduler", ""),
            (0, "preparing", "cpu", ""),
            (1, "prepared", "cpu", "chunks: 1"),
            (1, "transcribing", "model-1", "", "0"),
            (91, "lost", "scheduler", "attempt 1 of model-1 was lost", "0"),
            (95, "transcribing", "model-2", "", "0"),
            (96, "retry", "model-2", "out of memory", "0"),
            (106, "transcribing", "model-2", "", "0"),
        ),
        WINDOWS,
        state=JobState.TRANSCRIBING,
        now=110,
    )
    assert [(one.outcome, one.detail) for one in told.attempts[2:]] == [
        ("retry", "out of memory"),
        (None, ""),
    ]
    assert told.attempts[1].outcome == "lost"
    assert parts(told) == {"preparing": 1, "in the model": 95, "waiting for a model": 14}


def test_a_recording_that_is_called_like_a_chunk_is_not_one() -> None:
    told = timeline.build(
        events(
            (0, "admitted", "scheduler", ""),
            (0, "preparing", "cpu", ""),
            (13, "retry", "cpu", "chunk 1.wav: the decoder was killed"),
            (44, "preparing", "cpu", ""),
        ),
        {},
        state=JobState.PREPARING,
        now=44,
    )
    assert [one.outcome for one in told.attempts] == ["retry", None]
    assert parts(told) == {"preparing": 13, "waiting to be prepared": 31}


def test_what_still_waits_is_told_by_its_state() -> None:
    told = timeline.build(ORDINARY[:3], WINDOWS, state=JobState.TRANSCRIBING, now=100)
    assert parts(told) == {"waiting to be prepared": 2, "preparing": 5, "waiting for a model": 93}
    told = timeline.build(ORDINARY[:1], WINDOWS, state=JobState.QUEUED, now=5)
    assert parts(told) == {"waiting to be prepared": 5}


def test_a_follower_waits_for_the_same_content() -> None:
    told = timeline.build(
        events(
            (0, "admitted", "scheduler", ""),
            (1, "preparing", "cpu", ""),
            (2, "follows", "cpu", "k3v9aaaa"),
            (50, "finishing", "cpu", ""),
            (51, "duplicate", "cpu", "same content"),
        ),
        {},
        state=JobState.DUPLICATE,
        now=60,
    )
    assert parts(told)["waiting for the same content"] == 48
    assert [one.outcome for one in told.attempts] == ["follows", "duplicate"]


def test_a_retried_job_was_over_in_between() -> None:
    told = timeline.build(
        events(
            (0, "preparing", "cpu", ""),
            (1, "failed", "cpu", "no audio"),
            (100, "retried", "host", "from failed"),
            (103, "preparing", "cpu", ""),
            (104, "failed", "cpu", "no audio"),
        ),
        {},
        state=JobState.FAILED,
        now=500,
    )
    assert parts(told) == {"preparing": 2, timeline.OVER: 99, "waiting to be prepared": 3}


def test_a_notification_that_is_sent_afterwards_takes_up_nothing() -> None:
    notified = events((40, "notified", "scheduler", ""))
    stories = [
        timeline.build(trail, WINDOWS, state=JobState.DONE, now=99) for trail in (ORDINARY, [*ORDINARY, *notified])
    ]
    assert stories[0] == stories[1]


def test_a_job_without_events_has_no_story() -> None:
    assert timeline.build([], {}, state=JobState.QUEUED, now=5) == timeline.JobTimeline()


@given(
    st.lists(st.tuples(st.floats(0, 1e6), st.sampled_from(KINDS), st.sampled_from(CHUNKS)), min_size=1),
    st.sampled_from(list(JobState)),
)
def test_the_parts_add_up_whatever_happened(happened: list[tuple[float, str, str]], state: JobState) -> None:
    trail = [Event(at, kind, "w", "", chunk) for at, kind, chunk in sorted(happened, key=lambda one: one[0])]
    told = timeline.build(trail, WINDOWS, state=state, now=1e6, timings={"audio_decode": 1.0})
    whole = sum(part.seconds for part in told.parts)
    assert all(part.seconds >= 0 for part in told.parts)
    assert whole <= 1e6 - trail[0].at + 1e-3
    if not state.is_final:
        assert abs(whole - (1e6 - trail[0].at)) < 1e-3
    for attempt in told.attempts:
        assert (attempt.ended is None) == (attempt.outcome is None)
        assert attempt.ended is None or attempt.ended >= attempt.began
