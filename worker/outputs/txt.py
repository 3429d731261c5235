"""Plain text for reading: a paragraph for each turn of a speaker, remarks first."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import reduce

from core.types import Segment, SegmentKind, Transcript
from worker.outputs.text import clean, clock, join, labeller, remarks

PARAGRAPH_PAUSE = 2.0  # seconds; a longer silence within one speaker's turn begins a new paragraph


def render(transcript: Transcript) -> str:
    """Paragraphs `[HH:MM:SS] Speaker 1: text`, a blank line between them."""
    label = labeller(transcript)
    segments = (replace(segment, text=clean(segment.text)) for segment in transcript.segments)
    turns = _turns(segment for segment in segments if segment.text)
    header = "\n".join(remarks(transcript))
    blocks = [header, *(_paragraph(turn, label) for turn in turns)]
    return "\n".join(f"{block}\n" for block in blocks if block)


def _turns(segments: Iterable[Segment]) -> list[list[Segment]]:
    turns: list[list[Segment]] = []
    for segment in segments:
        if turns and _continues(turns[-1][-1], segment):
            turns[-1].append(segment)
        else:
            turns.append([segment])
    return turns


def _continues(before: Segment, after: Segment) -> bool:
    spoken = before.kind is SegmentKind.SPEECH and after.kind is SegmentKind.SPEECH
    return spoken and before.speaker == after.speaker and after.start - before.end <= PARAGRAPH_PAUSE


def _paragraph(turn: list[Segment], label: Callable[[Segment], str]) -> str:
    speaker = label(turn[0])
    prefix = f"[{clock(turn[0].start)}] " + (f"{speaker}: " if speaker else "")
    return prefix + reduce(join, (segment.text for segment in turn))
