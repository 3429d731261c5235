"""RTTM: who spoke when, for programs that score or compare diarizations; no words.

The format is appendix A of NIST's evaluation plan for Rich Transcription 2009: ten fields with blanks between them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import PurePosixPath

from dropscribe.core.types import Segment, SegmentKind, Transcript
from dropscribe.worker.outputs.text import clean, labeller, milliseconds


def render(transcript: Transcript) -> str:
    """A line `SPEAKER` for each segment of a speaker; sounds, and speech that is nobody's, have none."""
    file = _word(PurePosixPath(transcript.source.path).stem)
    label = labeller(transcript)
    return "".join(_line(file, segment, label) for segment in transcript.segments if _belongs(segment))


def _belongs(segment: Segment) -> bool:
    return segment.kind is SegmentKind.SPEECH and segment.speaker is not None and _length(segment) > 0


def _length(segment: Segment) -> int:
    return milliseconds(segment.end) - milliseconds(segment.start)


def _line(file: str, segment: Segment, label: Callable[[Segment], str]) -> str:
    start, length = milliseconds(segment.start) / 1000, _length(segment) / 1000
    return f"SPEAKER {file} 1 {start:.3f} {length:.3f} <NA> <NA> {_word(label(segment))} <NA> <NA>\n"


def _word(text: str) -> str:
    """One field: without blanks, and not empty."""
    return clean(text).replace(" ", "_") or "<NA>"
