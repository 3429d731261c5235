"""Reads media that nobody vouches for, with PyAV: only ever imported by the limited process `decode_child`.

Two passes at constant memory. The first decodes to mono float32 in an unnamed temporary file and measures
it; the second applies one gain to the whole file and writes FLAC. Reading the first pass back costs a
fraction of decoding twice, and float32 loses nothing of a faint recording that 16 bits would.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import BinaryIO

import av
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.format import Flags
from av.stream import Disposition

from dropscribe.core import spans
from dropscribe.core.errors import DecodeLimitError, NoAudioError, NotMediaError, SpoolError
from dropscribe.core.types import Span, Track
from dropscribe.worker.preparing import declared_size, flac, ogg_links, tracks, understated
from dropscribe.worker.preparing.channels import Block
from dropscribe.worker.preparing.decode import MAX_SEPARATE, Decoded, Listening
from dropscribe.worker.preparing.downmix import Resampler
from dropscribe.worker.preparing.is_sound import is_sound
from dropscribe.worker.preparing.lanes import Lane, Spooled, interleaved, longest, mixed, separated, spread
from dropscribe.worker.preparing.level import decibels
from dropscribe.worker.preparing.ogg_links import OggLink
from dropscribe.worker.preparing.timeline import Timeline, holes_at
from dropscribe.worker.preparing.understated import MendedFile, Understated

# A demuxer is allowed when one of its comma-separated names stands here: "mov" admits ffmpeg's
# "mov,mp4,m4a,3gp,3g2,mj2" and "matroska" its "matroska,webm". Playlists (hls, concat, sdp) read other files.
FORMATS = "wav,mp3,flac,ogg,mov,matroska,aac,aiff,amr,asf,w64,au,mpegts,mpeg,avi,flv,caf,ac3,eac3,mxf,wv,tta,dts,dtshd"

# The decoders of those formats; it keeps the hundreds of others, all of video among them, out of reach.
CODECS = (
    "aac,aac_latm,ac3,adpcm_g722,adpcm_g726,adpcm_ima_qt,adpcm_ima_wav,adpcm_ms,adpcm_swf,adpcm_yamaha,alac,amrnb,"
    "amrwb,dca,eac3,flac,g722,gsm,gsm_ms,ilbc,libopus,libvorbis,mlp,mp1,mp1float,mp2,mp2float,mp3,mp3float,nellymoser,"
    "opus,pcm_alaw,pcm_bluray,pcm_dvd,pcm_f32be,pcm_f32le,pcm_f64be,pcm_f64le,pcm_mulaw,pcm_s16be,pcm_s16be_planar,"
    "pcm_s16le,pcm_s16le_planar,pcm_s24be,pcm_s24le,pcm_s24le_planar,pcm_s32be,pcm_s32le,pcm_s32le_planar,pcm_s64be,"
    "pcm_s64le,pcm_s8,pcm_s8_planar,pcm_u16be,pcm_u16le,pcm_u24be,pcm_u24le,pcm_u32be,pcm_u32le,pcm_u8,s302m,speex,"
    "libspeex,truehd,tta,vorbis,wavpack,wmalossless,wmapro,wmav1,wmav2,wmavoice"
)

# Only a path obeys these lists: a file object would bypass even ffmpeg's own. `subfile` reads a part of one.
OPTIONS = {"format_whitelist": FORMATS, "codec_whitelist": CODECS, "protocol_whitelist": "file,subfile"}

MAX_FAILURES = 100  # of the demuxer, one after the other without a packet between

# Their length may be ffmpeg's guess from the bit rate, so it neither limits nor proves anything.
GUESSED_LENGTH = frozenset({"mp3", "aac", "amr", "ac3", "eac3", "dts"})
# ffmpeg corrects the length of these by what is there of the file, or has it only from there.
CORRECTED_LENGTH = frozenset({"asf", "ogg", "mpegts", "mpeg", "avi", "caf"})
# The length of these counts from the moment 0, also where nothing is until later.
LENGTH_FROM_ZERO = frozenset({"asf", "ogg", "matroska,webm"})

# A file with less than that jumps in time: speech codecs need 75 at least, and only where nothing is said.
MIN_BYTES_PER_SECOND = 50

# Seconds by which sound may be shorter than its header says. Of whole files, 0.05 s was the most that was seen (WMA).
SHORTER = 0.3
FLAC_SHORTER = 0.05  # counts its samples exactly
ROUNDING = 0.01  # s
MP3_FRAMES = 4  # the same for mp3, whose header counts what encoders put before and after the sound; 2.7 were seen

BLOCK = 1 << 20  # bytes that are read at once


@dataclass(slots=True)
class Damage:
    """What went wrong while reading: packets skipped, and whether it ended with an error.

    `stops` are the moments of the decoded sound at which the demuxer failed, and `read_bytes` is where it gave up; 0
    where it did not. `inverted` are the seconds in which the channels cancel each other out.
    """

    errors: int = 0
    broke_off: bool = False
    stops: list[float] = field(default_factory=list)
    read_bytes: int = 0
    inverted: float = 0.0

    @classmethod
    def of(cls, heard: Sequence[TrackSound]) -> Damage:
        """That of all tracks."""
        every = [sound.damage for sound in heard]
        return cls(
            errors=sum(one.errors for one in every),
            broke_off=any(one.broke_off for one in every),
            inverted=max(one.inverted for one in every),
        )


@dataclass(frozen=True, slots=True)
class Cut:
    """Whether the file breaks off before its end, and how many seconds the whole has (0: nothing tells)."""

    truncated: bool
    claimed: float = 0.0


@dataclass(frozen=True, slots=True)
class Behind:
    """What lies behind the sound that the header claims, and whether that is sound; `mended` is None unless it is."""

    found: Understated | None
    is_sound: bool

    @property
    def mended(self) -> Understated | None:
        """What the header should say."""
        return self.found if self.is_sound else None

    @property
    def header_share(self) -> float:
        """The part of the sound that the header claims where it should say more; 0 where it is right."""
        return self.mended.share if self.mended else 0.0

    @property
    def unread(self) -> int:
        """Bytes that are neither sound nor described."""
        return self.found.end - self.found.claimed if self.found and not self.is_sound else 0


@dataclass(frozen=True, slots=True)
class TrackSound:
    """A sound track that was decoded: its lanes, one or one for each channel, and what was found on the way."""

    track: Track
    lanes: tuple[Lane, ...]
    damage: Damage
    inserted: float
    cut: Cut
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
    behind, links = _behind(source), _links(source)
    with _container(source, behind, links) as container:
        _check_length(container, max_seconds)
        chosen, name = _tracks(container, wanted), container.format.name
    with ExitStack() as files:
        recording = Recording(source, behind, links, scratch, max_seconds, wanted.is_separate, files)
        decoded = [_decoded(recording, track) for track in tracks.heard(chosen)]
        heard = [sound for sound in decoded if isinstance(sound, TrackSound)]
        if not heard:
            raise NotMediaError("truncated or damaged: no audio could be decoded", remedy="copy or export it again")
        spooled = _spooled(recording, heard, target)
        return _answer(recording, name, heard, spooled, _told(chosen, decoded))


def _answer(
    recording: Recording, name: str, heard: Sequence[TrackSound], spooled: Spooled, told: tuple[Track, ...]
) -> Decoded:
    first, whole, behind = heard[0], longest(spooled.lanes), recording.behind
    level, damage = spooled.lanes[0].level, Damage.of(heard)
    return Decoded(
        duration=whole,
        format=name,
        codec=first.track.codec,
        channels=first.track.channels,
        sample_rate=first.track.sample_rate,
        rms_dbfs=round(decibels(level.rms), 2),
        gain_db=round(decibels(level.gain), 2),
        silent=spooled.is_silent,
        truncated=first.cut.truncated or damage.broke_off,
        # nonsense is not told
        claimed_duration=round(first.cut.claimed, 3) if first.cut.claimed <= recording.max_seconds else 0.0,
        decode_errors=damage.errors,
        silence_inserted=round(max(sound.inserted for sound in heard), 3),
        inverted_seconds=round(max(damage.inverted, spooled.inverted), 1),
        header_seconds=round(behind.header_share * whole, 1),
        unread_bytes=behind.unread,
        tracks=told,
        damaged=_whole_milliseconds(spans.merged(chain.from_iterable(sound.damaged for sound in heard))),
        separate_channels=spooled.channels,
        remarks=spooled.remarks,
    )


def _whole_milliseconds(found: Iterable[Span]) -> tuple[Span, ...]:
    return tuple(Span(round(span.start, 3), round(span.end, 3)) for span in found)


def _behind(source: Path) -> Behind:
    try:
        with source.open("rb") as file:
            found = understated.find(file)
            return Behind(found, found is not None and is_sound(file, found, OPTIONS))
    except OSError as error:
        raise _unreadable(error) from error


def _links(source: Path) -> tuple[OggLink, ...]:
    try:
        with source.open("rb") as file:
            return ogg_links.find(file)
    except OSError as error:
        raise _unreadable(error) from error


@contextmanager
def _container(source: Path, behind: Behind, links: Sequence[OggLink]) -> Iterator[InputContainer]:
    """The opened file, or the first of its links; where its header claims less than there is, as if it did not."""
    if behind.mended is None:
        with _first_link(source, links) if links else _opened(source, str(source)) as container:
            yield container
        return
    # A file object bypasses ffmpeg's lists. But its format is given, reads no other file, and `_tracks` checks codecs.
    with MendedFile(source, behind.mended) as file, _opened(source, file, behind.mended.format) as container:
        yield container


def _opened(source: Path, file: str | MendedFile, name: str | None = None) -> InputContainer:
    try:
        return av.open(file, "r", format=name, options=OPTIONS, metadata_errors="replace")
    except MemoryError:
        raise
    except OSError as error:
        _check_readable(source)
        raise NotMediaError("damaged, or no media", remedy="check the file, or convert it to WAV") from error
    except av.FFmpegError as error:
        cause = "a format that is not read" if isinstance(error, av.ArgumentError) else "damaged, or no media"
        raise NotMediaError(f"{cause} ({error.strerror})", remedy="check the file, or convert it to WAV") from error


def _opened_link(source: Path, link: OggLink) -> InputContainer:
    return _opened(source, f"subfile,,start,{link.start},end,{link.end},,:{source}")


def _first_link(source: Path, links: Sequence[OggLink]) -> InputContainer:
    """The first that can be read; the last where none can."""
    for link in links[:-1]:
        with suppress(NotMediaError):
            return _opened_link(source, link)
    return _opened_link(source, links[-1])


def _check_readable(source: Path) -> None:
    """Raise SpoolError if the disk withholds a byte: demuxers call damage an I/O error, too."""
    try:
        with source.open("rb") as file:
            while file.read(BLOCK):
                pass
    except OSError as error:
        raise _unreadable(error) from error


def _tracks(container: InputContainer, wanted: Listening) -> tuple[Track, ...]:
    """All sound tracks, at least one of which is to be heard."""
    streams = container.streams.audio
    if not streams:
        raise NoAudioError("there is no sound in it", remedy="remove it, or export it with its sound")
    best = container.streams.best("audio")
    number = streams.index(best) + 1 if isinstance(best, AudioStream) else 1
    listed = tracks.listed(container, CODECS.split(","))
    chosen = tracks.chosen(listed, [stream.disposition for stream in streams], number, wanted.tracks)
    if not tracks.heard(chosen):
        reason = min(chosen, key=lambda track: track.left_out == tracks.NOT_ASKED_FOR).left_out
        raise NotMediaError(f"its sound is not read: {reason}", remedy="convert it to WAV")
    _check_channels(tracks.heard(chosen), wanted)
    return chosen


def _check_channels(heard: Sequence[Track], wanted: Listening) -> None:
    channels = sum(track.channels for track in heard)
    if wanted.is_separate and channels > MAX_SEPARATE:
        raise DecodeLimitError(
            f"has {channels} channels, more than the {MAX_SEPARATE} that can be transcribed one by one",
            remedy="set `channels` to mix, or choose `tracks`",
        )


def _decoded(recording: Recording, track: Track) -> TrackSound | Track:
    """The sound of a track; the track itself, left out, where there is none in it."""
    with _container(recording.source, recording.behind, recording.links) as container:
        stream = container.streams.audio[track.number - 1]
        timeline, damage = Timeline(), Damage()
        lanes = recording.lanes(track.channels)
        for block in _blocks(_sound(recording, container, track, timeline, damage)):
            damage.inverted += spread(block, lanes)
            if longest(lanes) > recording.max_seconds:
                raise _too_long(recording.max_seconds)
        if not longest(lanes) or damage.errors > 9 * timeline.frames:  # noise that happens to decode
            return replace(track, left_out="it is damaged")
        pieces = timeline.pieces(recording.max_seconds)
        for lane in lanes:
            lane.place(pieces)
        reached = max(longest(lanes), timeline.latest - (container.start_time or 0) / av.time_base)
        cut = _cut(recording.source, reached, container, stream)
        damaged = (*holes_at(pieces, damage.stops), *_rest(damage, longest(lanes), cut.claimed, container.size))
        inserted = sum(piece.silence for piece in pieces if piece.is_hole)
        return TrackSound(track, lanes, damage, inserted, Cut(False) if damage.read_bytes else cut, damaged)


def _told(chosen: Sequence[Track], decoded: Sequence[TrackSound | Track]) -> tuple[Track, ...]:
    """All tracks, those that turned out to be damaged left out."""
    damaged = {track.number: track for track in decoded if isinstance(track, Track)}
    return tuple(damaged.get(track.number, track) for track in chosen)


def _spooled(recording: Recording, heard: Sequence[TrackSound], target: Path) -> Spooled:
    """Write the sound of all tracks: mixed, or each channel at its own level."""
    lanes = [lane for sound in heard for lane in sound.lanes]
    if recording.is_separate and len(lanes) > 1:
        spooled = separated(lanes)
        flac.write(interleaved(spooled.lanes), target, len(spooled.lanes))
        return spooled
    whole, inverted = mixed(lanes, recording.lane())
    flac.write(whole.scaled(), target)
    return Spooled((whole,), inverted=inverted)


def _check_length(container: InputContainer, max_seconds: float) -> None:
    """Raise DecodeLimitError where the header says more than is allowed, and the file is large enough for it."""
    length = _length(container)
    if length > max_seconds and container.size > length * MIN_BYTES_PER_SECOND:
        raise _too_long(max_seconds)


def _length(container: InputContainer) -> float:
    """Seconds from the first to the last moment of the container by its header, 0 where it does not say."""
    if container.format.name in GUESSED_LENGTH:
        return 0.0
    length, start = (container.duration or 0) / av.time_base, (container.start_time or 0) / av.time_base
    return max(0.0, length - start) if start > 0 and container.format.name in LENGTH_FROM_ZERO else length


def _has_no_clock(container: InputContainer) -> bool:
    """Whether ffmpeg makes up its timestamps, from bit rates or by counting."""
    flags = Flags(container.format.flags)
    return Flags.generic_index in flags and Flags.ts_discont not in flags


def _origin(container: InputContainer, stream: AudioStream) -> float | None:
    """The first moment of the streams beside the sound, in seconds; None where there are none."""
    moments = [
        float(other.start_time * other.time_base)
        for other in (*container.streams.video, *container.streams.audio)
        if other is not stream and other.start_time is not None and other.time_base is not None
        if Disposition.attached_pic not in other.disposition
    ]
    return min(moments, default=None)


def _claimed(file: BinaryIO, container: InputContainer, stream: AudioStream) -> tuple[float, float]:
    """Seconds of sound that the file claims, 0 where it does not say, and how many of them may be missing."""
    if frames := declared_size.mp3_frames(file):
        # Only layer 3 has that header: 1152 samples a frame, 576 at the sample rates of MPEG 2.
        frame = (1152 if stream.sample_rate >= 32_000 else 576) / stream.sample_rate
        return frames * frame, MP3_FRAMES * frame
    tolerance = FLAC_SHORTER if container.format.name == "flac" else SHORTER
    return _claimed_by_header(container, stream), tolerance


def _claimed_by_header(container: InputContainer, stream: AudioStream) -> float:
    """Seconds of sound by the container, 0 where it does not say."""
    name = container.format.name
    if name in CORRECTED_LENGTH:
        return 0.0
    if stream.duration is not None and stream.time_base is not None and _length(container):
        # Matroska knows no length of a stream: it is ffmpeg's guess from the bit rate.
        return float(stream.duration * stream.time_base) if name != "matroska,webm" else 0.0
    # Matroska states one length for all streams, and a picture may outlast the sound.
    return _length(container) if len(container.streams) == 1 else 0.0


def _cut(source: Path, heard: float, container: InputContainer, stream: AudioStream) -> Cut:
    """Whether the file ends before the seconds or the bytes that it claims."""
    try:
        with source.open("rb") as file:
            if declared_size.is_torn(file):
                return Cut(True)  # what ffmpeg tells of its length is the length of what is there
            claimed, tolerance = _claimed(file, container, stream)
            if heard < claimed - tolerance:
                return Cut(True, claimed)
            if declared_size.is_cut(file):
                share = declared_size.claimed_size(file) / source.stat().st_size
                return Cut(True, claimed if claimed > heard + ROUNDING else heard * share)
            return Cut(False)
    except OSError as error:
        raise _unreadable(error) from error


def _sound(
    recording: Recording, container: InputContainer, track: Track, timeline: Timeline, damage: Damage
) -> Iterator[AudioFrame]:
    """The frames of a track, of all links where there are several."""
    if not recording.links:
        yield from _frames(recording.source, container, container.streams.audio[track.number - 1], timeline, damage)
    for link in recording.links:
        began = timeline.elapsed
        yield from _of_link(recording.source, link, track, timeline, damage)
        read = timeline.elapsed - began
        if read == 0 or damage.read_bytes:
            damage.stops.append(timeline.elapsed)
            damage.read_bytes = 0
            timeline.restart(hole=link.seconds - read)


def _of_link(source: Path, link: OggLink, track: Track, timeline: Timeline, damage: Damage) -> Iterator[AudioFrame]:
    """The frames of one link, none where it cannot be read."""
    with suppress(NotMediaError), _opened_link(source, link) as container:
        known = [stream for stream in container.streams.audio[track.number - 1 :] if _is_read(stream)]
        for stream in known[:1]:
            yield from _frames(source, container, stream, timeline, damage)


def _is_read(stream: AudioStream) -> bool:
    return bool(stream.codec_context) and stream.codec_context.codec.name in CODECS.split(",")


def _frames(
    source: Path, container: InputContainer, stream: AudioStream, timeline: Timeline, damage: Damage
) -> Iterator[AudioFrame]:
    timeline.restart(_origin(container, stream), counts=_has_no_clock(container))
    for packet in _packets(source, container, stream, timeline, damage):
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
    source: Path, container: InputContainer, stream: AudioStream, timeline: Timeline, damage: Damage
) -> Iterator[av.Packet[AudioStream]]:
    """All packets, those behind an error of the demuxer too where it can go on."""
    at, failed = 0, 0
    while failed < MAX_FAILURES:
        try:
            for packet in container.demux(stream):
                if packet.size:  # the last one is empty and tells the decoder to give what it holds back
                    at, failed = (packet.pos or 0) + packet.size, 0
                yield packet
            break
        except MemoryError:
            raise
        except av.FFmpegError as error:
            if isinstance(error, OSError):
                _check_readable(source)
            damage.stops += [timeline.elapsed] if not failed else []
            failed += 1
    _give_up(damage, at, failed)


def _give_up(damage: Damage, at: int, failed: int) -> None:
    """What it means that nothing followed so many failures: of one alone that the file ends within a packet."""
    if failed:
        damage.stops.pop()
        damage.broke_off |= failed == 1 or at <= 0
        damage.read_bytes = at if failed > 1 else 0


def _rest(damage: Damage, heard: float, claimed: float, size: int) -> Iterator[Span]:
    """What the demuxer gave up, by the length that the header claims, else by the bytes."""
    if damage.read_bytes > 0:
        yield Span(heard, max(heard, claimed or heard * size / damage.read_bytes))


def _blocks(frames: Iterable[AudioFrame]) -> Iterator[Block]:
    """All channels at 24 kHz."""
    resampler: Resampler | None = None
    for frame in frames:
        if resampler is None or not resampler.takes(frame):
            yield from resampler.flush() if resampler else ()
            resampler = Resampler(frame)
        yield from resampler.resample(frame)
    yield from resampler.flush() if resampler else ()


def _too_long(max_seconds: float) -> DecodeLimitError:
    return DecodeLimitError(
        f"longer than {max_seconds / 3600:g} h", remedy="split it, or raise DROPSCRIBE_DECODE_HOURS"
    )


def _unreadable(error: OSError) -> SpoolError:
    return SpoolError(f"its working copy cannot be read ({error.strerror})", remedy="check that disk")
