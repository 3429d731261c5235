"""Markdown, DOCX and RTTM: what they say, read by programs that know these formats."""

from __future__ import annotations

import io
import re
import zipfile
from dataclasses import replace

import docx
import pytest
from hypothesis import given
from hypothesis import settings as effort
from markdown_it import MarkdownIt
from markdown_it.token import Token

from dropscribe.core.types import Segment, SegmentKind, Speaker
from dropscribe.worker.outputs import render
from dropscribe.worker.outputs.text import clean
from tests.unit.test_outputs import BOARD, SOURCE, any_text, spoken, text_of, texts, transcripts

GITHUB = MarkdownIt("gfm-like", {"linkify": False})  # tables and struck out text, too
HOSTILE = "<b>*x*</b> [a](javascript:b) `c` ~~d~~ &lt; _e_ ![f](g) \\* # 1. - > | $h$ <!-- <https://i>"


def shown(tokens: list[Token]) -> str:
    """What a reader of inline tokens sees; fails for anything but bold and plain text."""
    assert {token.type for token in tokens} <= {"text", "text_special", "strong_open", "strong_close"}
    return "".join(token.content for token in tokens)


def paragraphs(markdown: str) -> list[str]:
    return [shown(token.children or []) for token in GITHUB.parse(markdown) if token.type == "inline"]


class TestMarkdown:
    @pytest.mark.parametrize("text", [HOSTILE, *HOSTILE.split(), "- not a list", "# no heading", "1. no number", "==="])
    def test_what_is_said_is_read_as_it_was_said(self, text: str) -> None:
        assert paragraphs(text_of(spoken(Segment(0, 1, text)), "md"))[-1] == f"00:00:00 {text}"

    @given(texts, texts, any_text)
    def test_whatever_is_said_is_one_paragraph_of_plain_text(self, text: str, called: str, file: str) -> None:
        source = replace(SOURCE, path="/rec/" + file.replace("/", "") + ".wav")
        transcript = spoken(Segment(0, 1, "x" + text, 0), source=source, speakers=(Speaker(0, "y" + called),))
        title, *_, said = paragraphs(text_of(transcript, "md"))
        assert title == readable(file.replace("/", "") + ".wav")
        assert said == f"00:00:00 {readable('y' + called)}: {readable('x' + text)}"

    def test_ordinary_text_is_not_littered_with_backslashes(self) -> None:
        assert "R&D asks for < 5 % more - isn't it?" in text_of(
            spoken(Segment(0, 1, "R&D asks for < 5 % more - isn't it?")), "md"
        )


def readable(text: str) -> str:
    """What is left of a text in a file of UTF-8, and in Markdown."""
    return re.sub("[\ud800-\udfff]", "\ufffd", clean(text))


def test_unsure_words_are_marked_in_a_document_and_the_mark_is_explained() -> None:
    legend, said = opened(render(spoken(Segment(0, 2, "Too.", confidence=0.2), Segment(2, 3, "Two.")), "docx"))[1:3]
    assert legend.startswith("Unsure words: 00:00:02, marked [? ?]")
    assert said == "00:00:00 [? Too. ?] Two."


def opened(data: bytes) -> list[str]:
    return [paragraph.text for paragraph in docx.Document(io.BytesIO(data)).paragraphs]


class TestDocx:
    def test_it_has_a_title_facts_remarks_and_a_paragraph_for_each_turn(self) -> None:
        document = docx.Document(io.BytesIO(render(BOARD, "docx")))
        title, *rest = document.paragraphs
        assert (title.text, title.style and title.style.name) == ("board.flac", "Title")
        assert [paragraph.text for paragraph in rest] == [
            "SUSPECT: a stretch of speech was not read",
            "Uncovered speech: 00:00:12 to 00:00:30",
            "00:00:00 Speaker 1: Good morning. Shall we start with the budget? The figures are on page two.",
            "00:00:06 Grace: Before we do, two people are still missing.",
            "00:00:09 [Music]",
            "00:00:30 Speaker 1: R&D asks for < 5 % more.",
            "",
        ]
        assert [run.text for run in rest[3].runs if run.bold] == ["Grace: "]
        (table,) = document.tables
        assert [cell.text for cell in table.rows[0].cells] == ["Length", "00:00:34"]

    @effort(max_examples=20, deadline=None)
    @given(transcripts)
    def test_it_holds_any_transcript(self, transcript) -> None:
        assert len(opened(render(transcript, "docx"))) >= 2

    def test_the_same_transcript_gives_the_same_bytes(self) -> None:
        with zipfile.ZipFile(io.BytesIO(render(BOARD, "docx"))) as archive:
            assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert render(BOARD, "docx") == render(BOARD, "docx")

    def test_it_says_who_made_it_and_when_it_was_read(self) -> None:
        properties = docx.Document(io.BytesIO(render(BOARD, "docx"))).core_properties
        assert (properties.title, properties.author, properties.comments) == ("board.flac", "dropscribe", "")
        assert str(properties.created).startswith("2026-11-20 15:04:05")


class TestRttm:
    def test_names_with_blanks_are_one_field(self) -> None:
        source = replace(SOURCE, path="/rec/board  meeting 2.wav")
        named = spoken(Segment(0, 1.5, "a", 0), source=source, speakers=(Speaker(0, "Ada Lovelace"),))
        assert text_of(named, "rttm") == "SPEAKER board_meeting_2 1 0.000 1.500 <NA> <NA> Ada_Lovelace <NA> <NA>\n"

    def test_what_nobody_said_has_no_line(self) -> None:
        sound = Segment(0, 1, "[Music]", 0, SegmentKind.EVENT)
        assert text_of(spoken(sound, Segment(1, 2, "who?"), Segment(2, 2.0004, "too short", 0)), "rttm") == ""

    @given(transcripts)
    def test_every_line_has_ten_fields_and_a_length(self, transcript) -> None:
        for line in text_of(transcript, "rttm").splitlines():
            kind, _, channel, start, length, *_, slat = fields = line.split(" ")
            assert (len(fields), kind, channel, slat) == (10, "SPEAKER", "1", "<NA>")
            assert float(start) >= 0
            assert float(length) > 0
