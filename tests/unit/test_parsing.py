"""Answers of VibeVoice-ASR become segments: as they should be, as they were seen to be, and whatever else comes."""

from __future__ import annotations

import json
import sys

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dropscribe.core.types import Segment, SegmentKind
from dropscribe.models.vibevoice.parsing import Parsed, StreamParser, parse, speaker_of

EVENT = SegmentKind.EVENT


def said(*contents: str) -> str:
    """An answer of one segment a second."""
    return json.dumps([{"Start": i, "End": i + 1, "Speaker": 0, "Content": c} for i, c in enumerate(contents)])


def one(content: str, speaker: str = "0") -> list[tuple[str, int | None, SegmentKind]]:
    """The parts of one content that is written as it stands, unescaped."""
    parsed = parse('[{"Start":0,"End":10,"Speaker":' + speaker + ',"Content":"' + content + '"}]')
    assert parsed.complete
    return [(segment.text, segment.speaker, segment.kind) for segment in parsed.segments]


def words(content: str) -> list[str]:
    return [text for text, _, _ in one(content)]


# As it should be


def test_an_answer_becomes_segments() -> None:
    answer = (
        '[{"Start":0.0,"End":7.5,"Speaker":0,"Content":"Hello."},{"Start":8,"End":9.25,"Speaker":1,"Content":"Hi."}]'
    )
    assert parse(answer) == Parsed((Segment(0.0, 7.5, "Hello.", 0), Segment(8.0, 9.25, "Hi.", 1)), complete=True)


def test_nothing_said_is_an_answer_too() -> None:
    assert parse("[]") == Parsed((), complete=True)
    assert parse(said("")) == Parsed((), complete=True)


def test_segments_come_as_soon_as_they_are_complete() -> None:
    parser = StreamParser()
    assert parser.feed('[{"Start":0,"End":2.5,"Speaker":0,"Content":"a') == []
    assert parser.last_end == 0.0
    assert parser.feed('"}') == [Segment(0.0, 2.5, "a", 0)]
    assert parser.last_end == 2.5
    assert parser.feed(',{"Start":3') == []
    assert parser.finish() == Parsed((Segment(0.0, 2.5, "a", 0),), complete=False)


def test_the_content_can_be_heard_while_it_grows() -> None:
    parser = StreamParser()
    parser.feed('[{"Start":0,"Content":"no \\"no')
    assert parser.take_content() == 'no "no'
    assert parser.take_content() == ""
    parser.feed('\\n no","End":1},{"Content":"yes')
    assert parser.take_content() == "  no\nyes"


# As it was seen to be


@pytest.mark.parametrize("before", ["assistant\n", "```json\n", "Here is {the} transcript [English]:\n"])
def test_words_before_and_after_the_array_do_not_matter(before: str) -> None:
    assert parse(before + said("a", "b") + "\n```<|im_end|>") == parse(said("a", "b"))


@pytest.mark.parametrize(
    "keys",
    [
        ("Start time", "End time", "Speaker ID", "Content"),
        ("start_time", "end_time", "speaker_id", "text"),
        ("START", "END", "speaker", "content"),
    ],
)
def test_keys_may_be_spelled_otherwise(keys: tuple[str, ...]) -> None:
    answer = json.dumps([dict(zip(keys, (1.0, 2.0, 3, "hello"), strict=True)) | {"Language": "en"}])
    assert parse(answer).segments == (Segment(1.0, 2.0, "hello", 3),)


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("1.50", 1.5), ('"1.50"', 1.5), ('"00:01:02.5"', 62.5), ('"1:02"', 62.0), ('"12,5 s"', 12.5), ("1e1", 10.0)],
)
def test_times_may_be_text(written: str, seconds: float) -> None:
    (segment,) = parse('[{"Start":0,"End":' + written + ',"Speaker":0,"Content":"a"}]').segments
    assert segment.end == seconds


@pytest.mark.parametrize(
    ("written", "speaker"),
    [
        ("2", 2),
        ("2.0", 2),
        ("Speaker 1", 1),
        ("SPEAKER_01", 1),
        ("N/A", None),
        ("", None),
        ("-1", None),
        ("9" * 99, None),
    ],
)
def test_speakers_may_be_text_or_nobody(written: str, speaker: int | None) -> None:
    assert speaker_of(written) == speaker


@pytest.mark.parametrize("speaker", ["null", '"N/A"', "N/A", '""'])
def test_a_speaker_may_be_missing(speaker: str) -> None:
    assert one("hello", speaker) == [("hello", None, SegmentKind.SPEECH)]
    assert parse('[{"Start":0,"End":1,"Content":"a"}]').segments == (Segment(0.0, 1.0, "a", None),)


def test_unknown_times_are_taken_from_the_neighbours_and_told() -> None:
    parsed = parse(
        '[{"Start":0,"End":2,"Content":"a"},{"Start":"?","Content":"b"},{"Start":3,"End":NaN,"Content":"c"}]'
    )
    assert parsed.segments == (Segment(0.0, 2.0, "a"), Segment(2.0, 2.0, "b"), Segment(3.0, 3.0, "c"))
    assert parsed.error == "segments without a start or an end: 2"


@pytest.mark.parametrize(
    "content",
    [
        'he said "hello, you" and left',
        'a 5" pipe and a 6" one',
        'the 5" pipe',
        '"all of it"',
        'so "yes", and "no": both',
        'an [aside] and a {brace}, "x"',
        "a \\ backslash, a tab\tand C:\\users",
        'quotes \\" and more',
    ],
)
def test_brackets_quotes_and_backslashes_stay_in_the_content(content: str) -> None:
    assert parse(said(content, "b")).segments[0].text == content.strip()


@pytest.mark.parametrize(
    "content",
    [
        'he said "hello, you" and left',
        'a 5" pipe',
        '"all of it"',
        'so "yes", and then',
        'an ["x"] y',
        'x", "y", "z',
        'say "yes" "',
    ],
)
def test_unescaped_quotes_stay_in_the_content_where_no_json_follows(content: str) -> None:
    assert words(content) == [content]
    follower = '[{"Content":"' + content + '","Start":0,"End":1},{"Start":1,"End":2,"Content":"next"}]'
    assert [segment.text for segment in parse(follower).segments] == [content, "next"]


def test_escapes_are_resolved_and_what_is_none_is_kept() -> None:
    assert words(r"caf\u00e9 \ud83d\ude00 \/ \x \u12g") == ["café 😀 / \\x \\u12g"]
    assert words(r"\ud83d alone") == ["\ufffd alone"]
    assert words(r"a\u0000b\u0007c") == ["abc"]


def test_a_new_line_in_a_content_is_another_voice() -> None:
    (first, second) = parse(said("hello\nwho is that")).segments
    assert (first.text, first.speaker, second.text, second.speaker) == ("hello", 0, "who is that", None)
    assert (first.start, first.end, second.end) == (0.0, second.start, 1.0)
    assert first.end == pytest.approx(5 / 16)  # by characters


def test_a_voice_that_is_named_in_a_content_gets_its_number() -> None:
    speech = SegmentKind.SPEECH
    assert one(r"hello\nSpeaker 1: hi\n\n[Speaker 2]: you") == [
        ("hello", 0, speech),
        ("hi", 1, speech),
        ("you", 2, speech),
    ]
    assert one("Speaker 3: hi") == [("hi", 3, speech)]


@pytest.mark.parametrize("sound", ["[Silence]", "[Music]", "[Environmental Sounds]", "[door slams]"])
def test_sounds_are_events_and_no_words(sound: str) -> None:
    assert one(sound, '"N/A"') == [(sound, None, EVENT)]


def test_sounds_within_words_are_told_apart_from_words_in_brackets() -> None:
    speech = SegmentKind.SPEECH
    assert one("well [Laughter] then") == [("well", 0, speech), ("[Laughter]", 0, EVENT), ("then", 0, speech)]
    assert one(r"[Music]\nhello") == [("[Music]", 0, EVENT), ("hello", 0, speech)]
    assert one("[Smith] said [sic]") == [("[Smith] said [sic]", 0, speech)]


@pytest.mark.parametrize(
    "answer",
    [
        '[{"Start":0,"End":1,"Content":"a",{"Start":1,"End":2,"Content":"b"}]',  # a brace is missing
        '[{"Start":0 "End":1 "Content":"a"} {"Start":"1" "End":"2" "Content":"b"}]',  # commas are missing
        '[{"Start":0,"End":1,"Content":"a",},{"Start":1,"End":2,"Content":"b"},]',  # commas too many
        '{"Start":0,"End":1,"Content":"a"}\n{"Start":1,"End":2,"Content":"b"}',  # no array
        '[{"Start":0,"End":1,"Content":"a","Notes":{"x":[1,"}"]}},{"Start":1,"End":2,"Content":"b"}]',
    ],
)
def test_slips_in_the_json_are_forgiven(answer: str) -> None:
    assert [(segment.text, segment.end) for segment in parse(answer).segments] == [("a", 1.0), ("b", 2.0)]


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ("", "the output is empty"),
        (" \n", "the output is empty"),
        ("I cannot help with that.", "the output holds no segment"),
        ('[{"Start":0,"End":1,"Content":"cut', "the output holds no segment"),
        (
            '[{"Start":0,"End":1,"Content":"a"},{oops},{"Start":1,"End":2,"Content":"b"}]',
            "segments that cannot be read: 1",
        ),
    ],
)
def test_what_cannot_be_read_is_named(answer: str, error: str) -> None:
    assert parse(answer).error == error


# Whatever comes

SPOKEN = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1, max_size=40).filter(
    lambda text: text == text.strip() and "[" not in text and not text.lower().startswith("speaker")
)
OBJECTS = st.fixed_dictionaries(
    {
        "Start": st.floats(0, 4000),
        "End": st.floats(0, 4000),
        "Speaker": st.integers(0, 9) | st.none(),
        "Content": SPOKEN,
    }
)
HOSTILE = st.lists(
    st.sampled_from(
        [
            "[",
            "]",
            "{",
            "}",
            '"',
            ":",
            ",",
            "\\",
            "\\u",
            "\n",
            " ",
            "Start",
            "Content",
            '"Content":"',
            '"},{"',
            "12",
            "x",
        ]
    )
    | st.text(max_size=5),
    max_size=60,
).map("".join)


def pieces(draw: st.DrawFn, text: str) -> list[str]:
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=12)))
    return [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]


@given(st.data(), st.lists(OBJECTS, max_size=6), st.booleans(), st.sampled_from([None, 1]))
def test_no_complete_segment_is_lost_wherever_the_answer_is_cut(data, objects, ascii_only, indent) -> None:
    texts = [json.dumps(one, ensure_ascii=ascii_only, indent=indent) for one in objects]
    text = "[" + ", ".join(texts) + "]"
    cut = data.draw(st.integers(0, len(text)))
    ends = [sum(map(len, texts[: i + 1])) + 2 * i + 1 for i in range(len(texts))]
    whole = sum(end <= cut for end in ends)
    expected = tuple(Segment(o["Start"], o["End"], o["Content"], o["Speaker"]) for o in objects[:whole])

    parser, heard = StreamParser(), []
    for piece in pieces(data.draw, text[:cut]):
        heard += parser.feed(piece)
    parsed = parser.finish()
    assert parsed.segments == tuple(heard) == expected
    assert parsed.complete == (cut == len(text))
    assert parser.last_end == max((segment.end for segment in expected), default=0.0)
    assert parser.take_content().count("\n") >= whole


@given(st.data(), HOSTILE)
@example(None, '[{"Content":"\ud800"}]')
@example(None, '{"' * 50)
def test_whatever_comes_it_never_raises_and_pieces_read_like_the_whole(data, text) -> None:
    whole = StreamParser()
    segments = whole.feed(text)
    parser = StreamParser()
    found = [segment for piece in (pieces(data.draw, text) if data else text) for segment in parser.feed(piece)]
    assert parser.finish() == whole.finish()
    assert found == segments
    assert parser.take_content() == whole.take_content()
    assert all(segment.text.encode() for segment in found)
    assert parser.finish().error or parser.finish().segments or parser.finish().complete


@pytest.mark.parametrize("unit", ['"', '",', '","a', '" , "', '{"', "\\", '[{"Content":"', '", "a" ', "[", '":', "   "])
def test_hostile_repetition_is_read_in_linear_time(unit: str) -> None:
    assert calls(unit * 2000) < 2.5 * calls(unit * 1000) + 100


def calls(text: str) -> int:
    """Calls made while a content is read: what a clock would show, without its noise."""
    counted = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal counted
        counted += event == "call"

    parser = StreamParser()
    parser.feed('[{"Content":"')
    sys.setprofile(count)
    try:
        parser.feed(text)
    finally:
        sys.setprofile(None)
    return counted
