"""Also in that child: the files of a recording in parts become one sound, with one gain for all of it.

Each part is decoded as a recording by itself, and its sound put behind that of the parts before. A part that cannot be
read leaves a gap of silence, as long as its size says by the others, so that the times of what follows stay right.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import chain
from operator import attrgetter
from pathlib import Path

import numpy as np

from dropscribe.core.audio import SAMPLE_RATE
from dropscribe.core.errors import NoAudioError, NotMediaError, PartsDifferError
from dropscribe.core.types import SourcePart, Span
from dropscribe.worker.preparing import media
from dropscribe.worker.preparing.claims import WHOLE, Cut
from dropscribe.worker.preparing.containers import Behind
from dropscribe.worker.preparing.decode import Decoded, Listening, PartToDecode
from dropscribe.worker.preparing.frames import Damage
from dropscribe.worker.preparing.lanes import BLOCK, Lane
from dropscribe.worker.preparing.media import HeardRecording, TrackSound


def decode(
    parts: Sequence[PartToDecode], target: Path, scratch: Path, max_seconds: float, wanted: Listening
) -> Decoded:
    """Decode all parts to one FLAC file, as `media.decode` does with one file.

    Raises the same errors, and PartsDifferError for parts whose sound is of another kind than that of the first; those
    of a single part only where no part can be read.
    """
    with ExitStack() as files:
        whole = _JoinedSound(scratch, max_seconds, wanted, files)
        for part in parts:
            whole.add(part, is_last=part is parts[-1])
        decoded = media.spool(whole.recording(), target)
    return replace(
        decoded,
        parts=tuple(whole.parts),
        header_seconds=round(whole.header_seconds, 1),
        unread_bytes=whole.unread_bytes,
    )


@dataclass
class _JoinedSound:
    """The sound of the parts so far. `kind` is what all have in common, `pace` the bytes of a second of them."""

    scratch: Path
    max_seconds: float
    wanted: Listening
    files: ExitStack
    parts: list[SourcePart] = field(default_factory=list)
    header_seconds: float = 0.0
    unread_bytes: int = 0
    _first: HeardRecording | None = None
    _sounds: list[TrackSound] = field(default_factory=list)
    _samples: int = 0
    _pace: float = 0.0
    _lost: list[PartToDecode] = field(default_factory=list)  # before anything could be read

    def add(self, part: PartToDecode, *, is_last: bool) -> None:
        """Put the sound of a part behind the others. Raises PartsDifferError, DecodeLimitError, SpoolError."""
        with ExitStack() as files:
            try:
                heard = self._heard(part, files)
            except (NotMediaError, NoAudioError) as error:
                self._lose(replace(part, problem=part.problem or error.problem))
                return
            self._begin(heard, part)
            self._append(heard, part, is_last=is_last)

    def recording(self) -> HeardRecording:
        """The whole as one recording. Raises NotMediaError where nothing could be read."""
        if self._first is None:
            raise NotMediaError(self._lost[0].problem, remedy="copy or export it again")
        return replace(self._first, sounds=tuple(self._sounds))

    def _heard(self, part: PartToDecode, files: ExitStack) -> HeardRecording:
        """The part, decoded. Raises NotMediaError, NoAudioError for one that cannot be read."""
        if not part.source:
            raise NotMediaError(part.problem, remedy="copy it again")
        heard = media.hear(Path(part.source), self.scratch, self.max_seconds, self.wanted, files)
        if self._first and (theirs := _kind(heard)) != (ours := _kind(self._first)):
            raise PartsDifferError(f"the sound of {part.name} is {theirs}, and that of the parts before {ours}")
        return heard

    def _begin(self, heard: HeardRecording, part: PartToDecode) -> None:
        """With the first part that can be read: make lanes like its own, and know how long those before it were."""
        if self._first:
            return
        whole = replace(heard.recording, files=self.files, behind=Behind(None, is_sound=False))
        self._sounds = [
            TrackSound(sound.track, tuple(whole.lane() for _ in sound.lanes), Damage()) for sound in heard.sounds
        ]
        self._first = replace(heard, recording=whole)
        self._pace = part.size / (_samples(heard) / SAMPLE_RATE)
        lost, self._lost = self._lost, []
        for one in lost:
            self._lose(one)

    def _lose(self, part: PartToDecode) -> None:
        """Leave a gap for a part that cannot be read, as soon as it is known how long that is."""
        if not self._pace:
            self._lost.append(part)
            return
        start, seconds = self._samples / SAMPLE_RATE, round(part.size / self._pace, 3)
        self._hush(seconds)
        self.parts.append(SourcePart(part.name, start, seconds, part.problem))

    def _hush(self, seconds: float) -> None:
        """Add silence that stands for what could not be read."""
        start, samples = self._samples / SAMPLE_RATE, round(seconds * SAMPLE_RATE)
        self._grow(samples)
        for lane in chain.from_iterable(map(attrgetter("lanes"), self._sounds)):
            _silence(lane, samples)
        self._sounds[0] = replace(
            self._sounds[0], damaged=(*self._sounds[0].damaged, Span(start, self._samples / SAMPLE_RATE))
        )

    def _append(self, heard: HeardRecording, part: PartToDecode, *, is_last: bool) -> None:
        """Add the sound of a part, and what was found on the way; what is missing at its end leaves a gap."""
        start, samples = self._samples / SAMPLE_RATE, _samples(heard)
        self._grow(samples)
        self._sounds = [
            _continued(whole, sound, start, samples, is_last=is_last)
            for whole, sound in zip(self._sounds, heard.sounds, strict=True)
        ]
        behind = heard.recording.behind
        self.header_seconds += behind.header_share * samples / SAMPLE_RATE
        self.unread_bytes += behind.unread
        first = heard.sounds[0]
        if not is_last and (first.cut.truncated or first.damage.broke_off):
            self._hush(max(0.0, min(first.cut.claimed, self.max_seconds) - samples / SAMPLE_RATE))
        self.parts.append(SourcePart(part.name, round(start, 3), round(self._samples / SAMPLE_RATE - start, 3)))

    def _grow(self, samples: int) -> None:
        """Raise DecodeLimitError where so many samples more are too many."""
        self._samples += samples
        if self._samples > self.max_seconds * SAMPLE_RATE:
            raise media.too_long(self.max_seconds)


def _samples(heard: HeardRecording) -> int:
    """How long it is."""
    return max(lane.level.samples for sound in heard.sounds for lane in sound.lanes)


def _kind(heard: HeardRecording) -> str:
    """What parts of one recording have in common: their format, and codec, channels and sample rate of each track."""
    found = (
        f"{sound.track.codec}, {sound.track.channels} channels, {sound.track.sample_rate} Hz" for sound in heard.sounds
    )
    return f"{heard.format} ({'; '.join(found)})"


def _continued(whole: TrackSound, sound: TrackSound, start: float, samples: int, *, is_last: bool) -> TrackSound:
    """A track with the sound of the next part, `samples` long, that begins at `start`."""
    for lane, further in zip(whole.lanes, sound.lanes, strict=True):
        for block in further.blocks():
            lane.add(block)
        _silence(lane, samples - further.level.samples)
    damage = replace(
        sound.damage,
        errors=whole.damage.errors + sound.damage.errors,
        inverted=whole.damage.inverted + sound.damage.inverted,
        broke_off=is_last and sound.damage.broke_off,
    )
    claimed = sound.cut.claimed and start + sound.cut.claimed
    return replace(
        whole,
        damage=damage,
        inserted=whole.inserted + sound.inserted,
        cut=Cut(sound.cut.truncated, claimed) if is_last else WHOLE,
        damaged=(*whole.damaged, *(span.later(start) for span in sound.damaged)),
    )


def _silence(lane: Lane, samples: int) -> None:
    """Add silence to a lane, a few seconds at a time."""
    for at in range(0, samples, BLOCK):
        lane.add(np.zeros(min(BLOCK, samples - at), np.float32))
