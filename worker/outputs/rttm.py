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
    """Speech of a known speaker that takes some time: all that the format can say.

    >>> _belongs(Segment(0, 1, "Yes.", 0)), _belongs(Segment(0, 1, "Yes."))
    (True, False)
    """
    return segment.kind is SegmentKind.SPEECH and segment.speaker is not None and _length(segment) > 0


def _length(segment: Segment) -> int:
    """Milliseconds that a segment takes, as the format rounds its ends.

    >>> _length(Segment(1.0, 2.5, "Yes."))
    1500
    """
    return milliseconds(segment.end) - milliseconds(segment.start)


def _line(file: str, segment: Segment, label: Callable[[Segment], str]) -> str:
    """A line of the format."""
    start, length = milliseconds(segment.start) / 1000, _length(segment) / 1000
    return f"SPEAKER {file} 1 {start:.3f} {length:.3f} <NA> <NA> {_word(label(segment))} <NA> <NA>\n"


def _word(text: str) -> str:
    """One field: without blanks, and not empty.

    >>> _word("Ada Lovelace"), _word(" ")
    ('Ada_Lovelace', '<NA>')
    """
    return clean(text).replace(" ", "_") or "<NA>"
