"""What people correct in a transcript: words keep the times that they have, and speakers follow."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dropscribe.core import corrections
from dropscribe.core.corrections import MAX_TEXT, Edit, SpeakerEdit, SplitEdit, TextEdit
from dropscribe.core.errors import UsageError
from dropscribe.core.types import EngineInfo, Segment, Source, Speaker, Transcript, Word
from dropscribe.worker.merging.corrections import corrected, described
from dropscribe.worker.outputs import render

SOURCE = Source("/rec/a.wav", 1, "", 60.0, "wav", "pcm", 1, 16_000)
ENGINE = EngineInfo("whisper", "base", "int8")


def timed(text: str, start: float = 0.0, *, speaker: int | None = 0, confidence: float | None = 0.4) -> Segment:
    """A segment whose words take a second each."""
    words = tuple(Word(start + at, start + at + 1, word) for at, word in enumerate(text.split()))
    return Segment(start, start + len(words), text, speaker, confidence=confidence, words=words)


def transcript(*segments: Segment, people: Sequence[Speaker] = ()) -> Transcript:
    return Transcript("k3v9", SOURCE, ENGINE, segments, tuple(people))


def after(before: Segment, *edits: Edit) -> tuple[Segment, ...]:
    return corrected(transcript(before), edits).segments


def test_a_corrected_word_keeps_the_time_of_what_it_replaces_and_the_others_stay() -> None:
    (segment,) = after(timed("good mourning to you", 10), TextEdit(0, "good morning to you"))
    assert segment.words == (
        Word(10, 11, "good"),
        Word(11, 12, "morning", corrected=True),
        Word(12, 13, "to"),
        Word(13, 14, "you"),
    )
    assert (segment.text, segment.start, segment.end) == ("good morning to you", 10, 14)


def test_more_words_share_the_time_in_proportion_and_fewer_take_all_of_it() -> None:
    (more,) = after(timed("it was Newyork then"), TextEdit(0, "it was New York then"))
    assert [(word.text, round(word.start, 3), round(word.end, 3)) for word in more.words[2:4]] == [
        ("New", 2.0, 2.429),
        ("York", 2.429, 3.0),
    ]
    (fewer,) = after(timed("in stead of it"), TextEdit(0, "instead of it"))
    assert fewer.words[0] == Word(0, 2, "instead", corrected=True)


def test_a_word_that_was_left_out_stands_between_its_neighbours() -> None:
    before = Segment(0, 9, "one three", 0, words=(Word(0, 1, "one"), Word(3, 4, "three")))
    (segment,) = after(before, TextEdit(0, "one two three"))
    assert segment.words[1] == Word(1, 3, "two", corrected=True)
    (behind,) = after(before, TextEdit(0, "one three four"))
    assert behind.words[2] == Word(4, 9, "four", corrected=True)


def test_the_confidence_of_a_corrected_text_is_a_humans_and_no_output_calls_it_unsure() -> None:
    before = transcript(timed("good mourning"))
    assert "[?" in render(before, "txt").decode()
    now = corrected(before, [TextEdit(0, "good mourning")])  # which confirms it
    assert (now.segments[0].confidence, now.segments[0].corrected) == (None, True)
    assert not any(word.corrected for word in now.segments[0].words)
    assert "[?" not in render(now, "txt").decode()


def test_where_the_engine_tells_no_times_of_words_the_text_alone_is_corrected() -> None:
    (segment,) = after(Segment(0, 2, "mourning", 0), TextEdit(0, "  good \n morning "))
    assert (segment.text, segment.words) == ("good morning", ())


def test_letters_of_a_script_without_spaces_are_corrected_one_by_one() -> None:
    before = Segment(0, 4, "日本語で", 0, words=(Word(0, 2, "日本"), Word(2, 4, "語で")))
    (segment,) = after(before, TextEdit(0, "日木語で"))
    assert [(word.text, word.start, word.end) for word in segment.words] == [
        ("日", 0, 1),
        ("木", 1, 2),
        ("語", 2, 3),
        ("で", 3, 4),
    ]


def test_an_empty_text_says_that_nothing_was_said_and_moves_no_other_segment() -> None:
    before = transcript(timed("thank you for watching"), timed("hello there", 5))
    now = corrected(before, [TextEdit(0, " ")])
    assert [segment.text for segment in now.segments] == ["", "hello there"]
    for fmt in ("txt", "srt", "vtt", "html", "md"):
        assert "watching" not in render(now, fmt).decode()


def test_a_passage_is_somebody_elses_in_every_output() -> None:
    people = [Speaker(0, "Ada", 2.0, (1,), (0.5,)), Speaker(1, "Bob", 4.0, (0,), (0.5,))]
    before = transcript(
        timed("one two"), timed("three four", 2, speaker=1), timed("five six", 4, speaker=1), people=people
    )
    now = corrected(before, [SpeakerEdit(1, 2, 0)])
    assert now.speakers == (Speaker(0, "Ada", 6.0),)
    assert "Bob" not in render(now, "srt").decode()
    new = corrected(before, [SpeakerEdit(2, 2, 2)])
    assert [(one.called, one.seconds) for one in new.speakers] == [("Ada", 2.0), ("Bob", 2.0), ("Speaker 3", 2.0)]
    unknown = corrected(before, [SpeakerEdit(0, 2, None)])
    assert unknown.speakers == ()


def test_a_segment_is_split_before_a_word_so_that_a_part_of_it_is_somebody_elses() -> None:
    one, other = after(timed("how are you fine thanks"), SplitEdit(0, 14), SpeakerEdit(1, 1, 1))
    assert (one.text, one.speaker, one.start, one.end) == ("how are you", 0, 0, 3)
    assert (other.text, other.speaker, other.start, other.end) == ("fine thanks", 1, 3, 5)
    assert [word.text for word in other.words] == ["fine", "thanks"]
    untimed = after(Segment(0, 10, "aaaa bbbbb", 0), SplitEdit(0, 5))
    assert [(part.text, part.start, part.end) for part in untimed] == [("aaaa", 0, 4), ("bbbbb", 4, 10)]


@pytest.mark.parametrize(
    ("edit", "problem"),
    [
        (TextEdit(1, "x"), "there is no segment 1; the last one is 0"),
        (SpeakerEdit(0, 1, 0), "there is no segment 1"),
        (SpeakerEdit(0, 0, 2), "there is no speaker 2"),
        (SplitEdit(0, 2), "a segment is split between two of its words"),
        (SplitEdit(7, 2), "there is no segment 7"),
    ],
)
def test_what_does_not_fit_is_refused(edit: Edit, problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        after(timed("one two"), edit)


def test_a_passage_that_ends_before_it_begins_is_refused() -> None:
    with pytest.raises(UsageError, match="ends before it begins"):
        corrected(transcript(timed("one"), timed("two", 2)), [SpeakerEdit(1, 0, 0)])


def test_history_keeps_what_stood_there_and_when() -> None:
    before = transcript(timed("one two", 3), timed("three", 9))
    told = described([TextEdit(0, "one too"), TextEdit(0, "won too"), SpeakerEdit(1, 1, 1)], before)
    assert [(edit.at, getattr(edit, "before", None)) for edit in told] == [(3, "one two"), (3, "one too"), (9, None)]


def test_edits_survive_the_store_and_strange_ones_are_refused() -> None:
    edits = (TextEdit(0, "a", before="b", at=1.0), SpeakerEdit(0, 1, None), SplitEdit(2, 3))
    assert corrections.read(corrections.stored(edits)) == edits
    for wrong in (
        {"kind": "text", "segment": -1, "text": ""},
        {"kind": "text", "segment": 0},
        {"kind": "text", "segment": 0, "text": "a\0"},
        {"kind": "other"},
        {"kind": "split", "segment": 0, "offset": 0},
        {"kind": "text", "segment": 0, "text": "a", "more": 1},
    ):
        with pytest.raises(ValueError, match="validation error"):
            corrections.read([wrong])


words = st.lists(st.sampled_from(["a", "bb", "ccc", "日本", "語", "d,"]), max_size=8).map(" ".join)


@given(words, words)
def test_whatever_is_written_words_are_those_of_the_text_in_order_of_time(before: str, text: str) -> None:
    (segment,) = after(timed(before, 5), TextEdit(0, text))
    assert "".join(word.text for word in segment.words) in {"".join(text.split()), ""}
    assert bool(segment.words) == bool(before and text)
    assert all(5 <= word.start <= word.end <= segment.end for word in segment.words)
    assert all(one.start <= other.start for one, other in pairwise(segment.words))


def test_what_stood_in_a_segment_is_read_back_however_long_it_was() -> None:
    long = TextEdit(0, "short", before="x" * (MAX_TEXT + 1))
    assert corrections.read(corrections.stored([long])) == (long,)
    assert corrections.stored([long], bare=True) == [{"segment": 0, "text": "short", "kind": "text"}]
