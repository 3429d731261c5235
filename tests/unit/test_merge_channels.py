"""Channels make one timeline, in which each is a speaker."""

from dropscribe.core.types import Segment, SegmentKind, Span
from dropscribe.worker.merging.merge_channels import ChannelOutcome, joined, merge_channels
from dropscribe.worker.merging.merge_chunks import MergedChunks
from dropscribe.worker.merging.overlaps import ChunkOutcome

WHOLE = Span(0, 100)


def channel(number: int, *said: Segment, **more) -> ChannelOutcome:
    return ChannelOutcome(number, [ChunkOutcome(WHOLE, WHOLE, said, **more)], [Span(0, 100)])


def test_speakers_are_numbered_by_their_channels_whoever_speaks_first():
    merged = merge_channels([channel(1, Segment(5, 6, "Late.")), channel(3, Segment(1, 3, "Early.", speaker=2))])
    assert [(said.text, said.speaker) for said in merged.segments] == [("Early.", 2), ("Late.", 0)]
    assert [(speaker.number, speaker.seconds) for speaker in merged.speakers] == [(0, 1), (2, 2)]
    assert merged.notes == ()


def test_sounds_are_nobodys():
    merged = merge_channels([channel(1, Segment(5, 6, "[Music]", kind=SegmentKind.EVENT))])
    assert (merged.segments[0].speaker, merged.speakers) == (None, ())


def test_what_lacks_in_either_channel_lacks_once():
    gaps = Span(10, 20), Span(15, 30)
    merged = merge_channels([channel(n, reasons=("silence",), missing=(gap,)) for n, gap in enumerate(gaps, 1)])
    assert merged.missing == (Span(10, 30),)
    assert merged.reasons == ("channel 1, 0:00:00-0:01:40: silence", "channel 2, 0:00:00-0:01:40: silence")


def test_notes_say_of_which_channel_they_are():
    channels = {
        n: MergedChunks((), (), (), (), notes) for n, notes in ((1, ("faint",)), (2, ()), (4, ("hoarse", "far")))
    }
    assert joined(channels).notes == ("channel 1, faint", "channel 4, hoarse", "channel 4, far")
