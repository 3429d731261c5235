"""Turns: what one speaker says in one go, for the formats that are read like a book."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import reduce
from itertools import groupby
from operator import attrgetter

from dropscribe.core.confidence import is_unsure
from dropscribe.core.types import Segment, SegmentKind, Transcript
from dropscribe.worker.outputs.text import CLOSE, OPEN, clean, join, labeller

PARAGRAPH_PAUSE = 2.0  # seconds; a longer silence within one speaker's turn begins a new paragraph


@dataclass(frozen=True, slots=True)
class Turn:
    """Segments with clean text, at least one; `label` names their speaker, empty where there is none to name."""

    label: str
    segments: tuple[Segment, ...]

    @property
    def start(self) -> float:
        """When it begins, in seconds."""
        return self.segments[0].start

    @property
    def text(self) -> str:
        """All that is said, as one paragraph, with marks around unsure words."""
        return " ".join(_run(group, unsure) for unsure, group in groupby(self.segments, is_unsure))


def _run(segments: Iterable[Segment], unsure: bool) -> str:
    """The text of segments in a row, marked where they are unsure.

    >>> _run([Segment(0, 1, "one"), Segment(1, 2, "two")], unsure=False)
    'one two'
    """
    text = reduce(join, map(attrgetter("text"), segments))
    return f"{OPEN} {text} {CLOSE}" if unsure else text


def turns(transcript: Transcript) -> list[Turn]:
    """The transcript in order; each sound is a turn of its own, and segments without text are left out."""
    label = labeller(transcript)
    segments = (replace(segment, text=clean(segment.text)) for segment in transcript.segments)
    groups = _groups(filter(attrgetter("text"), segments))
    return [Turn(label(group[0]), tuple(group)) for group in groups]


def _groups(segments: Iterable[Segment]) -> list[list[Segment]]:
    """Segments in runs of one speaker without a long pause.

    >>> len(_groups([Segment(0, 1, "one", 0), Segment(1, 2, "two", 1)]))
    2
    """
    groups: list[list[Segment]] = []
    for segment in segments:
        if groups and _continues(groups[-1][-1], segment):
            groups[-1].append(segment)
        else:
            groups.append([segment])
    return groups


def _continues(before: Segment, after: Segment) -> bool:
    """Does the same speaker go on, after a short pause at most?

    >>> _continues(Segment(0, 1, "one", 0), Segment(1.2, 2, "two", 0))
    True
    """
    same = (before.kind, before.speaker) == (SegmentKind.SPEECH, after.speaker)
    return same and after.is_speech and after.start - before.end <= PARAGRAPH_PAUSE
