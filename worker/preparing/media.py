"""Reads media that nobody vouches for, with PyAV: only ever imported by the limited process `decode_child`.

Two passes at constant memory. The first decodes to mono float32 in an unnamed temporary file and measures
it; the second applies one gain to the whole file and writes FLAC. Reading the first pass back costs a
fraction of decoding twice, and float32 loses nothing of a faint recording that 16 bits would.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import chain
from operator import attrgetter
from pathlib import Path

import av
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer

from dropscribe.core import spans
from dropscribe.core.errors import DecodeLimitError, NoAudioError, NotMediaError
from dropscribe.core.types import Span, Track
from dropscribe.worker.preparing import flac, tracks
from dropscribe.worker.preparing.claims import WHOLE, Cut, claimed_length, find_cut
from dropscribe.worker.preparing.containers import CODECS, Behind, behind_sound, container_of, links_of
from dropscribe.worker.preparing.decode import MAX_SEPARATE, Decoded, Listening
from dropscribe.worker.preparing.frames import Damage, blame, blocks, of_links, of_stream, rest
from dropscribe.worker.preparing.lanes import Lane, Spooled, interleaved, longest, mixed, separated, spread
from dropscribe.worker.preparing.level import decibels
from dropscribe.worker.preparing.ogg_links import OggLink
from dropscribe.worker.preparing.timeline import Timeline, holes_at

# A file with less than that jumps in time: speech codecs need 75 at least, and only where nothing is said.
MIN_BYTES_PER_SECOND = 50


@dataclass(frozen=True, slots=True)
class TrackSound:
    """A sound track that was decoded: its lanes, one or one for each channel, and what was found on the way."""

    track: Track
    lanes: tuple[Lane, ...]
    damage: Damage
    inserted: float = 0.0
    cut: Cut = WHOLE
    damaged: tuple[Span, ...] = ()


@dataclass(frozen=True, slots=True)
class Recording:
    """What is decoded, and where it goes: working data into `scratch`, in files that `files` closes."""

    source: Path
    behind: Behind
    links: tuple[OggLink, ...]
    scratch: Path
    max_seconds: float
    is_separate: bool
    files: ExitStack

    def lane(self) -> Lane:
        """A new one."""
        lane = Lane.new(self.scratch)
        self.files.callback(lane.file.close)
        return lane

    def lanes(self, channels: int) -> tuple[Lane, ...]:
        """One for each channel where they stay apart, else one for all."""
        return tuple(self.lane() for _ in range(channels if self.is_separate and channels > 1 else 1))


@dataclass(frozen=True, slots=True)
class HeardRecording:
    """A file whose sound was decoded: the name of its `format`, the sound of its tracks, and all tracks as `told`."""

    recording: Recording
    format: str
    sounds: tuple[TrackSound, ...]
    told: tuple[Track, ...]


def decode(
    source: Path,
    target: Path,
    scratch: Path,
    max_seconds: float,
    wanted: Listening = Listening(),  # noqa: B008 (frozen)
) -> Decoded:
    """Decode to a FLAC file of mono, or of separate channels, at 24 kHz, 16 bit and -25 dBFS.

    The level follows VibeVoice's processor: plain RMS over the whole file (silence included) to -25 dBFS,
    less where the peak would exceed full scale; and never more than +40 dB. Clicks do not count, and are
    limited to the peak of the rest. Digital silence stays as it is. Holes in the time line are filled with
    silence, so that times stay right.
    Raises NotMediaError, NoAudioError, DecodeLimitError, NoRoomError or SpoolError with the reason, MemoryError.
    """
    with ExitStack() as files:
        return spool(hear(source, scratch, max_seconds, wanted, files), target)


def hear(source: Path, scratch: Path, max_seconds: float, wanted: Listening, files: ExitStack) -> HeardRecording:
    """Decode into `scratch`, in files that `files` closes. Raises as `decode`."""
    behind, links = behind_sound(source), links_of(source)
    with container_of(source, behind, links) as container:
        _check_length(container, max_seconds)
        chosen, name = _tracks(container, wanted), container.format.name
    recording = Recording(
        source=source,
        behind=behind,
        links=links,
        scratch=scratch,
        max_seconds=max_seconds,
        is_separate=wanted.is_separate,
        files=files,
    )
    decoded = [_decoded(recording, track) for track in tracks.heard(chosen)]
    heard = tuple(sound for sound in decoded if isinstance(sound, TrackSound))
    if not heard:
        raise NotMediaError("truncated or damaged: no audio could be decoded", remedy="copy or export it again")
    return HeardRecording(recording, name, heard, _told(chosen, decoded))


def spool(whole: HeardRecording, target: Path) -> Decoded:
    """Write the FLAC file; returns facts on the recording, and on the audio made of it."""
    recording, heard = whole.recording, whole.sounds
    spooled = _spooled(recording, heard, target)
    first, length, behind = heard[0], longest(spooled.lanes), recording.behind
    level, damage = spooled.lanes[0].level, Damage.of([*map(attrgetter("damage"), heard)])
    damaged = spans.merged(chain.from_iterable(map(attrgetter("damaged"), heard)))
    return Decoded(
        duration=length,
        format=whole.format,
        codec=first.track.codec,
        channels=first.track.channels,
        sample_rate=first.track.sample_rate,
        rms_dbfs=round(decibels(level.rms), 2),
        gain_db=round(decibels(level.gain), 2),
        silent=spooled.is_silent,
        truncated=first.cut.truncated or damage.broke_off,
        # nonsense is left out
        claimed_duration=round(first.cut.claimed, 3) if first.cut.claimed <= recording.max_seconds else 0.0,
        decode_errors=damage.errors,
        silence_inserted=round(max(map(attrgetter("inserted"), heard)), 3),
        inverted_seconds=round(max(damage.inverted, spooled.inverted), 1),
        header_seconds=round(behind.header_share * length, 1),
        unread_bytes=behind.unread,
        tracks=whole.told,
        damaged=tuple(Span(round(span.start, 3), round(span.end, 3)) for span in damaged),
        separate_channels=spooled.channels,
        remarks=spooled.remarks,
    )


def _tracks(container: InputContainer, wanted: Listening) -> tuple[Track, ...]:
    """All sound tracks, at least one of which is to be heard."""
    streams = container.streams.audio
    if not streams:
        raise NoAudioError("there is no sound in it", remedy="remove it, or export it with its sound")
    best = container.streams.best("audio")
    number = streams.index(best) + 1 if isinstance(best, AudioStream) else 1
    listed = tracks.listed(container, CODECS.split(","))
    chosen = tracks.chosen(listed, [*map(attrgetter("disposition"), streams)], number, wanted.tracks)
    if not tracks.heard(chosen):
        reason = min(chosen, key=lambda track: track.left_out == tracks.NOT_ASKED_FOR).left_out
        raise NotMediaError(f"its sound is not supported: {reason}", remedy="convert it to WAV")
    _check_channels(tracks.heard(chosen), wanted)
    return chosen


def _check_channels(heard: Sequence[Track], wanted: Listening) -> None:
    """Raise DecodeLimitError for more channels than can be transcribed one by one."""
    channels = sum(map(attrgetter("channels"), heard))
    if wanted.is_separate and channels > MAX_SEPARATE:
        raise DecodeLimitError(
            f"has {channels} channels, more than the {MAX_SEPARATE} that can be transcribed one by one",
            remedy="set `channels` to mix, or choose `tracks`",
        )


def _decoded(recording: Recording, track: Track) -> TrackSound | Track:
    """The sound of a track; the track itself, left out, where there is none in it."""
    timeline, damage, lanes = Timeline(), Damage(), recording.lanes(track.channels)
    with container_of(recording.source, recording.behind, recording.links) as container:
        for block in blocks(_frames(recording, container, track, timeline, damage)):
            damage.inverted += spread(block, lanes)
            if longest(lanes) > recording.max_seconds:
                raise too_long(recording.max_seconds)
        if not longest(lanes) or damage.errors > 9 * timeline.frames:  # noise that happens to decode
            return replace(track, left_out="it is damaged")
        return _placed(recording, container, TrackSound(track, lanes, damage), timeline)


def _frames(
    recording: Recording, container: InputContainer, track: Track, timeline: Timeline, damage: Damage
) -> Iterator[AudioFrame]:
    """All that can be read. Raises SpoolError at the end if the disk withheld some."""
    if recording.links:
        yield from of_links(recording.source, recording.links, track, timeline, damage)
    else:
        yield from of_stream(container, container.streams.audio[track.number - 1], timeline, damage)
    blame(recording.source, damage)


def _placed(recording: Recording, container: InputContainer, sound: TrackSound, timeline: Timeline) -> TrackSound:
    """The sound at its times, and what of it is missing."""
    pieces = timeline.pieces(recording.max_seconds)
    for lane in sound.lanes:
        lane.place(pieces)
    duration = longest(sound.lanes)
    reached = max(duration, timeline.latest - (container.start_time or 0) / av.time_base)
    cut = find_cut(recording.source, reached, container, container.streams.audio[sound.track.number - 1])
    return replace(
        sound,
        inserted=sum(piece.silence for piece in pieces if piece.is_hole),
        cut=WHOLE if sound.damage.read_bytes else cut,
        damaged=(
            *holes_at(pieces, sound.damage.stops),
            *rest(sound.damage, duration, cut.claimed, container.size),
        ),
    )


def _told(chosen: Sequence[Track], decoded: Sequence[TrackSound | Track]) -> tuple[Track, ...]:
    """All tracks, those that turned out to be damaged left out."""
    damaged = {track.number: track for track in decoded if isinstance(track, Track)}
    return tuple(damaged.get(track.number, track) for track in chosen)


def _spooled(recording: Recording, heard: Sequence[TrackSound], target: Path) -> Spooled:
    """Write the sound of all tracks: mixed, or each channel at its own level."""
    lanes = [*chain.from_iterable(map(attrgetter("lanes"), heard))]
    if recording.is_separate and len(lanes) > 1:
        spooled = separated(lanes)
        flac.write(interleaved(spooled.lanes), target, len(spooled.lanes))
        return spooled
    whole, inverted = mixed(lanes, recording.lane())
    flac.write(whole.scaled(), target)
    return Spooled((whole,), inverted=inverted)


def _check_length(container: InputContainer, max_seconds: float) -> None:
    """Raise DecodeLimitError where the header says more than is allowed, and the file is large enough for it."""
    length = claimed_length(container)
    if length > max_seconds and container.size > length * MIN_BYTES_PER_SECOND:
        raise too_long(max_seconds)


def too_long(max_seconds: float) -> DecodeLimitError:
    """The error for a recording beyond the limit."""
    return DecodeLimitError(
        f"longer than {max_seconds / 3600:g} h", remedy="split it, or raise DROPSCRIBE_DECODE_HOURS"
    )
