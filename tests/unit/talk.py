"""A conversation that never was, and what models make of windows of it: for tests of whatever joins windows."""

from __future__ import annotations

import random
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from dropscribe.core.types import Segment, Span
from dropscribe.worker.merging.overlaps import ChunkOutcome

JITTER = 0.4  # s, either way: how well models know when something was said
LONGEST = 15.0  # s: no turn is longer


@dataclass(frozen=True)
class Word:
    """A word of the conversation as it was."""

    text: str
    speaker: int
    start: float
    end: float


Utterance = list[Word]


def converse(rng: random.Random, seconds: float, vocabulary: Sequence[str] = ()) -> list[Utterance]:
    """Turns of 1 to 25 words of up to four people, pauses, and now and then somebody who talks at the same time.

    Without a vocabulary each word is said once.
    """
    talk: list[Utterance] = []
    now, said = 0.0, 0
    busy: list[int] = []
    while now < seconds:
        speaker = rng.choice([who for who in range(4) if who not in busy])
        turn: Utterance = []
        at = now
        for _ in range(rng.choice([1, 2, 4, 8, 12, 25])):
            length = rng.uniform(0.15, 0.5)
            turn.append(Word(rng.choice(vocabulary) if vocabulary else f"w{said}", speaker, at, at + length))
            at += length
            said += 1
        talk.append(turn)
        interrupted = rng.random() < 0.15
        now = rng.uniform(now, at) if interrupted else at + rng.choice([0.05, 0.3, 1.0, 3.0])
        busy = [speaker] if interrupted else []
    return talk


def hear(rng: random.Random, talk: Sequence[Utterance], window: Span, keep: Span, misread: float = 0.0) -> ChunkOutcome:
    """What a model makes of a window: whole words only, turns joined and split at will, times off by some tenths."""
    inside = [[w for w in turn if window.start <= w.start and w.end <= window.end] for turn in talk]
    turns = _joined(rng, [turn for turn in inside if turn])
    labels = rng.sample(range(9), 4)
    segments = []
    free = [0.0] * 4  # when each of them has ended: nobody is heard to interrupt themselves
    for turn in (piece for whole in turns for piece in _split(rng, whole)):
        words = [w.text if rng.random() >= misread else f"m{w.text}" for w in turn]
        start = max(free[turn[0].speaker], turn[0].start + rng.uniform(-JITTER, JITTER))
        end = max(start + 0.1, turn[-1].end + rng.uniform(-JITTER, JITTER))
        free[turn[0].speaker] = end
        text = rng.choice(["{}", "{}.", "{}?", "\u201c{}\u201d"]).format(" ".join(words).capitalize())
        segments.append(Segment(max(window.start, start), min(window.end, end), text, labels[turn[0].speaker]))
    segments.sort(key=lambda segment: segment.start)
    return ChunkOutcome(window, keep, tuple(segments))


def _joined(rng: random.Random, turns: Sequence[Utterance]) -> list[Utterance]:
    joined: list[Utterance] = []
    for turn in turns:
        last = joined[-1][-1] if joined else None
        follows = last and last.speaker == turn[0].speaker and 0 <= turn[0].start - last.end < 1.5
        if follows and rng.random() < 0.5:
            joined[-1] = joined[-1] + turn
        else:
            joined.append(turn)
    return joined


def _split(rng: random.Random, turn: Utterance) -> list[Utterance]:
    if len(turn) < 2 or rng.random() < 0.7:
        return [turn]
    at = rng.randrange(1, len(turn))
    return [turn[:at], turn[at:]]


def windows(seconds: float, length: float, overlap: float) -> list[tuple[Span, Span]]:
    """Windows and what they keep, cut in the middle of each overlap."""
    step = length - overlap
    count = max(1, round((seconds - overlap) / step))
    cuts = [0.0, *(step * i + overlap / 2 for i in range(1, count)), seconds]
    return [(Span(max(0.0, a - overlap / 2), min(seconds, b + overlap / 2)), Span(a, b)) for a, b in pairwise(cuts)]


def said(segments: Sequence[Segment]) -> list[str]:
    """Words without case and punctuation."""
    return [word.strip(".?\u201c\u201d").lower() for segment in segments for word in segment.text.split()]


def recording(
    rng: random.Random, talk: Sequence[Utterance], misread: float = 0.0, length: float = 60.0, overlap: float = 25.0
) -> list[ChunkOutcome]:
    """The conversation as it is read through windows of so many seconds."""
    seconds = max(word.end for turn in talk for word in turn)
    starts = [turn[0].start for turn in talk]
    parts = []
    for window, keep in windows(seconds, length, overlap):
        near = talk[bisect_left(starts, window.start - LONGEST) : bisect_left(starts, window.end)]
        parts.append(hear(rng, near, window, keep, misread))
    return parts
