"""From a container to frames of sound: what is damaged is skipped, and what follows it is read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path

import av
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.format import Flags
from av.stream import Disposition

from dropscribe.core.errors import NotMediaError
from dropscribe.core.types import Span, Track
from dropscribe.worker.preparing.channels import Block
from dropscribe.worker.preparing.containers import CODECS, check_readable, opened_link
from dropscribe.worker.preparing.downmix import Resampler
from dropscribe.worker.preparing.ogg_links import OggLink
from dropscribe.worker.preparing.timeline import Timeline

MAX_FAILURES = 100  # of the demuxer, one after the other without a packet between
MAX_STOPS = 1000  # moments that are remembered: gigabytes of damage may have hundreds of thousands


@dataclass(slots=True)
class Damage:
    """What went wrong while reading: packets skipped, and whether it ended with an error.

    `stops` are the moments of the decoded sound at which the demuxer failed and went on, and `read_bytes` is where it
    gave up; 0 where it did not. `may_be_disk` says that it called something an I/O error. `inverted` are the seconds in
    which the channels cancel each other out.
    """

    errors: int = 0
    broke_off: bool = False
    stops: list[float] = field(default_factory=list)
    read_bytes: int = 0
    may_be_disk: bool = False
    inverted: float = 0.0

    def stop(self, moment: float) -> None:
        """Remember a moment; beyond `MAX_STOPS` of them each only counts, as a packet that was skipped does."""
        if len(self.stops) < MAX_STOPS:
            self.stops.append(moment)
        else:
            self.errors += 1

    @classmethod
    def of(cls, every: Sequence[Damage]) -> Damage:
        """That of all tracks."""
        return cls(
            errors=sum(map(attrgetter("errors"), every)),
            broke_off=any(map(attrgetter("broke_off"), every)),
            inverted=max(map(attrgetter("inverted"), every)),
        )


def of_links(
    source: Path, links: Iterable[OggLink], track: Track, timeline: Timeline, damage: Damage
) -> Iterator[AudioFrame]:
    """The frames of a track through all links."""
    for link in links:
        began = timeline.elapsed
        yield from _of_link(source, link, track, timeline, damage)
        read = timeline.elapsed - began
        if read == 0 or damage.read_bytes:
            damage.stop(timeline.elapsed)
            damage.read_bytes = 0
            timeline.restart(hole=link.seconds - read)


def _of_link(source: Path, link: OggLink, track: Track, timeline: Timeline, damage: Damage) -> Iterator[AudioFrame]:
    """The frames of one link, none where it cannot be read."""
    with suppress(NotMediaError), opened_link(source, link) as container:
        known = [stream for stream in container.streams.audio[track.number - 1 :] if _is_read(stream)]
        for stream in known[:1]:
            yield from of_stream(container, stream, timeline, damage)


def _is_read(stream: AudioStream) -> bool:
    """Is there a decoder for the stream that may be used?"""
    return bool(stream.codec_context) and stream.codec_context.codec.name in CODECS.split(",")


def of_stream(
    container: InputContainer, stream: AudioStream, timeline: Timeline, damage: Damage
) -> Iterator[AudioFrame]:
    """The frames of a stream, by a clock of its own."""
    timeline.restart(_origin(container, stream), counts=_has_no_clock(container))
    for packet in _packets(container, stream, timeline, damage):
        try:
            frames = packet.decode()
        except MemoryError:
            raise
        except av.FFmpegError:
            damage.errors += 1
            timeline.lose(float((packet.duration or 0) * packet.time_base))
            continue
        for frame in frames:
            if frame.samples:
                timeline.add(frame.time, frame.samples / frame.sample_rate)
                yield frame


def _packets(
    container: InputContainer, stream: AudioStream, timeline: Timeline, damage: Damage
) -> Iterator[av.Packet[AudioStream]]:
    """All packets, those behind an error of the demuxer too where it can go on."""
    at, failed = 0, 0
    while failed < MAX_FAILURES:
        try:
            for packet in container.demux(stream):
                if packet.size:  # the last one is empty and tells the decoder to give what it holds back
                    if failed:
                        damage.stop(timeline.elapsed)
                    at, failed = (packet.pos or 0) + packet.size, 0
                yield packet
            break
        except MemoryError:
            raise
        except av.FFmpegError as error:
            damage.may_be_disk |= isinstance(error, OSError)
            failed += 1
    _give_up(damage, at, failed)


def blame(source: Path, damage: Damage) -> None:
    """Raise SpoolError if it is the disk that failed; demuxers call damage an I/O error, too.

    It reads the whole file, so it is asked once, when all else was read: then it sees a disk that failed last, too.
    """
    if damage.may_be_disk:
        check_readable(source)


def _give_up(damage: Damage, at: int, failed: int) -> None:
    """What it means that nothing followed so many failures: of one alone that the file ends within a packet."""
    if failed:
        damage.broke_off |= failed == 1 or at <= 0
        damage.read_bytes = at if failed > 1 else 0


def rest(damage: Damage, heard: float, claimed: float, size: int) -> Iterator[Span]:
    """What the demuxer gave up, by the length that the header claims, else by the bytes."""
    if damage.read_bytes > 0:
        yield Span(heard, max(heard, claimed or heard * size / damage.read_bytes))


def _origin(container: InputContainer, stream: AudioStream) -> float | None:
    """The first moment of the streams beside the sound, in seconds; None where there are none."""
    moments = [
        float(other.start_time * other.time_base)
        for other in (*container.streams.video, *container.streams.audio)
        if other is not stream and other.start_time is not None and other.time_base is not None
        if Disposition.attached_pic not in other.disposition
    ]
    return min(moments, default=None)


def _has_no_clock(container: InputContainer) -> bool:
    """Whether ffmpeg makes up its timestamps, from bit rates or by counting."""
    flags = Flags(container.format.flags)
    return Flags.generic_index in flags and Flags.ts_discont not in flags


def blocks(frames: Iterable[AudioFrame]) -> Iterator[Block]:
    """All channels at 24 kHz."""
    resampler: Resampler | None = None
    for frame in frames:
        if resampler is None or not resampler.takes(frame):
            yield from resampler.flush() if resampler else ()
            resampler = Resampler(frame)
        yield from resampler.resample(frame)
    yield from resampler.flush() if resampler else ()
