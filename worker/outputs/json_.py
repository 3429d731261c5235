"""JSON: the whole transcript, loss-free, for programs; docs/transcript.schema.json describes it."""

from __future__ import annotations

import json
import re
from functools import cache
from itertools import repeat
from typing import Any

from pydantic import TypeAdapter, ValidationError

from dropscribe.core import old_names
from dropscribe.core.confidence import is_unsure
from dropscribe.core.errors import StoreError
from dropscribe.core.types import SpeechTask, Transcript

SCHEMA = "dropscribe.transcript/1"
# What stands first in a document; the other fields follow as `Transcript` declares them, and the long lists last.
FIRST = ("job_id", "created_at", "source", "engine", "speech_detector", "language")

# JSON leaves these as they are, but a terminal obeys the first lot and JavaScript once stumbled on the second.
_UNSAFE = re.compile("[\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


def render(transcript: Transcript) -> str:
    """The transcript as a JSON document. Raises ValueError when a number in it is not finite."""
    text = json.dumps(_document(transcript), ensure_ascii=False, allow_nan=False, indent=2)
    return _UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", text) + "\n"


def from_json(text: str) -> Transcript:
    """The transcript that `render` made this of, in this version or before; fields that are not known are ignored.

    Raises StoreError if the text is not such a document or has another version.
    """
    try:
        return _transcript(json.loads(text))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        cause = _first(error) if isinstance(error, ValidationError) else f"{type(error).__name__}: {error}"
        raise StoreError(
            f"this is not a transcript in {SCHEMA} ({cause})", remedy="transcribe the recording again"
        ) from error


def _first(error: ValidationError) -> str:
    """The first mistake, in one line."""
    item = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(map(str, item['loc']))}: {item['msg']}"


@cache
def _adapter() -> TypeAdapter[Transcript]:
    """What checks and writes transcripts, made once."""
    return TypeAdapter(Transcript)


def _document(transcript: Transcript) -> dict[str, Any]:
    """The document as docs/output-formats.md describes it, with old names beside new ones."""
    fields = _adapter().dump_python(transcript, warnings=False)  # of times that are whole numbers
    _leave_out_what_is_rare(fields)
    speakers, segments = fields.pop("speakers"), fields.pop("segments")
    document = {
        "schema": SCHEMA,
        **{name: fields.pop(name) for name in FIRST},
        **fields,
        "speakers": [*map(old_names.with_old, speakers, repeat(old_names.SPEAKER))],
        "segments": [
            old_names.with_old({"id": index, **values, "unsure": is_unsure(segment)}, old_names.SEGMENT)
            for index, (segment, values) in enumerate(zip(transcript.segments, segments, strict=True))
        ],
    }
    return old_names.with_old(document, old_names.TRANSCRIPT)


def _leave_out_what_is_rare(fields: dict[str, Any]) -> None:
    """A document says `revision`, `corrected` and `task` only where people corrected it, or it is a translation."""
    if not fields["revision"]:
        del fields["revision"]
    if fields["task"] is SpeechTask.TRANSCRIBE:
        del fields["task"]
    for segment in fields["segments"]:
        for part in (segment, *segment["words"]):
            if not part["corrected"]:
                del part["corrected"]


def _transcript(document: dict[str, Any]) -> Transcript:
    """The transcript in a document, whose names may be old ones. Raises ValueError, TypeError, KeyError."""
    if document["schema"] != SCHEMA:
        raise ValueError(f"its schema is {document['schema']!r}")
    fields = old_names.with_new(document, old_names.TRANSCRIPT) | {
        "speakers": [*map(old_names.with_new, document.get("speakers", ()), repeat(old_names.SPEAKER))],
        "segments": [*map(old_names.with_new, document["segments"], repeat(old_names.SEGMENT))],
    }
    return _adapter().validate_python(fields)
