"""The voice of one speaker of a recording as one embedding, made of what the speaker says alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from operator import attrgetter, itemgetter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dropscribe.core.spans import common, without
from dropscribe.core.types import Segment, Span
from dropscribe.models.base import VoiceEncoder
from dropscribe.worker.diarizing.embed import embeddings
from dropscribe.worker.diarizing.sub_windows import SHORTEST, sub_windows
from dropscribe.worker.merging.speaker_embeddings import unit

# Of 5 s a voice is 0.70 to 0.88 like the same person's later on, of 20 s 0.92 and more (CAM++, three people).
MIN_SECONDS = 5.0
MAX_SECONDS = 300.0  # of speech; more takes longer (0.04 s a second) and changes nothing


def spoken_alone(segments: Iterable[Segment], number: int, speech: Sequence[Span] = ()) -> list[Span]:
    """When this speaker speaks and nobody else, in order of time; only within `speech`, where that is known.

    Of long recordings the longest stretches, `MAX_SECONDS` in all.

    >>> spoken_alone([Segment(0, 4, "Hello.", 0), Segment(3, 6, "Yes.", 1)], 0)
    [Span(start=0, end=3)]
    """
    own, others = list[Span](), list[Span]()
    for one in filter(attrgetter("is_speech"), segments):
        if one.span.duration > 0:
            (own if one.speaker == number else others).append(one.span)
    alone = without(own, others)
    if speech:
        alone = common(alone, speech)
    return sorted(_longest(alone), key=lambda span: span.start)


def _longest(spans: Iterable[Span]) -> Iterator[Span]:
    """The longest of the spans, up to `MAX_SECONDS` together; none too short to tell a voice by."""
    left = MAX_SECONDS
    for span in sorted(spans, key=lambda span: -span.duration):
        taken = Span(span.start, min(span.end, span.start + left))
        if taken.duration < SHORTEST:
            return
        yield taken
        left -= taken.duration


def voice_print(
    audio: Path, spans: Sequence[Span], encoder: VoiceEncoder, track: Callable[[Sequence[Span]], Iterable[Span]] = iter
) -> NDArray[np.float32]:
    """The mean embedding of what is said in `spans` of the spool file `audio`: shape (dimensions,), length 1.

    `track` is given the sub-windows and yields them one by one. Raises SpoolGoneError and SpoolError.
    """
    parts = [*chain.from_iterable(sub_windows([span], span) for span in spans)]
    vectors = [*map(itemgetter(1), embeddings(audio, track(parts), encoder))]
    return unit(np.sum(vectors, axis=0))
