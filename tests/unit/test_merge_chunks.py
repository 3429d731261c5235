"""Chunks become one recording."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dropscribe.core.types import Segment, SegmentKind, Span, Speaker, Word
from dropscribe.worker.merging.merge_chunks import UNMATCHED, ChunkOutcome, merge, merge_chunks, named
from dropscribe.worker.merging.speaker_linking import Voices
from dropscribe.worker.merging.speaker_turns import SpeakerTurn
from tests.unit.talk import converse, recording


def part(
    start: float, end: float, *segments: Segment, reasons: tuple[str, ...] = (), missing: Sequence[Span] = ()
) -> ChunkOutcome:
    """A chunk that keeps all of its window."""
    span = Span(start, end)
    return ChunkOutcome(span, span, segments, reasons, tuple(missing))


def test_chunks_are_joined_in_order_whatever_the_order_they_come_in() -> None:
    late = part(10, 20, Segment(12.0, 13.0, "second"))
    early = part(0, 10, Segment(1.0, 2.0, "first"))
    joined = merge_chunks([late, early], [])
    assert [segment.text for segment in joined.segments] == ["first", "second"]
    assert (joined.speakers, joined.reasons, joined.missing, joined.notes) == ((), (), (), ())


def test_one_chunk_s_speakers_are_numbered_by_first_appearance_without_a_remark() -> None:
    joined = merge_chunks([part(0, 10, Segment(0, 1, "a", 3), Segment(1, 3, "b", 1), Segment(3, 4, "c", 3))], [])
    assert [segment.speaker for segment in joined.segments] == [0, 1, 0]
    assert joined.speakers == (Speaker(0, seconds=2.0), Speaker(1, seconds=2.0))
    assert joined.notes == ()


def test_voices_that_nothing_links_get_numbers_of_their_own_and_it_says_so() -> None:
    parts = [
        part(0, 10, Segment(0.0, 1.0, "a", 0), Segment(1.0, 2.0, "b", 1)),
        part(10, 20, Segment(10.0, 11.0, "c", 0), Segment(11.0, 12.0, "d")),
    ]
    joined = merge_chunks(parts, [])
    assert [segment.speaker for segment in joined.segments] == [0, 1, 2, None]
    assert joined.notes == (UNMATCHED,)


def test_voices_that_were_compared_are_different_without_a_remark() -> None:
    parts = [part(0, 10, Segment(0.0, 1.0, "a", 0)), part(10, 20, Segment(10.0, 11.0, "b", 0))]
    joined = merge_chunks(parts, [], Voices({(0, 0): 0, (1, 0): 1}, compared=True))
    assert (len(joined.speakers), joined.notes) == (2, ())


def test_a_voice_keeps_its_number_through_an_overlap() -> None:
    talk = [Segment(4.0 * i, 4.0 * i + 3.5, f"sentence number {i}", i % 2) for i in range(30)]
    swapped = [replace(segment, speaker=1 - (segment.speaker or 0)) for segment in talk]
    joined = merge_chunks(
        [
            ChunkOutcome(Span(0, 75), Span(0, 60), tuple(talk[:18])),
            ChunkOutcome(Span(45, 120), Span(60, 120), tuple(swapped[12:])),
        ],
        [],
    )
    assert joined.segments == tuple(talk)
    assert [speaker.number for speaker in joined.speakers] == [0, 1]
    assert joined.notes == ()


def test_speakers_in_doubt_are_named_as_people_count_them() -> None:
    parts = [part(0, 10, Segment(0.0, 1.0, "a", 0)), part(10, 20, Segment(10.0, 11.0, "b", 0))]
    joined = merge_chunks(parts, [], Voices({(0, 0): 0, (1, 0): 1}, {(0, 1): 0.5}, compared=True))
    assert [speaker.maybe_same for speaker in joined.speakers] == [(1,), (0,)]
    assert [speaker.similarity for speaker in joined.speakers] == [(0.5,), (0.5,)]
    assert joined.notes == ("speakers 1 and 2 may be the same voice (similarity 0.50)",)
    unheard = merge_chunks(parts, [], Voices({(0, 0): 0, (1, 0): 1}, {(0, 1): None}, compared=True))
    assert unheard.notes == ("speakers 1 and 2 may be the same voice",)


def test_a_recognized_voice_has_its_name_and_the_figure_until_people_say_another() -> None:
    parts = [part(0, 10, Segment(0.0, 1.0, "a", 0), Segment(2.0, 3.0, "b", 1))]
    voices = Voices({(0, 0): 0, (0, 1): 1}, recognized={1: ("Bert", 0.81)})
    people = merge_chunks(parts, [], voices).speakers
    assert [(one.name, one.recognized) for one in people] == [("", None), ("Bert", 0.81)]
    assert [(one.name, one.recognized) for one in named(people, {1: "Karl"})] == [("", None), ("Karl", None)]
    _, (both,) = merge((), people, {0: 1})
    assert (both.name, both.recognized) == ("Bert", 0.81)


def test_turns_of_voices_are_the_speakers_of_an_engine_that_tells_nobody_apart() -> None:
    said = Segment(0, 4, "One. Two.", words=(Word(0, 1, "One."), Word(3, 4, "Two.")))
    turns = (SpeakerTurn(Span(0, 2), 5), SpeakerTurn(Span(2, 4), 2))
    joined = merge_chunks([part(0, 10, said)], [], Voices(compared=True, turns=turns, perhaps={(2, 5): 0.5}))
    assert [(segment.speaker, segment.text) for segment in joined.segments] == [(0, "One."), (1, "Two.")]
    assert [(one.seconds, one.maybe_same) for one in joined.speakers] == [(1.0, (1,)), (1.0, (0,))]


def test_many_doubts_are_summed_up() -> None:
    parts = [part(10 * i, 10 * i + 10, Segment(10 * i, 10 * i + 1, "a", 0)) for i in range(4)]
    pairs = dict.fromkeys([(0, 1), (0, 2), (0, 3), (1, 2)])
    joined = merge_chunks(parts, [], Voices({(i, 0): i for i in range(4)}, pairs, compared=True))
    assert joined.notes == ("4 pairs of speakers may be the same voice",)


def test_reasons_name_the_time_of_their_chunk() -> None:
    good = part(0, 60, Segment(0, 59, "a"))
    bad = part(60, 120, Segment(60, 70, "b"), reasons=("it loops", "it breaks off"))
    joined = merge_chunks([bad, good], [])
    assert joined.reasons == ("0:01:00-0:02:00: it loops", "0:01:00-0:02:00: it breaks off")


def test_speech_that_no_chunk_read_is_missing_unless_a_neighbour_read_it() -> None:
    bad = ChunkOutcome(Span(0, 75), Span(0, 60), (Segment(1, 30, "well"),), ("it breaks off",), (Span(31, 75),))
    good = ChunkOutcome(Span(45, 120), Span(60, 120), (Segment(47, 55, "and so on"), Segment(61, 70, "to the end")))
    assert merge_chunks([bad, good], []).missing == (Span(31, 47), Span(55, 60))


def test_what_is_missing_begins_and_ends_with_speech() -> None:
    bad = part(0, 60, Segment(1, 10, "well"), missing=[Span(10, 30), Span(40, 50)], reasons=("it is silent",))
    speech = [Span(1, 10.4), Span(12, 14), Span(16, 20), Span(45, 45.4)]
    assert merge_chunks([bad], speech).missing == (Span(10, 20),)


def test_missing_stretches_of_several_chunks_are_joined_in_order() -> None:
    one = part(0, 60, missing=[Span(50, 60), Span(3, 5)])
    two = part(60, 120, missing=[Span(60, 65), Span(70, 70.3)])
    assert merge_chunks([two, one], []).missing == (Span(3, 5), Span(50, 65))


people = (
    Speaker(0, seconds=5.0, maybe_same=(3,), similarity=(0.5,)),
    Speaker(1, seconds=2.5, maybe_same=(3,), similarity=(None,)),
    Speaker(3, "Ada", 1.5, (0, 1), (0.5, None)),
)
said = (Segment(0, 5, "a", 0), Segment(5, 7.5, "b", 1), Segment(8, 9.5, "c", 3), Segment(9, 10, "d"))


def test_a_merged_speaker_is_gone_and_nobody_else_changes_number() -> None:
    segments, speakers = merge(said, people, {3: 0})
    assert [segment.speaker for segment in segments] == [0, 1, 0, None]
    assert speakers == (
        Speaker(0, "Ada", 6.5, (1,), (None,)),
        Speaker(1, seconds=2.5, maybe_same=(0,), similarity=(None,)),
    )


def test_merges_follow_each_other() -> None:
    segments, speakers = merge(said, people, {3: 1, 1: 0})
    assert [segment.speaker for segment in segments] == [0, 0, 0, None]
    assert speakers == (Speaker(0, "Ada", 9.0),)


def test_merges_of_speakers_that_there_are_not_change_nothing() -> None:
    assert merge(said, people, {7: 0, 3: 9, 1: 1}) == (said, people)


def test_a_merge_in_a_circle_is_refused() -> None:
    with pytest.raises(ValueError, match="merged into themselves"):
        merge(said, people, {0: 1, 1: 0})


def test_speakers_get_the_names_that_people_give_them() -> None:
    assert [speaker.name for speaker in named(people, {0: "Grace", 9: "nobody", 3: ""})] == ["Grace", "", ""]


def _segments(rng: random.Random, start: float, end: float) -> tuple[Segment, ...]:
    return tuple(
        Segment(at, at + rng.uniform(-1, 9), "words", rng.choice([None, 0, 1, 4]), rng.choice(list(SegmentKind)))
        for at in sorted(rng.uniform(start - 1, end) for _ in range(rng.randrange(12)))
    )


@given(st.integers(0, 2**32 - 1))
def test_speakers_are_numbered_without_gaps_and_are_those_who_speak(seed: int) -> None:
    rng = random.Random(seed)
    parts = [
        ChunkOutcome(window, Span(40.0 * i, 40.0 * i + 40), _segments(rng, window.start, window.end))
        for i in range(rng.randrange(5))
        if (window := Span(max(0.0, 40.0 * i - 10), 40.0 * i + 50))
    ]
    joined = merge_chunks(rng.sample(parts, len(parts)), [])
    heard = [segment.speaker for segment in joined.segments if segment.speaker is not None]
    assert list(dict.fromkeys(heard)) == [speaker.number for speaker in joined.speakers] == list(range(len(set(heard))))
    assert all(0 <= segment.start <= segment.end for segment in joined.segments)
    for speaker in joined.speakers:
        assert speaker.seconds >= 0
        assert all(speaker.number in joined.speakers[other].maybe_same for other in speaker.maybe_same)


def _work(call: Callable[[], object]) -> int:
    """How many functions were called on the way."""
    calls = 0

    def count(_frame: object, event: str, _arg: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        call()
    finally:
        sys.setprofile(before)
    return calls


def test_work_grows_with_the_length_of_a_recording_and_no_faster() -> None:
    def whole(minutes: int) -> int:
        rng = random.Random(minutes)
        parts = recording(rng, converse(rng, 60.0 * minutes), length=90.0, overlap=30.0)
        return _work(lambda: merge_chunks(parts, []))

    whole(5)  # imports
    assert whole(120) < 1.4 * 6 * whole(20)


def test_ten_hours_in_six_hundred_chunks_are_stitched() -> None:
    rng = random.Random(10)
    talk = converse(rng, 36_000.0)
    parts = recording(rng, talk, length=90.0, overlap=30.0)
    joined = merge_chunks(parts, [Span(0.0, 36_000.0)])
    assert len(parts) >= 600
    words = [word for segment in joined.segments for word in segment.text.split()]
    assert len(words) == sum(len(turn) for turn in talk)
