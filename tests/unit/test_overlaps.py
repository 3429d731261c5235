"""What two windows read of the same speech is told once."""

from __future__ import annotations

import random
import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dropscribe.core.types import Segment, SegmentKind, Span
from dropscribe.core.types import Word as TimedWord
from dropscribe.worker.merging.overlaps import ChunkOutcome, select
from tests.unit.talk import Word, converse, hear, recording, said


def taken(*parts: ChunkOutcome) -> list[str]:
    """The texts of the timeline."""
    return [segment.text for _, segment in select(parts)]


seeds = st.integers(0, 2**32 - 1)


@given(seeds)
def test_every_word_is_told_once_however_the_windows_split_join_and_time_what_was_said(seed: int) -> None:
    rng = random.Random(seed)
    talk = converse(rng, 150.0)
    told = Counter(said([segment for _, segment in select(recording(rng, talk))]))
    assert told == Counter(word.text for turn in talk for word in turn)


@given(seeds)
def test_words_that_a_window_misread_leave_the_others_as_they_are(seed: int) -> None:
    rng = random.Random(seed)
    talk = converse(rng, 150.0)
    parts = recording(rng, talk, misread=0.03)
    misread = {word[1:] for part in parts for word in said(part.segments) if word.startswith("m")}
    told = Counter(word.removeprefix("m") for word in said([segment for _, segment in select(parts)]))
    for word in (word.text for turn in talk for word in turn):
        assert told[word] == 1 or (word in misread and told[word] == 2), word


@given(seeds)
def test_words_that_come_again_and_again_are_told_as_often_as_they_were_said(seed: int) -> None:
    rng = random.Random(seed)
    talk = converse(rng, 150.0, [f"v{number}" for number in range(1000)])
    told = Counter(said([segment for _, segment in select(recording(rng, talk))]))
    assert told == Counter(word.text for turn in talk for word in turn)


@given(seeds)
def test_the_order_of_the_parts_does_not_matter(seed: int) -> None:
    rng = random.Random(seed)
    parts = recording(rng, converse(rng, 150.0))
    shuffled = rng.sample(range(len(parts)), len(parts))
    again = select([parts[i] for i in shuffled])
    assert [(shuffled[part], segment) for part, segment in again] == select(parts)


anything = st.builds(
    lambda start, length, text, label, kind: Segment(start, start + length, text, label, kind),
    st.floats(-5, 130),
    st.floats(-1, 40),
    st.text(alphabet="ab \u201c.\u4f60\u597d", max_size=12),
    st.none() | st.integers(0, 2),
    st.sampled_from(SegmentKind),
)
any_parts = st.lists(st.tuples(st.floats(0, 60), st.lists(anything, max_size=8)), min_size=1, max_size=4).map(
    lambda found: [
        ChunkOutcome(
            Span(max(0.0, 30.0 * i - overlap / 2), 30.0 * (i + 1) + overlap / 2),
            Span(30.0 * i, 30.0 * (i + 1)),
            tuple(s),
        )
        for i, (overlap, s) in enumerate(found)
    ]
)


@given(any_parts)
def test_whatever_models_answer_the_timeline_is_in_order_and_has_no_empty_text(parts: list[ChunkOutcome]) -> None:
    timeline = select(parts)
    starts = [segment.start for _, segment in timeline]
    assert starts == sorted(starts)
    assert all(0 <= segment.start <= segment.end and segment.text.strip() for _, segment in timeline)


@given(any_parts)
def test_a_part_without_neighbours_is_told_whole(parts: list[ChunkOutcome]) -> None:
    told = [segment.text for _, segment in select(parts[:1])]
    assert sorted(told) == sorted(segment.text for segment in parts[0].segments if segment.text.strip())


FIRST, SECOND = (Span(0.0, 75.0), Span(0.0, 60.0)), (Span(45.0, 120.0), Span(60.0, 120.0))  # the cut is at 60 s


def first(*segments: Segment, reasons: tuple[str, ...] = (), missing: tuple[Span, ...] = ()) -> ChunkOutcome:
    return ChunkOutcome(*FIRST, segments, reasons, missing)


def second(*segments: Segment, reasons: tuple[str, ...] = (), missing: tuple[Span, ...] = ()) -> ChunkOutcome:
    return ChunkOutcome(*SECOND, segments, reasons, missing)


def test_an_utterance_is_told_by_the_window_that_has_its_middle() -> None:
    timeline = select(
        [
            first(Segment(50, 54, "before the cut"), Segment(64, 70, "after it")),
            second(Segment(50.3, 54.2, "before the cut"), Segment(64.2, 69.8, "after it")),
        ]
    )
    assert timeline == [(0, Segment(50, 54, "before the cut")), (1, Segment(64.2, 69.8, "after it"))]


@pytest.mark.parametrize("shift", [-0.6, 0.6])
def test_an_utterance_whose_middles_lie_on_either_side_of_the_cut_is_told_once(shift: float) -> None:
    here, there = Segment(58 + shift, 62, "how are you"), Segment(58 - shift, 62, "How are you?")
    assert len(taken(first(here), second(there))) == 1


def test_the_tail_of_an_utterance_that_was_told_whole_is_not_told_again() -> None:
    whole = Segment(50, 68, "we could meet on monday. or would tuesday be better for you")
    head, tail = Segment(50, 58, "We could meet on Monday."), Segment(60.5, 68, "Or would Tuesday be better for you?")
    assert taken(first(whole), second(head, tail)) == [whole.text]


def test_what_the_other_window_has_in_pieces_is_told_by_one_of_them() -> None:
    pieces = Segment(59, 61, "We could meet"), Segment(61.2, 64, "on Monday."), Segment(64.1, 69, "Or on Tuesday?")
    whole = Segment(59.1, 69.2, "we could meet on monday or on tuesday")
    assert taken(first(*pieces), second(whole)) == [whole.text]
    assert taken(first(whole), second(*pieces)) == [piece.text for piece in pieces]


def test_a_speech_longer_than_the_overlap_is_spliced_at_a_word() -> None:
    words = [f"word{number}" for number in range(240)]  # two a second
    one = Segment(0, 75, " ".join(words[:150]), 0)
    other = Segment(45, 120, " ".join(words[90:]), 3)
    (a, head), (b, tail) = select([first(one), second(other)])
    assert (a, b) == (0, 1)
    assert f"{head.text} {tail.text}".split() == words
    assert head.end == tail.start == pytest.approx(60, abs=1)
    assert (head.speaker, tail.speaker) == (0, 3)


def test_a_splice_leaves_quotation_marks_with_the_words_they_open() -> None:
    text = "she said no (twice) " * 30
    pieces = taken(first(Segment(20, 75, text.strip())), second(Segment(45, 100, text.strip())))
    assert not [piece for piece in pieces if re.search(r"\($", piece) or piece.startswith(")")]


def test_a_splice_takes_the_times_of_words_along() -> None:
    def read(since: int, until: int) -> Segment:
        words = tuple(TimedWord(i, i + 0.9, f"word{i},") for i in range(since, until))
        return Segment(since, until, " ".join(word.text for word in words), words=words)

    head, tail = (segment for _, segment in select([first(read(20, 75)), second(read(45, 100))]))
    assert [*head.words, *tail.words] == list(read(20, 100).words)
    assert (head.end, tail.start) == (head.words[-1].end, tail.words[0].start)
    assert head.text.split() == [word.text for word in head.words]


def test_known_times_of_words_show_what_is_the_same_where_a_long_pause_misleads() -> None:
    words = TimedWord(50, 50.5, "one"), TimedWord(68, 68.5, "two"), TimedWord(69, 69.5, "three")
    torn = Segment(50, 69.5, "one two three", words=words)
    whole = Segment(68, 69.5, "two three", words=words[1:])
    assert " ".join(taken(first(torn), second(whole))) == "one two three"


def test_chinese_is_spliced_between_signs() -> None:
    signs = "".join(chr(0x4E00 + number) for number in range(480))
    pieces = taken(first(Segment(0, 75, signs[:300])), second(Segment(45, 120, signs[180:])))
    assert "".join(pieces) == signs


def test_the_reading_that_no_edge_tore_is_preferred() -> None:
    torn, whole = Segment(61, 75, "and this is how the story"), Segment(61, 76, "and this is how the story ends")
    assert taken(first(torn), second(whole)) == [whole.text]
    late, early = Segment(45, 56, "is where it begins"), Segment(44, 56, "that is where it begins")
    assert taken(first(early), second(late)) == [early.text]


def test_a_word_guessed_at_the_edge_is_not_told() -> None:
    guess = Segment(74.2, 75, "Thanks")
    assert taken(first(guess), second(Segment(74.2, 78, "thankfully not"))) == ["thankfully not"]
    assert taken(first(guess), second()) == []


def test_two_people_who_talk_at_the_same_time_both_stay() -> None:
    def both(shift: float) -> tuple[Segment, Segment]:
        return Segment(58 + shift, 62 + shift, "I was here before you", 0), Segment(58.5 + shift, 61, "no way", 1)

    assert sorted(taken(first(*both(0)), second(*both(0.3)))) == ["I was here before you", "no way"]


def test_what_only_one_window_heard_beyond_the_cut_stays_where_nothing_else_is_told() -> None:
    assert taken(first(Segment(64, 66, "hello")), second(Segment(70, 72, "good bye"))) == ["hello", "good bye"]
    assert taken(first(Segment(50, 52, "hello")), second(Segment(54, 56, "good bye"))) == ["hello", "good bye"]


def test_what_one_window_read_quite_differently_beyond_the_cut_is_not_told_twice() -> None:
    assert taken(first(Segment(64, 68, "a nice beach")), second(Segment(64, 68, "recognize speech"))) == [
        "recognize speech"
    ]


def test_whom_only_one_window_heard_beside_another_stays() -> None:
    said, aside = Segment(64, 69, "and so we went home"), Segment(65, 66, "did you", 1)
    assert sorted(taken(first(said, aside), second(said))) == ["and so we went home", "did you"]


@pytest.mark.parametrize("fault", [{"reasons": ("it loops",)}, {"missing": (Span(46, 50),)}])
def test_where_one_window_is_not_to_be_trusted_the_other_one_tells_the_overlap(fault: dict[str, tuple]) -> None:
    right = Segment(50, 54, "the budget"), Segment(64, 68, "is on page two")
    wrong = Segment(50, 54, "the buzz it"), Segment(64, 68, "is on paid stew")
    assert taken(first(*wrong, **fault), second(*right)) == [segment.text for segment in right]
    assert taken(first(*right), second(*wrong, **fault)) == [segment.text for segment in right]


def test_what_was_missed_comes_from_the_neighbour() -> None:
    found = [Segment(47 + 4 * i, 50 + 4 * i, f"sentence {i}") for i in range(6)]
    assert taken(first(missing=(Span(45, 60),), reasons=("it breaks off",)), second(*found)) == [s.text for s in found]


def test_sounds_are_told_once_and_do_not_stand_for_words() -> None:
    music = Segment(55, 67, "[Music]", kind=SegmentKind.EVENT)
    assert taken(first(music), second(Segment(56, 67.5, "[Music]", kind=SegmentKind.EVENT))) == ["[Music]"]
    assert sorted(taken(first(music), second(Segment(56, 58, "hello")))) == ["[Music]", "hello"]


def test_windows_that_do_not_overlap_are_told_as_they_are() -> None:
    same = "yes"
    parts = [
        ChunkOutcome(Span(0, 60), Span(0, 62), (Segment(59, 60.3, same),)),
        ChunkOutcome(Span(63, 120), Span(62, 120), (Segment(62.8, 63.5, same),)),
    ]
    assert taken(*parts) == [same, same]


def test_halves_of_a_window_overlap_more_than_their_neighbours() -> None:
    turns = [[Word(f"w{i}", 0, i * 0.5, i * 0.5 + 0.4) for i in range(at, at + 8)] for at in range(0, 240, 8)]
    cuts = [
        (Span(0, 60), Span(0, 50)),
        (Span(40, 70), Span(50, 62)),
        (Span(54, 82), Span(62, 75)),
        (Span(66, 120), Span(75, 120)),
    ]
    parts = [hear(random.Random(1), turns, window, keep) for window, keep in cuts]
    assert Counter(said([segment for _, segment in select(parts)])) == Counter(f"w{i}" for i in range(240))


def test_an_answer_that_repeats_itself_without_end_does_not_hold_up_the_rest() -> None:
    loop = " ".join(["thank you very much"] * 2000)
    parts = [first(Segment(40, 75, loop), reasons=("it loops",)), second(Segment(45, 80, loop), reasons=("it loops",))]
    many = [Segment(50 + i / 1000, 51, "yes") for i in range(4000)]
    assert taken(*parts)
    assert taken(first(*many), second(*many))


def test_a_window_that_reaches_beyond_its_neighbour_is_compared_with_the_next_one_too() -> None:
    turns = [[Word(f"w{i}", 0, i * 0.5, i * 0.5 + 0.4) for i in range(at, at + 8)] for at in range(0, 300, 8)]
    cuts = [(Span(0, 100), Span(0, 84)), (Span(80, 92), Span(84, 88)), (Span(93, 150), Span(88, 150))]
    parts = [hear(random.Random(2), turns, window, keep) for window, keep in cuts]
    told = Counter(said([segment for _, segment in select(parts)]))
    assert told == Counter(f"w{i}" for i in range(300))
