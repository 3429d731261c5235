"""Whether bytes behind the sound of a file are sound too, or something else, such as what a disk held before."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import BinaryIO

import av
import numpy as np
from numpy.typing import NDArray

from dropscribe.worker.preparing.channels import LOUDEST
from dropscribe.worker.preparing.understated import Understated

WINDOW = 1 << 16  # bytes that are decoded and judged together: 0.2 to 8 s
WINDOWS = 9  # spread over all that lies behind
STEP = 1_290_240  # bytes: whole frames of any PCM (up to 8 channels of up to 8 bytes) and any ADPCM (blocks up to 4096)
LOUD_DB = -30.0  # random bytes are at -5 dBFS, text at -16
MIN_ALIKE = 0.3  # correlation of neighbouring samples: speech is above 0.6 from 8 kHz on, random bytes are at 0
MAX_LOUDER = 10.0  # dB between two places of a recording that is noise itself
FULL_SCALE = {"u8": 128.0, "s16": 2.0**15, "s32": 2.0**31, "s64": 2.0**63}


@dataclass(frozen=True, slots=True)
class Character:
    """How loud some samples are, in dBFS, and how much alike each is to the next one, up to 1."""

    level: float
    alike: float

    @property
    def is_noise(self) -> bool:
        """True for what is loud, and of which no sample has to do with the next."""
        return self.level > LOUD_DB and self.alike < MIN_ALIKE

    def resembles(self, other: Character) -> bool:
        """True where both may be of one recording."""
        return abs(self.level - other.level) < MAX_LOUDER and abs(self.alike - other.alike) < MIN_ALIKE


NO_SOUND = Character(math.inf, -1.0)  # of what cannot be decoded


def is_sound(file: BinaryIO, found: Understated, options: Mapping[str, str]) -> bool:
    """True where most of what lies behind is not noise, or is like the noise that the header claims.

    `options` are ffmpeg's, for opening it.
    """
    before = _character(file, found, max(found.start, found.claimed - WINDOW), options)
    places = np.linspace(found.claimed, max(found.claimed, found.end - WINDOW), WINDOWS)
    behind = [_character(file, found, int(place), options) for place in places]
    return sum(not one.is_noise or one.resembles(before) for one in behind) > WINDOWS / 2


def _character(file: BinaryIO, found: Understated, at: int, options: Mapping[str, str]) -> Character:
    """Of a window that begins at a place; decoded from a place on at which a frame begins."""
    first, last = found.start + (at - found.start) // STEP * STEP, min(at + WINDOW, found.end)
    try:
        samples = _samples(io.BytesIO(found.excerpt(file, first, last)), found.format, options)
    except (av.FFmpegError, ValueError):
        return NO_SOUND
    return character(samples[samples.size * (at - first) // (last - first) :])


def _samples(data: io.BytesIO, name: str, options: Mapping[str, str]) -> NDArray[np.float64]:
    """The first channel, full scale is 1. The format is given, so that the content cannot choose another."""
    frames: list[av.AudioFrame] = []
    with av.open(data, "r", format=name, options=dict(options)) as container, suppress(av.FFmpegError):  # half a frame
        frames.extend(frame for frame in container.decode(audio=0) if frame.samples)
    first = [frame.to_ndarray().reshape(-1)[:: _every(frame)][: frame.samples] for frame in frames]
    with np.errstate(invalid="ignore"):  # bytes that are not numbers
        samples = np.concatenate([np.zeros(0), *first])
    return samples / FULL_SCALE.get(frames[0].format.packed.name if frames else "", 1.0)


def _every(frame: av.AudioFrame) -> int:
    """How far apart the samples of one channel lie."""
    return 1 if frame.format.is_planar else frame.layout.nb_channels


def character(samples: NDArray[np.float64]) -> Character:
    """Of samples of one channel, full scale is 1.

    >>> character(np.sin(np.arange(1000) / 10)).is_noise, character(np.tile([0.5, -0.5], 500)).is_noise
    (False, True)
    """
    if samples.size < 2 or not (np.abs(samples) <= LOUDEST).all():
        return NO_SOUND
    swing = samples - samples.mean()
    energy = float(swing @ swing)
    alike = float(swing[1:] @ swing[:-1]) / energy if energy else 1.0
    return Character(10 * math.log10(energy / samples.size + 1e-12), alike)
