"""Pure: channels that were transcribed one by one become one timeline, in which each channel is a speaker."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, starmap
from operator import attrgetter

from dropscribe.core import spans
from dropscribe.core.types import Segment, SegmentKind, Span, Speaker
from dropscribe.worker.merging.merge_chunks import MergedChunks, merge_chunks
from dropscribe.worker.merging.overlaps import ChunkOutcome
from dropscribe.worker.merging.speaker_linking import Voices


@dataclass(frozen=True, slots=True)
class ChannelOutcome:
    """The chunks of the channel with a `number` from 1, and where somebody speaks in it."""

    number: int
    parts: Sequence[ChunkOutcome]
    speech: Sequence[Span]


def merge_channels(channels: Sequence[ChannelOutcome]) -> MergedChunks:
    """Join the channels of one recording; who speaks in one is the speaker with its number, less one.

    Example: the two people speak at the same time, and neither hides the other.

    >>> hello, yes = Segment(1, 3, "Hello?", speaker=7), Segment(2, 4, "Yes.")
    >>> whole = Span(0, 5)
    >>> channels = [ChannelOutcome(n, [ChunkOutcome(whole, whole, (said,))], []) for n, said in ((1, yes), (2, hello))]
    >>> [(segment.text, segment.speaker) for segment in merge_channels(channels).segments]
    [('Hello?', 1), ('Yes.', 0)]
    """
    return joined({one.number: merge_chunks(one.parts, one.speech, Voices(compared=True)) for one in channels})


def joined(merged: Mapping[int, MergedChunks]) -> MergedChunks:
    """Make one of channels that were each merged, by their numbers; reasons and notes say of which channel they are."""
    said = [_of_channel(segment, number) for number, one in merged.items() for segment in one.segments]
    return MergedChunks(
        segments=tuple(sorted(said, key=lambda segment: (segment.start, segment.end))),
        speakers=tuple(chain.from_iterable(starmap(_speaker, sorted(merged.items())))),
        reasons=tuple(_remarks(merged, attrgetter("reasons"))),
        missing=tuple(spans.merged(chain.from_iterable(map(attrgetter("missing"), merged.values())))),
        notes=tuple(_remarks(merged, attrgetter("notes"))),
    )


def _remarks(merged: Mapping[int, MergedChunks], of: Callable[[MergedChunks], Sequence[str]]) -> Iterator[str]:
    """What there is to say of each channel, with its number before."""
    return (f"channel {number}, {remark}" for number, one in merged.items() for remark in of(one))


def _of_channel(segment: Segment, number: int) -> Segment:
    """A segment of a channel, whose number is that of its speaker; people count from 1.

    >>> _of_channel(Segment(0, 1, "Yes."), 2).speaker
    1
    """
    return replace(segment, speaker=number - 1 if segment.kind is SegmentKind.SPEECH else None)


def _speaker(number: int, merged: MergedChunks) -> Iterator[Speaker]:
    """Who speaks in a channel, if anybody does."""
    seconds = [segment.end - segment.start for segment in merged.segments if segment.kind is SegmentKind.SPEECH]
    if seconds:
        yield Speaker(number - 1, seconds=round(sum(seconds), 3))
