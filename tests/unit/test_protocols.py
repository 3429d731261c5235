"""Forms as programs send them, what is certain of half a transcript, and what recordings of requests are called."""

from __future__ import annotations

import asyncio
import threading
import wave
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from fastapi import Request

from dropscribe.admin.client import JobSettings
from dropscribe.core.errors import DropscribeError, TooLargeError, UsageError
from dropscribe.core.settings import Settings, job_options
from dropscribe.core.types import EngineInfo, Segment, Source, Span, SpeechTask, Transcript
from dropscribe.serve.protocols import openai_documents as documents
from dropscribe.serve.protocols import request_sweep
from dropscribe.serve.protocols.forms import FIELD_BYTES, SentForm, read
from dropscribe.serve.protocols.request_jobs import WAV, Wish, name_of, wav_header
from dropscribe.serve.protocols.request_waiting import settled
from dropscribe.serve.recordings import UploadQuery
from dropscribe.store.transcripts import ReadChunk

ENGINE = EngineInfo("scripted", "scripted", "none")


def part(name: str, value: bytes, filename: str | None = None) -> bytes:
    called = "" if filename is None else f'; filename="{filename}"'
    head = f'--x\r\ncontent-disposition: form-data; name="{name}"{called}\r\nContent-Type: audio/wav\r\n\r\n'
    return head.encode() + value + b"\r\n"


def form(
    *parts: bytes,
    kind: str = "multipart/form-data; boundary=x",
    piece: int = 7,
    limit: int = 10**6,
    end: bytes = b"--x--\r\n",
) -> tuple[SentForm, bytes]:
    """What is read of a form that comes in pieces."""
    body = b"".join(parts) + end
    pieces = [body[start : start + piece] for start in range(0, len(body), piece)]
    last = len(pieces) - 1
    messages = iter({"type": "http.request", "body": one, "more_body": at < last} for at, one in enumerate(pieces))
    written = bytearray()

    async def receive() -> Any:
        return next(messages)

    async def write(data: bytes) -> None:
        written.extend(data)

    scope = {"type": "http", "method": "POST", "path": "/", "headers": [(b"content-type", kind.encode())]}
    return asyncio.run(read(Request(scope, receive), "file", write, limit)), bytes(written)


@pytest.mark.parametrize("piece", [1, 7, 10_000])
def test_fields_come_before_and_after_the_file_in_whatever_pieces(piece: int) -> None:
    sound = bytes(range(256)) + b"\r\n--x\r\r\n"
    found, written = form(
        part("model", b"whisper-1"),
        part("file", sound, "talk 1.wav"),
        part("granularities[]", b"word"),
        part("granularities[]", b"segment"),
        piece=piece,
    )
    assert (found.file_name, written) == ("talk 1.wav", sound)
    assert found.fields == {"model": ["whisper-1"], "granularities": ["word", "segment"]}


WRONG: list[tuple[list[bytes], dict[str, Any], type[DropscribeError], str]] = [
    ([part("file", b"x", "a.wav")], {"kind": "application/json"}, UsageError, "not a form"),
    ([part("file", b"x", "a.wav")], {"kind": "multipart/form-data"}, UsageError, "not a form"),
    ([part("other", b"x", "a.wav")], {}, UsageError, "no recording"),
    ([part("file", b"x", "a.wav"), part("file", b"y", "b.wav")], {}, UsageError, "several recordings"),
    ([b"--x\r\ncontent-type: audio/wav\r\n\r\nx\r\n"], {}, UsageError, "has no name"),
    ([b"nonsense\r\n\r\n"], {}, UsageError, "cannot be read"),
    ([part("prompt", b"x" * FIELD_BYTES)], {"piece": 5000}, TooLargeError, "fields of a form"),
    ([part("file", b"x" * 99, "a.wav")], {"limit": 99}, TooLargeError, "may have 99 bytes"),
    ([part("file", b"x", "a.wav")], {"end": b""}, UsageError, "breaks off"),
    ([part("file", b"x", "a.wav")], {"end": b"--x-"}, UsageError, "breaks off"),
    ([part("file", b"x", "a.wav"), part("prompt", b"Ada")], {"end": b"--x\r\n"}, UsageError, "breaks off"),
]


@pytest.mark.parametrize(("parts", "how", "error", "says"), WRONG)
def test_what_is_no_form_with_one_recording_is_refused(
    parts: list[bytes], how: dict[str, Any], error: type[DropscribeError], says: str
) -> None:
    with pytest.raises(error, match=says):
        form(*parts, **how)


def test_a_recording_is_called_by_its_content_and_by_what_is_wanted() -> None:
    names = [
        name_of("talk.wav", "a", Wish()),
        name_of("talk.wav", "b", Wish()),
        name_of("talk.wav", "a", Wish(task=SpeechTask.TRANSLATE)),
        name_of("talk.wav", "a", Wish(language="de")),
    ]
    assert len({*names}) == 4
    assert name_of("talk.wav", "a", Wish()) == names[0]
    for hostile in (
        "../../etc/passwd",
        "/",
        "..",
        "a\0b",
        "\x1b[31m",
        "x" * 999,
        "\N{GRINNING FACE}" * 60 + ".mp3",
        ".dropscribe-upload-1.part",
        "t.json",
    ):
        name = name_of(hostile, "a", Wish())
        assert not {"/", "\0", "\x1b"}.intersection(name)
        assert not name.startswith(".")
        assert 0 < len(name.encode()) <= 255


def test_a_recording_may_have_the_same_settings_for_itself_by_whatever_way_it_comes() -> None:
    by_command = {*job_options()} - {"context", "hotwords"}
    by_http = UploadQuery.model_fields.keys() - {"folder", "name", "priority", "context"}
    assert by_http == by_command == JobSettings.__annotations__.keys()


def test_raw_sound_gets_the_header_of_a_file() -> None:
    with wave.open(BytesIO(wav_header(32_000) + bytes(32_000))) as found:
        assert (found.getnchannels(), found.getframerate(), found.getsampwidth()) == (1, 16_000, 2)
        assert found.getnframes() == 16_000
    assert len(wav_header(10**10)) == WAV.size


def chunk(window: tuple[float, float], keep: tuple[float, float], *said: Segment, channel: int = 0) -> ReadChunk:
    return ReadChunk(Span(*window), Span(*keep), said, (), (), ENGINE, {}, "", 0.0, channel)


FIRST = chunk((0, 62), (0, 60), Segment(1, 2, "one"), Segment(57.5, 59, "two"))
SECOND = chunk((58, 122), (60, 120), Segment(57.6, 59, "two"), Segment(70, 71, "three"))
THIRD = chunk((118, 180), (120, 180), Segment(130, 131, "four"))


def test_of_half_a_recording_what_no_later_window_hears_is_certain() -> None:
    def texts(*chunks: ReadChunk) -> list[str]:
        return [segment.text for segment in settled(chunks)]

    assert texts() == []
    assert texts(FIRST) == ["one"], "the next window hears the end of this one, too"
    assert texts(FIRST, SECOND) == ["one", "two", "three"]
    assert texts(SECOND, THIRD) == [], "the beginning is not there"
    assert texts(FIRST, THIRD) == ["one"], "nothing behind a gap is certain"
    assert texts(FIRST, chunk((0, 62), (0, 60), channel=1)) == []


def test_who_talks_into_what_may_still_change_waits_for_it() -> None:
    first = chunk((0, 62), (0, 60), Segment(1, 2, "one"), Segment(50, 59.5, "long"), Segment(52, 54, "short"))
    second = chunk((58, 122), (60, 120), Segment(58, 59.5, "long"), Segment(70, 71, "three"))
    assert [one.text for one in settled([first])] == ["one"]
    assert [one.text for one in settled([first, second])] == ["one", "long", "short", "three"]


def test_deltas_add_up_to_the_text() -> None:
    said = [Segment(0, 1, "one,"), Segment(1, 2, " two "), Segment(2, 3, "語"), Segment(3, 4, "学")]
    source = Source("a.wav", 1, "", 3.2, "", "", 1, 16_000)
    whole = documents.brief(Transcript("a", source, ENGINE, tuple(said)))
    assert whole == {"text": "one, two 語学", "usage": {"type": "duration", "seconds": 4}}
    deltas = [documents.delta(said[:at], said[at : at + 1])["delta"] for at in range(len(said))]
    assert deltas == ["one,", " two", " 語", "学"]


def test_the_end_of_a_stream_sends_what_is_left_however_its_segments_are_divided() -> None:
    source = Source("a.wav", 1, "", 3.2, "", "", 1, 16_000)
    divided = Transcript("a", source, ENGINE, (Segment(0, 1, "one"), Segment(1, 2, "two"), Segment(2, 3, "three")))
    told = [Segment(0, 2, "one two")]
    assert documents.rest(told, divided)["delta"] == " three"
    assert documents.rest([], divided)["delta"] == "one two three"
    assert documents.rest([*told, Segment(2, 3, "three")], divided)["delta"] == ""
    assert documents.rest([Segment(0, 2, "one twenty")], divided)["delta"] == "o three", "what was sent otherwise"


def test_no_error_ends_the_thread_that_removes_recordings(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings = Settings(home=tmp_path)
    left = settings.requests_dir / "token" / "talk.wav"
    left.parent.mkdir(parents=True)
    left.touch()
    stopping = threading.Event()
    stopping.set()  # so that it ends after once
    no_store: Any = None
    request_sweep.keep(settings, no_store, stopping)
    assert "recordings of requests are not removed now" in caplog.text
    assert left.exists()
