"""Segments of an engine that tells nobody apart are cut where the speaker changes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dropscribe.core.types import Segment, SegmentKind, Span, Word
from dropscribe.worker.merging.speaker_turns import REACH, SpeakerTurn, tell_apart


def segment(start: float, text: str, *, seconds: float = 0.4, gap: float = 0.1) -> Segment:
    """Words one after the other."""
    words, now = [], start
    for word in text.split():
        words.append(Word(round(now, 2), round(now + seconds, 2), word))
        now += seconds + gap
    return Segment(start, words[-1].end, text, words=tuple(words))


def turns(*found: tuple[float, float, int]) -> list[SpeakerTurn]:
    return [SpeakerTurn(Span(start, end), speaker) for start, end, speaker in found]


def told(segments: list[Segment]) -> list[tuple[int | None, str]]:
    return [(one.speaker, one.text) for one in segments]


def test_a_segment_is_cut_at_its_words() -> None:
    found = tell_apart([segment(0, "Are you there? Yes I am.")], turns((0, 1.5, 0), (1.5, 3, 1)))
    assert told(found) == [(0, "Are you there?"), (1, "Yes I am.")]
    assert [(one.start, one.end) for one in found] == [(0, 1.4), (1.5, 2.9)]
    assert [len(one.words) for one in found] == [3, 3]


def test_a_change_moves_to_the_end_of_a_sentence_nearby() -> None:
    for border in (1.0, 2.0):
        found = tell_apart([segment(0, "Are you there? Yes I am.")], turns((0, border, 0), (border, 3, 1)))
        assert told(found) == [(0, "Are you there?"), (1, "Yes I am.")]


def test_a_change_moves_to_a_pause_nearby() -> None:
    said = Segment(
        0,
        4,
        "one two three four",
        words=(Word(0, 0.5, "one"), Word(0.5, 1, "two"), Word(1.6, 2, "three"), Word(2, 4, "four")),
    )
    assert told(tell_apart([said], turns((0, 2.0, 0), (2.0, 4, 1)))) == [(0, "one two"), (1, "three four")]


def test_a_change_moves_no_farther_than_its_reach() -> None:
    said = segment(0, "one two three four. five six seven eight nine ten")
    border = 2.0 + REACH + 0.7
    (first, second) = tell_apart([said], turns((0, border, 0), (border, 9, 1)))
    assert (first.text, second.text) == ("one two three four. five six seven", "eight nine ten")


def test_words_outside_all_turns_are_those_of_the_nearest() -> None:
    found = tell_apart([segment(0, "Early. Late.", seconds=1.0, gap=4.0)], turns((1.5, 2, 4), (8, 9, 7)))
    assert told(found) == [(4, "Early."), (7, "Late.")]


def test_a_segment_without_times_of_words_is_whole_and_of_who_speaks_most() -> None:
    assert told(tell_apart([Segment(0, 10, "all of it")], turns((0, 4, 0), (4, 10, 1)))) == [(1, "all of it")]


def test_sounds_have_no_speaker_and_without_turns_nobody_has() -> None:
    music = Segment(0, 2, "[Music]", kind=SegmentKind.EVENT)
    assert told(tell_apart([music, segment(2, "Hi.")], turns((0, 9, 3)))) == [(None, "[Music]"), (3, "Hi.")]
    assert told(tell_apart([segment(2, "Hi.")], [])) == [(None, "Hi.")]


def test_words_that_the_text_does_not_have_leave_the_segment_whole() -> None:
    said = Segment(0, 2, "hello", words=(Word(0, 1, "good"), Word(1, 2, "bye")))
    assert [one.text for one in tell_apart([said], turns((0, 1, 0), (1, 2, 1)))] == ["hello"]


SENTENCES = st.lists(st.lists(st.sampled_from(["a", "bc", "def.", "g,", "h?"]), min_size=1, max_size=9), max_size=6)
TURNS = st.lists(st.tuples(st.floats(0.1, 5), st.integers(0, 3)), min_size=1, max_size=12)


@given(SENTENCES, TURNS)
def test_no_word_is_lost_doubled_or_moved(sentences: list[list[str]], lengths: list[tuple[float, int]]) -> None:
    segments, now = [], 0.0
    for sentence in sentences:
        segments.append(segment(now, " ".join(sentence)))
        now = segments[-1].end + 0.3
    found_turns, at = [], 0.0
    for length, speaker in lengths:
        found_turns.append(SpeakerTurn(Span(at, at + length), speaker))
        at += length
    found = tell_apart(segments, found_turns)
    assert [word for one in found for word in one.words] == [word for one in segments for word in one.words]
    assert " ".join(one.text for one in found).split() == [word for sentence in sentences for word in sentence]
    assert all(one.speaker is not None for one in found)
