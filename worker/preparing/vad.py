"""Finds where somebody speaks, with the best detector that is installed, and smooths it to stretches of time.

`silero` (a small neural network; onnxruntime and the silero-vad wheel), `webrtc` (a Gaussian mixture;
pocketsphinx) or `energy` (numpy alone). All read 16 kHz int16 and give one flag a frame; none imports torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import av
import numpy as np
import soundfile
from av.audio.frame import AudioFrame
from numpy.typing import NDArray

from dropscribe.core.errors import SpoolError
from dropscribe.core.types import Span

Samples = NDArray[np.int16]
Flags = NDArray[np.bool_]
Times = NDArray[np.float64]

RATE = 16_000  # Hz; what all detectors are made for
READ_SECONDS = 10  # of audio in memory at once: half a megabyte, and few calls
FULL_SCALE = 32768.0
ROUNDING = 1e-9  # s; multiples of a frame are not exact in binary

SILERO_FRAME = 512  # samples, 32 ms: the only length the network takes
SILERO_CONTEXT = 64  # samples of the frame before, put in front of each
SILERO_ON, SILERO_OFF = 0.5, 0.35  # speech begins at the one and lasts down to the other; its authors' defaults

WEBRTC_FRAME = 480  # samples, 30 ms: the longest that it takes
WEBRTC_MODE = 2  # of 0 to 3; 3 loses soft speech
WEBRTC_MARGIN = 4.0  # dB above the noise floor; steady noise stays within 2 dB of it

ENERGY_FRAME = 480  # samples, 30 ms: about the length of one sound of speech
ENERGY_WINDOW = 1000  # frames, 30 s: nobody talks so long without a breath, so its quietest tenth is noise
ENERGY_MARGIN = 9.0  # dB above the noise floor
ENERGY_LEAST = -55.0  # dBFS; the spool's speech is near -25, so what is 30 dB below is none


@dataclass(frozen=True, slots=True)
class SpeechMap:
    """Stretches of speech in seconds of the recording, in order and disjoint, and which detector said so."""

    spans: tuple[Span, ...]
    detector: str


@dataclass(frozen=True, slots=True)
class Detector:
    """`flag` turns frames, int16 of shape (n, frame), into flags of shape (all n,); `frame` is in samples."""

    name: str
    frame: int
    available: Callable[[], bool]
    flag: Callable[[Iterator[Samples]], Flags]


def detect(path: Path, detector: Detector | None = None, check: Callable[[], None] = lambda: None) -> SpeechMap:
    """Where the sound file `path` (mono) holds speech; memory does not grow with its length.

    The best detector installed does it, unless one is named. `check` is called every 10 s of audio, and may raise to
    stop. Raises SpoolError when the file is unreadable.
    """
    chosen = detector or best()
    try:
        with soundfile.SoundFile(path) as sound:
            duration = sound.frames / sound.samplerate
            flags = chosen.flag(_framed(_resampled(sound, check), chosen.frame))
    except (soundfile.LibsndfileError, OSError) as error:
        raise SpoolError(f"cannot read the decoded audio {path}: {error}; check the disk of the spool") from error
    return SpeechMap(smooth(flags, chosen.frame / RATE, duration=duration), chosen.name)


def best() -> Detector:
    """The first of DETECTORS whose packages are installed."""
    return next(detector for detector in DETECTORS if detector.available())


def smooth(
    flags: Flags,
    frame: float,
    *,
    duration: float | None = None,
    gap: float = 0.3,
    burst: float = 0.1,
    pad: float = 0.2,
) -> tuple[Span, ...]:
    """Turn flags, one for each `frame` seconds, into spans within `duration` (default: that of the flags).

    Pauses shorter than `gap` are within a sentence and bridged; what is then shorter than `burst` is a click
    and dropped; the rest grows by `pad` on either side, for detectors cut soft onsets, and merges where it meets.
    """
    edges = np.multiply(np.flatnonzero(np.diff(flags, prepend=False, append=False)), frame, dtype=np.float64)
    starts, ends = _merge(edges[::2], edges[1::2], gap)
    real = ends - starts >= burst - ROUNDING
    limit = flags.size * frame if duration is None else duration
    padded = (np.clip(starts[real] - pad, 0, limit), np.clip(ends[real] + pad, 0, limit))
    starts, ends = _merge(*padded, 2 * ROUNDING)
    return tuple(Span(float(start), float(end)) for start, end in zip(starts, ends, strict=True) if start < end)


def _merge(starts: Times, ends: Times, gap: float) -> tuple[Times, Times]:
    """Bridge what is less than `gap` seconds apart."""
    if not starts.size:
        return starts, ends
    apart = starts[1:] - ends[:-1] >= gap - ROUNDING
    return starts[np.append(True, apart)], ends[np.append(apart, True)]


def _resampled(sound: soundfile.SoundFile, check: Callable[[], None]) -> Iterator[Samples]:
    """The file at 16 kHz, int16 blocks of shape (samples,)."""
    resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)
    for block in sound.blocks(READ_SECONDS * sound.samplerate, dtype="int16"):
        check()
        frame = AudioFrame.from_ndarray(block[np.newaxis], format="s16", layout="mono")
        frame.sample_rate = sound.samplerate
        yield from (_samples(resampled) for resampled in resampler.resample(frame))
    if sound.frames:  # an untouched resampler has no format to flush
        yield from (_samples(resampled) for resampled in resampler.resample(None))


def _samples(frame: AudioFrame) -> Samples:
    samples: Samples = frame.to_ndarray()[0].astype(np.int16, copy=False)
    return samples


def _framed(blocks: Iterator[Samples], size: int) -> Iterator[Samples]:
    """Cut into frames, shape (n, size); the last one is filled up with zeros."""
    rest = np.zeros(0, np.int16)
    for block in blocks:
        joined = np.concatenate((rest, block))
        whole = joined.size - joined.size % size
        rest = joined[whole:]
        yield joined[:whole].reshape(-1, size)
    if rest.size:
        yield np.pad(rest, (0, size - rest.size))[np.newaxis]


# Silero


def _silero_model() -> Path | None:
    """The network inside the silero-vad wheel, whose package itself would import torch."""
    spec = find_spec("silero_vad")
    for place in (spec.submodule_search_locations or ()) if spec else ():
        model = Path(place, "data", "silero_vad_16k_sequence.onnx")
        if model.is_file():
            return model
    return None


def _silero_available() -> bool:
    return find_spec("onnxruntime") is not None and _silero_model() is not None


def _silero(frames: Iterator[Samples]) -> Flags:
    probabilities = np.concatenate([np.zeros(0, np.float32), *_silero_probabilities(frames)])
    return hysteresis(probabilities, SILERO_ON, SILERO_OFF)


def _silero_probabilities(frames: Iterator[Samples]) -> Iterator[NDArray[np.float32]]:
    runtime = import_module("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # the other cores have work of their own
    session = runtime.InferenceSession(str(_silero_model()), options, providers=["CPUExecutionProvider"])
    hidden = cell = np.zeros((1, 1, 128), np.float32)
    context = np.zeros(SILERO_CONTEXT, np.float32)
    for block in frames:
        if not len(block):
            continue
        scaled = block.astype(np.float32) / np.float32(FULL_SCALE)
        before = np.vstack((context, scaled[:-1, -SILERO_CONTEXT:]))
        context = scaled[-1, -SILERO_CONTEXT:]
        inputs = {"input": np.hstack((before, scaled)), "h": hidden, "c": cell}
        probabilities, hidden, cell = session.run(None, inputs)
        yield probabilities


def hysteresis(values: NDArray[np.float32], on: float, off: float) -> Flags:
    """True from where a value reaches `on` to where one falls below `off`."""
    decided = np.where((values >= on) | (values < off), np.arange(values.size), -1)
    latest = np.maximum.accumulate(decided)
    flags: Flags = (latest >= 0) & (values[latest] >= on)
    return flags


# WebRTC


def _webrtc_available() -> bool:
    return find_spec("pocketsphinx") is not None


def _webrtc(frames: Iterator[Samples]) -> Flags:
    """Alone it takes steady noise and hum for speech, at any mode: what hardly rises above them is none."""
    from pocketsphinx import Vad

    vad = Vad(WEBRTC_MODE, RATE, WEBRTC_FRAME / RATE)
    voiced, levels = [np.zeros(0, np.bool_)], [np.zeros(0, np.float32)]
    for block in frames:
        voiced.append(np.fromiter((vad.is_speech(frame.tobytes()) for frame in block), np.bool_, len(block)))
        levels.append(_level(block))
    return np.concatenate(voiced) & _above_noise(np.concatenate(levels), WEBRTC_MARGIN)


# Energy


def _energy(frames: Iterator[Samples]) -> Flags:
    levels = np.concatenate([np.zeros(0, np.float32), *map(_level, frames)])
    return _above_noise(levels, ENERGY_MARGIN) & (levels > ENERGY_LEAST)


def _above_noise(levels: NDArray[np.float32], margin: float) -> Flags:
    flags: Flags = levels > _noise_floor(levels) + margin
    return flags


def _level(frames: Samples) -> NDArray[np.float32]:
    """RMS of each frame in dBFS, -120 at the least."""
    scaled = frames.astype(np.float32) / np.float32(FULL_SCALE)
    rms = np.sqrt((scaled * scaled).mean(axis=1))
    levels: NDArray[np.float32] = np.log10(np.maximum(rms, np.float32(1e-6))) * np.float32(20)
    return levels


def _noise_floor(levels: NDArray[np.float32]) -> NDArray[np.float32]:
    """The quietest tenth of every 30 s, interpolated between the middles of those windows."""
    starts = np.arange(0, levels.size, ENERGY_WINDOW)
    floors = [np.percentile(levels[start : start + ENERGY_WINDOW], 10) for start in starts]
    middles = np.minimum(starts + ENERGY_WINDOW / 2, levels.size)
    return np.interp(np.arange(levels.size), middles, floors).astype(np.float32) if floors else levels


SILERO = Detector("silero", SILERO_FRAME, _silero_available, _silero)
WEBRTC = Detector("webrtc", WEBRTC_FRAME, _webrtc_available, _webrtc)
ENERGY = Detector("energy", ENERGY_FRAME, lambda: True, _energy)
DETECTORS = (SILERO, WEBRTC, ENERGY)
