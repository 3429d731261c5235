"""The output formats: what each says, and that nothing in a recording can break one."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import jsonschema
import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from dropscribe.core.errors import StoreError, UsageError
from dropscribe.core.settings import OUTPUT_FORMATS
from dropscribe.core.types import (
    EngineInfo,
    Segment,
    SegmentKind,
    Source,
    Span,
    Speaker,
    SpeechTask,
    Track,
    Transcript,
    Word,
)
from dropscribe.worker.outputs import BINARY, FORMATS, render
from dropscribe.worker.outputs.json_ import from_json
from dropscribe.worker.outputs.srt import BRACES, WORD_JOINER
from dropscribe.worker.outputs.text import clean, facts, join

DOCS = Path(__file__).parents[2] / "docs"

TRACK = Track(1, "flac", 1, 24_000)
SOURCE = Source("/rec/board.flac", 4_818_233, "9f86d081" * 8, 34.5, "flac", "flac", 1, 24_000, (TRACK,))
ENGINE = EngineInfo("vibevoice", "microsoft/VibeVoice-ASR-HF", "int8")

# The example that docs/outputs.md shows in every format.
BOARD = Transcript(
    job_id="7k3m9x",
    source=SOURCE,
    engine=ENGINE,
    segments=(
        Segment(0.4, 4.1, "Good morning. Shall we start with the budget?", 0),
        Segment(4.3, 6.0, "The figures are on page two.", 0),
        Segment(6.2, 9.85, "Before we do, two people are still missing.", 1),
        Segment(9.9, 12.0, "[Music]", None, SegmentKind.EVENT),
        Segment(30.0, 34.5, "R&D asks for < 5 % more.", 0, confidence=0.91),
    ),
    speakers=(Speaker(0, "", 9.9), Speaker(1, "Grace", 3.65)),
    speech_detector="silero",
    settings={"digest": "3f2a91c07be4d815"},
    reasons=("a stretch of speech was not read",),
    uncovered_speech=(Span(12.0, 29.6),),
    timings={"transcribe": 1.7},
    created_at="2026-11-20T15:04:05+00:00",
)


RARE = {"revision", "corrected", "task"}  # fields of what people corrected, and of translations


def spoken(*segments: Segment, **changes: Any) -> Transcript:
    return replace(Transcript("j", SOURCE, ENGINE, segments), **changes)


def text_of(transcript: Transcript, fmt: str) -> str:
    return render(transcript, fmt).decode()


any_text = st.text(st.characters(codec=None, exclude_categories=()), max_size=60)
texts = st.one_of(
    any_text,
    st.text('ab \t\r\n\x0b\x0c\x00\x1b[]m-->&<\x9b\x85\u2028\u202e{\\N}="', max_size=60),
)
times = st.floats(0, 4e5)
names = st.dictionaries(any_text, any_text, max_size=3)
spans = st.builds(Span, times, times)
segments = st.builds(
    Segment,
    start=times,
    end=times,
    text=texts,
    speaker=st.none() | st.integers(0, 20),
    kind=st.sampled_from(SegmentKind),
    confidence=st.none() | st.floats(0, 1),
    words=st.lists(st.builds(Word, times, times, texts), max_size=3).map(tuple),
)
counts = st.integers(0, 2**53)
people = st.builds(Speaker, st.integers(0, 20), texts, times, st.lists(st.integers(0, 20), max_size=2).map(tuple))
transcripts = st.builds(
    Transcript,
    job_id=any_text,
    source=st.builds(Source, any_text, counts, any_text, times, any_text, any_text, counts, counts),
    engine=st.builds(EngineInfo, any_text, any_text, any_text, st.integers(1, 64), times, texts),
    segments=st.lists(segments, max_size=8).map(tuple),
    speakers=st.lists(people, max_size=3).map(tuple),
    speech_detector=any_text,
    settings=names,
    notes=st.lists(texts, max_size=2).map(tuple),
    reasons=st.lists(texts, max_size=2).map(tuple),
    uncovered_speech=st.lists(spans, max_size=2).map(tuple),
    timings=st.dictionaries(any_text, times, max_size=2),
    created_at=any_text,
    language=st.sampled_from(["", "de"]),
    task=st.sampled_from(SpeechTask),
)


class TestRegistry:
    def test_there_is_a_format_for_each_that_settings_offer(self) -> None:
        assert tuple(FORMATS) == OUTPUT_FORMATS

    def test_an_unknown_format_is_refused_by_name(self) -> None:
        with pytest.raises(UsageError, match=r"'doc'.*json, txt, srt, vtt, tsv, html, md, docx, rttm"):
            render(BOARD, "doc")

    def test_a_file_name_that_is_no_utf8_is_shown_with_a_replacement_character(self) -> None:
        source = replace(SOURCE, path=b"/rec/caf\xe9.wav".decode("utf-8", "surrogateescape"))
        document = json.loads(render(spoken(source=source), "json"))
        assert document["source"]["path"] == "/rec/caf\ufffd.wav"

    @pytest.mark.parametrize("fmt", [fmt for fmt in FORMATS if fmt not in {"html", "docx"}])
    def test_the_documentation_shows_what_is_really_written(self, fmt: str) -> None:
        shown = re.findall(rf"```{fmt}\n(.*?)```", (DOCS / "outputs.md").read_text(), re.DOTALL)
        assert shown == [text_of(BOARD, fmt)]

    @effort(deadline=None)
    @given(transcripts)
    def test_every_format_holds_any_transcript_and_nothing_a_terminal_obeys(self, transcript: Transcript) -> None:
        for fmt in FORMATS.keys() - BINARY:
            assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", text_of(transcript, fmt)), fmt


class TestText:
    @pytest.mark.parametrize(
        ("raw", "cleaned"),
        [
            ("  two\t\r\n words ", "two words"),
            ("\x1b[31mred\x1b[0m", "red"),
            ("\x1b]0;title\x07said", "said"),
            ("\x1b]0;never ended", "0;never ended"),
            ("\x9b2Jsaid\x00 so", "said so"),
            ("a\u2028b", "a b"),
            ("\u0645\u06cc\u200c\u062e", "\u0645\u06cc\u200c\u062e"),  # Persian needs its joiner
        ],
    )
    def test_cleaning_leaves_one_harmless_line(self, raw: str, cleaned: str) -> None:
        assert clean(raw) == cleaned

    @pytest.mark.parametrize(
        ("before", "after", "joined"),
        [
            ("one", "two", "one two"),
            ("你好。", "再见", "你好。再见"),
            ("안녕", "세상", "안녕 세상"),
            ("好", "ok", "好 ok"),
        ],
    )
    def test_pieces_are_joined_as_their_script_joins_words(self, before: str, after: str, joined: str) -> None:
        assert join(before, after) == joined

    def test_a_name_with_markup_or_escapes_is_harmless(self) -> None:
        named = spoken(Segment(0, 1, "a", 0), speakers=(Speaker(0, "<b>\x1b[31mAnn\n & co"),))
        assert "<v &lt;b&gt;Ann &amp; co>a" in text_of(named, "vtt")
        assert text_of(named, "tsv").splitlines()[1] == "0\t1000\t<b>Ann & co\ta\t"


class TestJson:
    @given(transcripts)
    def test_reading_gives_back_what_was_written(self, transcript: Transcript) -> None:
        assert from_json(FORMATS["json"](transcript)) == transcript

    def test_a_transcript_of_before_speakers_had_names_is_read(self) -> None:
        document = json.loads(text_of(BOARD, "json"))
        del document["speakers"]
        assert from_json(json.dumps(document)) == replace(BOARD, speakers=())

    def test_a_transcript_of_before_words_had_times_is_read(self) -> None:
        document = json.loads(text_of(BOARD, "json"))
        del document["language"], document["segments"][0]["words"]
        assert from_json(json.dumps(document)) == BOARD

    def test_fields_of_a_later_version_are_ignored(self) -> None:
        document = json.loads(text_of(BOARD, "json"))
        document["mood"] = "bright"
        document["segments"][0]["tones"] = []
        assert from_json(json.dumps(document)) == BOARD

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "[]",
            "null",
            '{"schema": "dropscribe.transcript/2"}',
            '{"schema": "dropscribe.transcript/1"}',
            text_of(BOARD, "json").replace('"speech"', '"song"', 1),
            text_of(BOARD, "json").replace('"start": 0.4', '"start": null'),
        ],
    )
    def test_what_is_no_transcript_is_refused(self, text: str) -> None:
        with pytest.raises(StoreError, match=r"not a transcript in dropscribe\.transcript/1"):
            from_json(text)

    def test_a_number_that_is_not_finite_is_not_written(self) -> None:
        with pytest.raises(ValueError, match="not JSON compliant"):
            render(spoken(Segment(float("nan"), 1, "x")), "json")

    def test_the_schema_names_exactly_the_fields_that_are_written(self) -> None:
        schema = json.loads((DOCS / "transcript.schema.json").read_text())
        document = json.loads(text_of(BOARD, "json"))
        timed = json.loads(text_of(spoken(Segment(0, 1, "one", words=(Word(0, 1, "one"),))), "json"))
        parts = [
            (schema, document),
            (schema["$defs"]["source"], document["source"]),
            (schema["$defs"]["track"], document["source"]["tracks"][0]),
            (schema["$defs"]["engine"], document["engine"]),
            (schema["$defs"]["span"], document["missing"][0]),
            (schema["$defs"]["segment"], document["segments"][0]),
            (schema["$defs"]["word"], timed["segments"][0]["words"][0]),
        ]
        for described, written in parts:
            required = [name for name in described["properties"] if name not in RARE]
            assert required == described["required"] == list(written)

    def test_a_translation_that_people_corrected_says_both_and_which_words_are_theirs(self) -> None:
        schema = json.loads((DOCS / "transcript.schema.json").read_text())
        said = Segment(0, 2, "one two", words=(Word(0, 1, "one"), Word(1, 2, "two", corrected=True)), corrected=True)
        document = json.loads(text_of(spoken(said, revision=3, task=SpeechTask.TRANSLATE), "json"))
        (segment,) = document["segments"]
        assert (document["revision"], document["task"]) == (3, "translate")
        assert list(document) == list(schema["properties"])
        assert list(segment) == list(schema["$defs"]["segment"]["properties"])
        assert [word.get("corrected") for word in segment["words"]] == [None, True]
        jsonschema.Draft202012Validator(schema).validate(document)
        assert from_json(json.dumps(document)).segments == (said,)
        assert from_json(json.dumps(document)).task is SpeechTask.TRANSLATE

    @given(transcripts)
    def test_every_transcript_follows_the_schema(self, transcript: Transcript) -> None:
        schema = json.loads((DOCS / "transcript.schema.json").read_text())
        jsonschema.Draft202012Validator(schema).validate(json.loads(text_of(transcript, "json")))


class TestTxt:
    def test_a_speakers_segments_flow_together_until_a_pause_or_another_speaker(self) -> None:
        transcript = spoken(
            Segment(62, 63, "One.", 0),
            Segment(65, 66, "Two.", 0),
            Segment(68.1, 69, "Three.", 0),
            Segment(69, 70, "Four.", 1),
        )
        assert text_of(transcript, "txt").split("\n\n") == [
            "[00:01:02] Speaker 1: One. Two.",
            "[00:01:08] Speaker 1: Three.",
            "[00:01:09] Speaker 2: Four.\n",
        ]

    def test_nobody_is_named_when_no_speaker_was_told_apart(self) -> None:
        assert text_of(spoken(Segment(0, 1, "Hello.")), "txt") == "[00:00:00] Hello.\n"

    def test_an_unknown_speaker_among_known_ones_gets_a_question_mark(self) -> None:
        assert "Speaker ?: who" in text_of(spoken(Segment(0, 1, "a", 0), Segment(1, 2, "who")), "txt")

    def test_a_sound_stands_alone_and_without_a_speaker(self) -> None:
        transcript = spoken(
            Segment(0, 1, "a", 0), Segment(1, 2, "[Music]", 0, SegmentKind.EVENT), Segment(2, 3, "b", 0)
        )
        assert "\n[00:00:01] [Music]\n" in text_of(transcript, "txt")

    def test_what_must_be_known_comes_first(self) -> None:
        transcript = spoken(
            Segment(0, 1, "a"),
            engine=replace(ENGINE, notice="a small model read this"),
            notes=("music throughout",),
            reasons=("a loop",),
            uncovered_speech=(Span(600.7, 750.2),),
        )
        assert text_of(transcript, "txt") == (
            "Note: a small model read this\n"
            "Note: music throughout\n"
            "SUSPECT: a loop\n"
            "Uncovered speech: 00:10:00 to 00:12:31\n"
            "\n"
            "[00:00:00] a\n"
        )

    def test_silence_gives_an_empty_file(self) -> None:
        assert render(spoken(), "txt") == b""


CODES = ("<i>a</i>", '< font color="red">a</font>', "</b>", r"{\an8}a", "{y:i}a", r"{\fs90\1a&HFF&}a", r"a\Nb\hc", "a<")


def shown(path: Path, transcript: Transcript) -> list[str]:
    """What ffmpeg, on which most players rest, makes of the subtitles: the text of its ASS events."""
    path.write_bytes(render(transcript, path.suffix[1:]))
    with av.open(str(path)) as container:
        subtitles = [one for packet in container.demux() for one in packet.decode() or ()]
    return [one.ass.decode().split(",", 8)[8] for one in subtitles]


class TestPlayers:
    @pytest.mark.parametrize("fmt", ["srt", "vtt"])
    @pytest.mark.parametrize("code", CODES)
    def test_what_looks_like_a_code_is_shown_and_not_obeyed(self, code: str, fmt: str, tmp_path: Path) -> None:
        (text,) = shown(tmp_path / f"a.{fmt}", spoken(Segment(0, 1, code)))
        text = text.replace(WORD_JOINER, "").replace(r"\{{}", "{")  # which is how ASS shows a brace
        assert text == (code.translate(BRACES) if fmt == "srt" else code)

    def test_codes_are_obeyed_where_nothing_is_done_about_them(self, tmp_path: Path) -> None:
        (tmp_path / "a.srt").write_text("1\n00:00:00,000 --> 00:00:01,000\n<i>a</i> {\\an8}b\n")
        with av.open(str(tmp_path / "a.srt")) as container:
            (seen,) = [one.ass for packet in container.demux() for one in packet.decode() or ()]
        assert b"{\\i1}a{\\i0}" in seen


class TestSrt:
    def test_one_speaker_is_not_named_and_two_are(self) -> None:
        alone = spoken(Segment(0, 1, "Yes.", 0))
        assert "Speaker" not in text_of(alone, "srt")
        both = text_of(spoken(Segment(0, 1, "Yes.", 0), Segment(1, 2, "No.", 1)), "srt")
        assert "\nSpeaker 1: Yes.\n" in both
        assert "\nSpeaker 2: No.\n" in both

    def test_times_past_a_hundred_hours_keep_their_hours(self) -> None:
        long = replace(SOURCE, duration=400_000.0)
        late = text_of(spoken(Segment(360_001.5, 360_002.25, "Late."), source=long), "srt")
        assert "100:00:01,500 --> 100:00:02,250" in late

    @given(transcripts)
    def test_a_strict_reader_finds_nothing_but_numbered_cues(self, transcript: Transcript) -> None:
        text = text_of(transcript, "srt")
        for number, block in enumerate(text.removesuffix("\n").split("\n\n") if text else [], start=1):
            own_number, stamps, *lines = block.removesuffix("\n").split("\n")
            assert own_number == str(number)
            assert re.fullmatch(r"\d{2,}:\d\d:\d\d,\d{3} --> \d{2,}:\d\d:\d\d,\d{3}", stamps)
            assert 1 <= len(lines) <= 2
            assert all(line.strip() and "-->" not in line for line in lines)
            assert all(len(line.replace(WORD_JOINER, "")) <= 42 for line in lines)
            assert not re.search(r"[{}]|<[/!a-z]|\\[Nnh]", "".join(lines), re.IGNORECASE)


class TestVtt:
    def test_the_note_tells_what_is_suspect_and_never_holds_an_arrow(self) -> None:
        transcript = spoken(reasons=("gap --> here\n\nNOTE",), engine=replace(ENGINE, notice="small model"))
        assert text_of(transcript, "vtt") == ("WEBVTT\n\nNOTE\nNote: small model\nSUSPECT: gap \u2192 here NOTE\n")

    def test_speakers_are_voices_and_markup_is_escaped(self) -> None:
        vtt = text_of(spoken(Segment(0, 1, "<b> & -->", 0)), "vtt")
        assert "<v Speaker 1>&lt;b&gt; &amp; --&gt;" in vtt

    @given(transcripts)
    def test_a_strict_reader_finds_header_note_and_cues(self, transcript: Transcript) -> None:
        header, *blocks = text_of(transcript, "vtt").removesuffix("\n").split("\n\n")
        assert header == "WEBVTT"
        if blocks and blocks[0].startswith("NOTE"):
            assert "-->" not in blocks.pop(0)
        for block in blocks:
            stamps, *lines = block.split("\n")
            assert re.fullmatch(r"\d{2,}:\d\d:\d\d\.\d{3} --> \d{2,}:\d\d:\d\d\.\d{3}", stamps)
            assert 1 <= len(lines) <= 2
            bare = re.sub(r"^<v [^<>]+>", "", "\n".join(lines))
            assert not re.search(r"[<>]|&(?!amp;|lt;|gt;)", bare)


class TestTsv:
    @given(transcripts)
    def test_there_is_a_row_of_five_fields_for_each_segment(self, transcript: Transcript) -> None:
        text = text_of(transcript, "tsv")
        header, *rows = csv.reader(io.StringIO(text), delimiter="\t", quoting=csv.QUOTE_NONE)
        assert header == ["start", "end", "speaker", "text", "confidence"]
        assert [(int(start), int(end)) for start, end, *_ in rows] == [
            (round(segment.start * 1000), round(segment.end * 1000)) for segment in transcript.segments
        ]

    @given(transcripts)
    def test_no_cell_is_a_formula_and_none_swallows_others(self, transcript: Transcript) -> None:
        text = text_of(transcript, "tsv")
        assert not re.search(r"(^|\t)[=+@\-\"\uff1d\uff0b\uff0d\uff20]", text, re.MULTILINE)
        as_spreadsheets_do = csv.reader(io.StringIO(text), delimiter="\t")
        assert [len(row) for row in as_spreadsheets_do] == [5] * (1 + len(transcript.segments))

    @pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", '"=1+1"', "\uff1d1", "\x1b[1m=1+1"])
    def test_a_cell_that_would_be_a_formula_begins_with_an_apostrophe(self, text: str) -> None:
        transcript = spoken(Segment(0, 1, text, 0), speakers=(Speaker(0, text),))
        *_, speaker, cell, _ = text_of(transcript, "tsv").splitlines()[1].split("\t")
        assert speaker == cell == "'" + text.removeprefix("\x1b[1m")
        assert json.loads(text_of(transcript, "json"))["segments"][0]["text"] == text

    def test_tabs_and_line_breaks_become_blanks(self) -> None:
        tsv = text_of(spoken(Segment(0.25, 1.5, "a\tb\r\nc", 1)), "tsv")
        assert tsv.splitlines()[1] == "250\t1500\tSpeaker 2\ta b c\t"


class TestUnsure:
    """Words in which the recognizer has little confidence are marked in every format that has a place for it."""

    DOUBTFUL = spoken(
        Segment(0, 2, "One.", 0, confidence=0.9),
        Segment(2, 4, "Too.", 0, confidence=0.2),
        Segment(4, 5.5, "Tree.", 0, confidence=0.1),
        Segment(5.5, 7, "Four.", 0, confidence=0.8),
        Segment(8, 9, "Five.", 1),
    )
    LEGEND = "Unsure words: 00:00:04, marked [? ?]; the recognizer's confidence in them is below 50%"

    def test_running_text_has_marks_around_them_and_says_what_these_mean(self) -> None:
        assert text_of(self.DOUBTFUL, "txt").split("\n\n") == [
            self.LEGEND,
            "[00:00:00] Speaker 1: One. [? Too. Tree. ?] Four.",
            "[00:00:08] Speaker 2: Five.\n",
        ]
        assert r"> - Unsure words: 00:00:04, marked \[? ?\]" in text_of(self.DOUBTFUL, "md")
        assert r"Speaker 1:** One. \[? Too. Tree. ?\] Four." in text_of(self.DOUBTFUL, "md")

    def test_each_of_their_subtitles_has_a_mark(self) -> None:
        assert "Speaker 1: One.\n" in text_of(self.DOUBTFUL, "srt")
        assert "[?] Speaker 1: Too.\n" in text_of(self.DOUBTFUL, "srt")
        assert "<v Speaker 1>[?] Too.\n" in text_of(self.DOUBTFUL, "vtt")
        assert f"NOTE\n{self.LEGEND.replace('[? ?]', '[?]')}\n" in text_of(self.DOUBTFUL, "vtt")
        long = text_of(spoken(Segment(0, 60, "many words " * 30, confidence=0.1)), "srt")
        assert long.count("\n[?] ") == long.count(" --> ") > 1

    def test_programs_get_the_figure_and_the_mark(self) -> None:
        rows = [line.split("\t") for line in text_of(self.DOUBTFUL, "tsv").splitlines()]
        assert [row[-1] for row in rows] == ["confidence", "0.900", "0.200", "0.100", "0.800", ""]
        document = json.loads(text_of(self.DOUBTFUL, "json"))
        assert [segment["unsure"] for segment in document["segments"]] == [False, True, True, False, False]

    def test_a_transcript_without_unsure_words_has_neither_mark_nor_explanation(self) -> None:
        for fmt in FORMATS.keys() - BINARY - {"json", "html"}:
            assert "[?" not in text_of(BOARD, fmt), fmt
            assert "nsure" not in text_of(BOARD, fmt), fmt


def test_who_read_it_is_named_by_engine_and_model() -> None:
    small = spoken(engine=EngineInfo(engine="whisper", model="base", precision="int8"))
    large = spoken(engine=EngineInfo(engine="vibevoice", model="microsoft/VibeVoice-ASR", precision="bf16"))
    assert dict(facts(small))["Read by"] == "whisper base (int8)"
    assert dict(facts(large))["Read by"] == "microsoft/VibeVoice-ASR (bf16)"
