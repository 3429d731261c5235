"""JSON: the whole transcript, loss-free, for programs; docs/transcript.schema.json describes it."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from typing import Any

from dropscribe.core import old_names
from dropscribe.core.confidence import is_unsure
from dropscribe.core.errors import StoreError
from dropscribe.core.types import EngineInfo, Segment, SegmentKind, Source, Span, Speaker, Transcript, Word

SCHEMA = "dropscribe.transcript/1"

# JSON leaves these as they are, but a terminal obeys the first lot and JavaScript once stumbled on the second.
_UNSAFE = re.compile("[\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


def render(transcript: Transcript) -> str:
    """The transcript as a JSON document. Raises ValueError when a number in it is not finite."""
    text = json.dumps(_document(transcript), ensure_ascii=False, allow_nan=False, indent=2)
    return _UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", text) + "\n"


def from_json(text: str) -> Transcript:
    """The transcript that `render` made this of, in this version or before; fields that are not known are ignored.

    Raises StoreError when the text is no such document or of another version.
    """
    try:
        return _transcript(json.loads(text))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        cause = f"{type(error).__name__}: {error}"
        raise StoreError(f"this is not a transcript in {SCHEMA} ({cause}); transcribe the recording again") from error


def _document(transcript: Transcript) -> dict[str, Any]:
    segments = (
        old_names.with_old(asdict(segment) | {"unsure": is_unsure(segment)}, old_names.SEGMENT)
        for segment in transcript.segments
    )
    document = {
        "schema": SCHEMA,
        "job_id": transcript.job_id,
        "created_at": transcript.created_at,
        "source": asdict(transcript.source),
        "engine": asdict(transcript.engine),
        "speech_detector": transcript.speech_detector,
        "language": transcript.language,
        "settings": transcript.settings,
        "notes": transcript.notes,
        "reasons": transcript.reasons,
        "uncovered_speech": [asdict(span) for span in transcript.uncovered_speech],
        "timings": transcript.timings,
        "speakers": [old_names.with_old(asdict(speaker), old_names.SPEAKER) for speaker in transcript.speakers],
        "segments": [{"id": index, **segment} for index, segment in enumerate(segments)],
    }
    return old_names.with_old(document, old_names.TRANSCRIPT)


def _transcript(document: dict[str, Any]) -> Transcript:
    if document["schema"] != SCHEMA:
        raise ValueError(f"its schema is {document['schema']!r}")
    document = old_names.with_new(document, old_names.TRANSCRIPT)
    return Transcript(
        job_id=document["job_id"],
        source=_source(document["source"]),
        engine=_engine(document["engine"]),
        segments=tuple(_segment(item) for item in document["segments"]),
        speakers=tuple(_speaker(item) for item in document.get("speakers", ())),
        speech_detector=document["speech_detector"],
        settings=dict(document["settings"]),
        notes=tuple(document["notes"]),
        reasons=tuple(document["reasons"]),
        uncovered_speech=tuple(Span(float(item["start"]), float(item["end"])) for item in document["uncovered_speech"]),
        timings={phase: float(seconds) for phase, seconds in document["timings"].items()},
        created_at=document["created_at"],
        language=document.get("language", ""),
    )


def _source(item: dict[str, Any]) -> Source:
    return Source(
        path=item["path"],
        size=item["size"],
        sha256=item["sha256"],
        duration=float(item["duration"]),
        format=item["format"],
        codec=item["codec"],
        channels=item["channels"],
        sample_rate=item["sample_rate"],
    )


def _engine(item: dict[str, Any]) -> EngineInfo:
    return EngineInfo(
        engine=item["engine"],
        model=item["model"],
        precision=item["precision"],
        slots=item["slots"],
        longest_chunk=float(item["longest_chunk"]),
        notice=item["notice"],
        quantized=item.get("quantized", ""),
        attention=item["attention"],
        attention_reason=item["attention_reason"],
        load_seconds=float(item["load_seconds"]),
        memory_held=item["memory_held"],
        memory_free=item["memory_free"],
    )


def _speaker(item: dict[str, Any]) -> Speaker:
    item = old_names.with_new(item, old_names.SPEAKER)
    return Speaker(
        number=item["number"],
        name=item["name"],
        seconds=float(item["seconds"]),
        maybe_same=tuple(item["maybe_same"]),
        similarity=tuple(item.get("similarity", ())),
        recognized=item.get("recognized"),
    )


def _segment(item: dict[str, Any]) -> Segment:
    confidence = old_names.with_new(item, old_names.SEGMENT)["confidence"]
    return Segment(
        start=float(item["start"]),
        end=float(item["end"]),
        text=item["text"],
        speaker=item["speaker"],
        kind=SegmentKind(item["kind"]),
        confidence=None if confidence is None else float(confidence),
        words=tuple(_word(word) for word in item.get("words", ())),
    )


def _word(item: dict[str, Any]) -> Word:
    return Word(float(item["start"]), float(item["end"]), item["text"])
