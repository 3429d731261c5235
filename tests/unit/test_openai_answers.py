"""What servers with OpenAI's API answer, as transcripts."""

from __future__ import annotations

import json

import pytest

from dropscribe.core.errors import ModelError
from dropscribe.core.types import FinishReason, Segment, Word
from dropscribe.models.openai import answers


def read(answer: object, duration: float = 10.0) -> tuple[Segment, ...]:
    return answers.read(json.dumps(answer), duration).segments


def test_a_text_without_times_is_one_segment() -> None:
    assert read({"text": " Hello there. "}) == (Segment(0.0, 10.0, "Hello there."),)


def test_a_text_without_a_word_is_no_segment() -> None:
    assert read({"text": " "}) == ()


def test_words_go_to_the_segment_that_they_are_in() -> None:
    heard = {
        "segments": [
            {"start": 0.0, "end": 2.0, "text": "Good day.", "avg_logprob": -0.1},
            {"start": 2.0, "end": 4.0, "text": "Bye."},
        ],
        "words": [
            {"word": "Good", "start": 0.1, "end": 0.5},
            {"word": " day", "start": 1.5, "end": 2.1},
            {"word": "Bye", "start": 2.2, "end": 3.0},
        ],
    }
    first, second = read(heard)
    assert first.words == (Word(0.1, 0.5, "Good"), Word(1.5, 2.1, "day"))
    assert second.words == (Word(2.2, 3.0, "Bye"),)
    assert (first.confidence, second.confidence) == (0.905, None)


def test_speakers_are_numbered_as_they_appear() -> None:
    heard = [{"start": i, "end": i + 1, "text": "x", "speaker": who} for i, who in enumerate(["B", 1, "B"])]
    assert [segment.speaker for segment in read({"segments": heard})] == [0, 1, 0]


def test_segments_end_with_the_audio_and_come_in_order() -> None:
    heard = [
        {"start": 5, "end": 12, "text": "b"},
        {"start": 0, "end": 5, "text": "a"},
        {"start": 10, "end": 11, "text": "c"},
    ]
    assert read({"segments": heard}) == (Segment(0.0, 5.0, "a"), Segment(5.0, 10.0, "b"))


def test_a_text_that_repeats_itself_is_a_loop() -> None:
    answer = {"segments": [{"start": 0, "end": 9, "text": "no no no", "compression_ratio": 7.5}]}
    assert answers.read(json.dumps(answer), 10.0).ended is FinishReason.LOOP


@pytest.mark.parametrize(("said", "code"), [("de", "de"), ("yue", "yue"), ("english", ""), (None, "")])
def test_a_language_counts_by_its_code(said: str | None, code: str) -> None:
    assert answers.read(json.dumps({"text": "x", "language": said}), 1.0).language == code


@pytest.mark.parametrize("body", ["", "<html>", "[]", '{"segments": 1}', '{"segments": [{"text": "x"}]}'])
def test_anything_else_is_an_error_that_shows_it(body: str) -> None:
    with pytest.raises(ModelError, match="cannot be read"):
        answers.read(body, 1.0)
