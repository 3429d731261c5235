"""Subtitle cues: every word once and in order, within every limit of time and width."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dropscribe.core.scripts import is_visible
from dropscribe.core.types import EngineInfo, Segment, SegmentKind, Source, Transcript, Word
from dropscribe.worker.outputs.cues import LINE_WIDTH, MAX_LATE_MS, MIN_MS, Cue, cues, width
from dropscribe.worker.outputs.text import clean

SOURCE = Source("/rec/a.wav", 1, "0", 2e6, "wav", "pcm_s16le", 1, 24_000)
SENTENCE = "This sentence is exactly as long as it has to be."


def transcript(*segments: Segment) -> Transcript:
    return Transcript("j", SOURCE, EngineInfo("scripted", "m", "fp32"), segments)


def lines_of(text: str) -> list[tuple[str, ...]]:
    return [cue.lines for cue in cues(transcript(Segment(0, 60, text)))]


def bare(text: str) -> str:
    return "".join(text.split())


def visible(text: str) -> str:
    return "".join(filter(is_visible, text))


words = st.text(st.sampled_from("aé.,!?-你好。「」안\u0301\u3099\u200d🙂🏽ー"), min_size=1, max_size=100)
texts = st.one_of(st.lists(words, max_size=60).map(" ".join), st.text(max_size=300))
times = st.one_of(st.floats(0, 40), st.integers(0, 3).map(float), st.floats(0, 1e6))
segments = st.builds(
    Segment, times, times, texts, st.none() | st.integers(0, 12) | st.just(10**60), st.sampled_from(SegmentKind)
)
transcripts = st.lists(segments, max_size=12).map(lambda found: transcript(*found))


def in_turn(found: list[tuple[float, float, str]]) -> Transcript:
    """Segments one after the other, each given as the pause before it, its length and its text."""
    at = 0.0
    placed: list[Segment] = []
    for pause, length, text in found:
        placed.append(Segment(at + pause, at + pause + length, text, len(placed) % 3))
        at += pause + length
    return transcript(*placed)


sequences = st.lists(st.tuples(st.floats(0, 9), st.floats(0, 9), texts), max_size=12).map(in_turn)


@given(transcripts, st.booleans())
def test_lines_are_one_or_two_and_never_too_wide(found: Transcript, with_names: bool) -> None:
    for cue in cues(found, with_names=with_names):
        assert 1 <= len(cue.lines) <= 2
        assert all(line == line.strip() and 0 < width(line) <= LINE_WIDTH for line in cue.lines)


@given(transcripts)
def test_cues_are_ordered_visible_and_never_overlap(found: Transcript) -> None:
    shown = cues(found)
    assert all(0 <= cue.start_ms < cue.end_ms for cue in shown)
    assert all(before.end_ms <= after.start_ms for before, after in pairwise(shown))
    # All that a cue of less than half a second can have gained is that the next one comes no later.
    short = [pair for pair in pairwise(shown) if pair[0].end_ms - pair[0].start_ms < MIN_MS]
    assert all(before.end_ms == after.start_ms for before, after in short)


bursts = st.lists(st.tuples(st.floats(0, 5), st.floats(0, 2), st.integers(0, 2)), min_size=1, max_size=60)


@given(bursts, st.booleans())
@example([(0.0, 0.0, one % 3) for one in range(60)], True)
def test_no_cue_starts_more_than_a_second_late_or_half_a_second_early(
    found: list[tuple[float, float, int]], with_names: bool
) -> None:
    said = [Segment(at, at + length, f"word{i:03}", who) for i, (at, length, who) in enumerate(found)]
    shown = cues(transcript(*said), with_names=with_names)
    for segment in said:
        [cue] = [cue for cue in shown if segment.text in " ".join(cue.lines)]
        assert -MIN_MS < cue.start_ms - round(segment.start * 1000) <= MAX_LATE_MS


@pytest.mark.parametrize("speakers", [1, 2])
def test_after_half_a_minute_of_short_bursts_a_sentence_is_shown_when_it_is_said(speakers: int) -> None:
    said = [Segment(at / 5, at / 5 + 0.15, f"word{at}", at % speakers) for at in range(150)]
    *_, last = cues(transcript(*said, Segment(41, 44, SENTENCE, 0)))
    assert (last.start_ms, " ".join(last.lines)) == (41_000, SENTENCE)


def test_what_one_speaker_says_within_half_a_second_is_one_cue_and_what_two_say_is_not() -> None:
    said = [Segment(1.0, 1.2, "Yes.", 0), Segment(1.4, 1.6, "Yes, yes.", 0), Segment(1.8, 2.5, "No.", 1)]
    assert [(cue.start_ms, cue.lines, cue.label) for cue in cues(transcript(*said))] == [
        (1000, ("Yes. Yes, yes.",), "Speaker 1"),
        (1800, ("No.",), "Speaker 2"),
    ]


@given(transcripts, st.sampled_from([0.5, 20.0]))
def test_no_cue_outlasts_the_recording_by_more_than_half_a_second(found: Transcript, duration: float) -> None:
    found = replace(found, source=replace(SOURCE, duration=duration))
    assert all(cue.end_ms <= 1000 * duration + 500 for cue in cues(found))


def test_a_cue_is_cut_at_a_pause_of_its_words() -> None:
    words = (Word(2.0, 2.4, "So"), Word(2.4, 3.0, "then"), Word(30.0, 30.5, "we"), Word(30.5, 31.0, "went."))
    shown = cues(transcript(Segment(2.0, 31.0, "So then we went.", words=words)))
    assert [(cue.start_ms, cue.end_ms, cue.lines) for cue in shown] == [
        (2000, 3000, ("So then",)),
        (30_000, 31_000, ("we went.",)),
    ]


@pytest.mark.parametrize("signs", ["\u200b", "\u200d \u2060", "\ufe0f", "\u3164", "\u00ad\u00ad", "\u2800"])
def test_invisible_signs_alone_have_no_cue(signs: str) -> None:
    shown = cues(transcript(Segment(0, 1, signs), Segment(1, 2, f"Hi{signs}", 0)))
    assert [cue.start_ms for cue in shown] == [1000]


@given(sequences)
@example(in_turn([(0, 0, "one"), (0, 0, "two")]))
def test_every_word_comes_out_once_and_in_order(found: Transcript) -> None:
    shown = "".join(line for cue in cues(found) for line in cue.lines)
    assert visible(shown) == visible("".join(clean(segment.text) for segment in found.segments))


@given(st.lists(st.text("abcdé.,?", min_size=1, max_size=LINE_WIDTH), max_size=80))
def test_words_that_fit_a_line_are_never_cut(found: list[str]) -> None:
    shown = [word for lines in lines_of(" ".join(found)) for line in lines for word in line.split()]
    assert shown == found


@given(st.floats(0, 1e6), st.floats(1000, 5000), st.text(max_size=300))
def test_a_segments_cues_fill_its_time_without_gaps(start: float, length: float, text: str) -> None:
    segment = Segment(start, start + length, text)  # a second and more for each letter: no cue is too short
    shown = cues(transcript(segment))
    if shown:
        assert shown[0].start_ms == round(segment.start * 1000)
        assert shown[-1].end_ms == round(segment.end * 1000)
        assert all(before.end_ms == after.start_ms for before, after in pairwise(shown))


def test_cues_stand_as_long_as_their_words_are_said_where_that_is_known() -> None:
    text = f"{SENTENCE} And another one, which goes on for quite a while before it ends."
    words = tuple(Word(10.0 + i, 10.6 + i, word) for i, word in enumerate(text.split()))
    first, *_, last = cues(transcript(Segment(10, 40, text, words=words)))
    assert (first.start_ms, first.end_ms) == (10_000, 9_600 + 1000 * len(SENTENCE.split()))
    assert last.end_ms == round(1000 * words[-1].end)


def test_words_that_are_not_those_of_the_text_tell_no_times() -> None:
    [cue] = cues(transcript(Segment(1, 4, "one two", words=(Word(1, 2, "one"),))))
    assert (cue.start_ms, cue.end_ms) == (1000, 4000)


def test_what_fits_one_cue_stays_one_cue() -> None:
    assert lines_of("One. Two. Three.") == [("One. Two. Three.",)]


def test_two_lines_are_about_even() -> None:
    assert lines_of(SENTENCE) == [("This sentence is exactly", "as long as it has to be.")]


def test_cues_end_with_a_sentence_where_one_ends_in_time() -> None:
    shown = lines_of(f"{SENTENCE} And another one, which goes on for quite a while before it ends.")
    assert " ".join(shown[0]) == SENTENCE


def test_else_they_end_with_a_clause() -> None:
    first = "when nothing at all ends a sentence here, as happens,"
    shown = lines_of(f"{first} a clause has to do instead of it for the viewer who reads along")
    assert " ".join(shown[0]) == first


def test_an_early_full_stop_does_not_make_a_scrap_of_a_cue() -> None:
    shown = lines_of("No. " + "and then we walked on for a long time " * 3)
    assert len(" ".join(shown[0])) > LINE_WIDTH


def test_no_lonely_word_is_left_for_the_last_cue() -> None:
    shown = lines_of(" ".join(["word"] * 17))  # one word more than two lines take
    assert [len(" ".join(lines).split()) for lines in shown] in ([8, 9], [9, 8])


def test_time_is_shared_out_by_the_length_of_the_text() -> None:
    shown = cues(transcript(Segment(10, 20, f"{'a' * 42} {'b' * 41}. {'c' * 21}")))
    assert [(cue.start_ms, cue.end_ms) for cue in shown] == [(10_000, 18_000), (18_000, 20_000)]


def test_chinese_is_cut_by_width_and_no_line_begins_with_a_full_stop() -> None:
    shown = lines_of("今天天气很好\uff0c我们去公园散步。" * 6)
    assert all(width(line) <= LINE_WIDTH and line[0] not in "\uff0c。" for lines in shown for line in lines)
    assert all(lines[-1].endswith("。") for lines in shown)


def test_korean_is_cut_at_its_blanks() -> None:
    text = "오늘은 날씨가 아주 좋아서 우리는 공원에 산책하러 갔습니다 " * 3
    assert [word for lines in lines_of(text) for line in lines for word in line.split()] == text.split()


def test_marks_stay_with_their_letter_when_a_long_word_is_cut() -> None:
    shown = lines_of("e\u0301" * 50)
    assert all(line.startswith("e") and line.endswith("\u0301") for lines in shown for line in lines)


def test_an_interjection_does_not_squeeze_the_speech_it_falls_into() -> None:
    speech = Segment(0, 60, " ".join([SENTENCE] * 8), 0)
    shown = cues(transcript(speech, Segment(20, 21, "Mhm.", 1)))
    at = next(index for index, cue in enumerate(shown) if cue.lines == ("Mhm.",))
    assert 0 < at < len(shown) - 1
    assert (shown[at].start_ms, shown[at].end_ms) == (20_000, 21_000)
    assert shown[-1].end_ms == 60_000


def test_two_who_begin_at_once_are_both_seen() -> None:
    shown = cues(transcript(Segment(5, 9, "Yes.", 0), Segment(5, 9, "No.", 1)))
    assert shown == [
        Cue(5000, 5000 + MIN_MS, ("Yes.",), "Speaker 1"),
        Cue(5000 + MIN_MS, 9000, ("No.",), "Speaker 2"),
    ]


def test_a_name_stands_before_the_text_of_every_cue() -> None:
    shown = cues(transcript(Segment(0, 30, " ".join([SENTENCE] * 3), 1)), with_names=True)
    assert len(shown) == 3
    assert all(cue.lines[0].startswith("Speaker 2: This") for cue in shown)


def test_a_sound_is_shown_without_a_speaker() -> None:
    sound = Segment(0, 1, "[Music]", 0, SegmentKind.EVENT)
    shown = cues(transcript(sound, Segment(1, 2, "Hi.", 0)), with_names=True)
    assert shown[0] == Cue(0, 1000, ("[Music]",), "")


def test_a_very_long_segment_is_cut_up_swiftly_enough_to_finish() -> None:
    shown = cues(transcript(Segment(0, 7200, "word " * 20_000 + "x" * 20_000 + "好" * 20_000, 0)))
    assert sum(len(bare("".join(cue.lines))) for cue in shown) == 120_000
