"""Finds where somebody speaks: by Silero's network, behind a high-pass, and smooths it to stretches of time.

The weights lie in the faster-whisper wheel, which is not imported. The other detector, `energy`, needs numpy alone and
takes any sound for speech: it is for tests, whose recordings are buzzing tones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
import soundfile
from av.audio.frame import AudioFrame
from av.filter import Graph
from numpy.typing import NDArray

from dropscribe.core.error_translation import explained
from dropscribe.core.errors import ModelUnavailableError, SpoolError
from dropscribe.core.installing import how_to_install
from dropscribe.core.types import Span

Samples = NDArray[np.float32]  # full scale is 1
Flags = NDArray[np.bool_]
Times = NDArray[np.float64]

RATE = 16_000  # Hz; what Silero is made for
READ_SECONDS = 10  # of audio in memory at once: half a megabyte, and few calls
FAINT = np.float32(1e-9)  # of full scale: far below any noise, and far above subnormal numbers
HIGH_PASS = 100  # Hz; speech is above, a DC offset and the hum of mains (50 or 60 Hz) are below
ROUNDING = 1e-9  # s; multiples of a frame are not exact in binary

SILERO_WEIGHTS = "silero_vad_v6.onnx"
SILERO_FRAME = 512  # samples, 32 ms: the only length the network takes
SILERO_CONTEXT = 64  # samples of the frame before, put in front of each
SILERO_STATE = (1, 1, 128)  # shape of each of its two memories
SILERO_ON, SILERO_OFF = 0.5, 0.35  # speech begins at the one and lasts down to the other; its authors' defaults

ENERGY_FRAME = 480  # samples, 30 ms: about the length of one sound of speech
ENERGY_WINDOW = 1000  # frames, 30 s: nobody talks so long without a breath, so its quietest tenth is noise
ENERGY_MARGIN = 9.0  # dB above the noise floor
MIN_ENERGY = -55.0  # dBFS; the spool's speech is near -25, so what is 30 dB below is not speech


@dataclass(frozen=True, slots=True)
class SpeechMap:
    """Stretches of speech in seconds of the recording, in order and disjoint, and which detector said so."""

    spans: tuple[Span, ...]
    detector: str


@dataclass(frozen=True, slots=True)
class Detector:
    """`flag` turns frames, float32 of shape (n, frame), into flags of shape (all n,); `frame` is in samples."""

    name: str
    frame: int
    flag: Callable[[Iterator[Samples]], Flags]


@cache
def load(name: str) -> Detector:
    """The detector `silero` or `energy`, once for the whole process; several threads may use it.

    Raises ModelUnavailableError if the weights of Silero or the package that runs them are not installed.
    """
    return ENERGY if name == ENERGY.name else Detector("silero", SILERO_FRAME, _Silero(_silero_session()))


def detect(path: Path, detector: Detector, check: Callable[[], None] = lambda: None, channel: int = 0) -> SpeechMap:
    """Where a channel of the sound file `path` holds speech; memory does not grow with its length.

    `check` is called every 10 s of audio, and may raise to stop. Raises SpoolError when the file is unreadable.
    """
    broken, remedy = f"cannot read the decoded audio {path}", "check the disk of the spool"
    with (
        explained((soundfile.LibsndfileError, OSError), SpoolError, broken, remedy=remedy),
        soundfile.SoundFile(path) as sound,
    ):
        duration = sound.frames / sound.samplerate
        flags = detector.flag(_framed(_filtered(sound, check, channel), detector.frame))
    return SpeechMap(smooth(flags, detector.frame / RATE, duration=duration), detector.name)


def smooth(
    flags: Flags,
    frame: float,
    *,
    duration: float | None = None,
    gap: float = 0.3,
    burst: float = 0.1,
    pad: float = 0.2,
) -> tuple[Span, ...]:
    """Turn flags of shape (frames,), one for each `frame` seconds, into spans within `duration` (default: all flags').

    Pauses shorter than `gap` are within a sentence and bridged; what is then shorter than `burst` is a click
    and dropped; the rest grows by `pad` on either side, for detectors cut soft onsets, and merges where it meets.

    >>> flags = np.repeat([False, True, False, True, False, True, False], [10, 20, 2, 10, 30, 1, 10])
    >>> [(round(span.start, 2), round(span.end, 2)) for span in smooth(flags, 0.1, burst=0.15)]
    [(0.8, 4.4)]
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


def _filtered(sound: soundfile.SoundFile, check: Callable[[], None], channel: int) -> Iterator[Samples]:
    """The channel behind the high-pass and at 16 kHz, blocks of shape (samples,)."""
    graph = _graph(sound.samplerate)
    for block in sound.blocks(READ_SECONDS * sound.samplerate, dtype="float32", always_2d=True):
        check()
        block[::2] += FAINT  # or filters compute with subnormal numbers in digital silence, which is slow
        frame = AudioFrame.from_ndarray(
            np.ascontiguousarray(block[np.newaxis, :, channel]), format="flt", layout="mono"
        )
        frame.sample_rate = sound.samplerate
        graph.push(frame)
        yield from _ready(graph)
    if sound.frames:  # a graph that was given nothing has nothing to flush
        graph.push(None)
        yield from _ready(graph)


def _graph(rate: int) -> Graph:
    """Two high-passes in a row fall by 24 dB an octave; one would leave a quarter of a loud hum."""
    graph = Graph()
    nodes = (
        graph.add_abuffer(sample_rate=rate, format="flt", layout="mono"),
        graph.add("highpass", f"f={HIGH_PASS}"),
        graph.add("highpass", f"f={HIGH_PASS}"),
        graph.add("aformat", f"sample_fmts=flt:sample_rates={RATE}:channel_layouts=mono"),
        graph.add("abuffersink"),
    )
    graph.link_nodes(*nodes).configure()
    return graph


def _ready(graph: Graph) -> Iterator[Samples]:
    """What the filters have ready."""
    while True:
        try:
            block = cast(AudioFrame, graph.pull())
        except (av.BlockingIOError, av.EOFError):
            return
        yield block.to_ndarray()[0].astype(np.float32, copy=False)


def _framed(blocks: Iterator[Samples], size: int) -> Iterator[Samples]:
    """Cut into frames, shape (n, size); the last one is filled up with zeros."""
    rest = np.zeros(0, np.float32)
    for block in blocks:
        joined = np.concatenate((rest, block))
        whole = joined.size - joined.size % size
        rest = joined[whole:]
        yield joined[:whole].reshape(-1, size)
    if rest.size:
        yield np.pad(rest, (0, size - rest.size))[np.newaxis]


# Silero


class _Silero:
    """The network in blocks of frames, its memories carried from each to the next."""

    def __init__(self, session: Any) -> None:
        self._session = session

    def __call__(self, frames: Iterator[Samples]) -> Flags:
        """Which frames are speech, by Silero's probabilities."""
        probabilities = np.concatenate([np.zeros(0, np.float32), *self._probabilities(frames)])
        return hysteresis(probabilities, SILERO_ON, SILERO_OFF)

    def _probabilities(self, frames: Iterator[Samples]) -> Iterator[Samples]:
        """For each frame how likely it is speech; the state goes from one block to the next."""
        hidden = cell = np.zeros(SILERO_STATE, np.float32)
        context = np.zeros(SILERO_CONTEXT, np.float32)
        for block in frames:
            if not len(block):
                continue
            before = np.vstack((context, block[:-1, -SILERO_CONTEXT:]))
            context = block[-1, -SILERO_CONTEXT:]
            inputs = {"input": np.hstack((before, block)), "h": hidden, "c": cell}
            probabilities, hidden, cell = self._session.run(None, inputs)
            yield probabilities


def _silero_session() -> Any:
    """Silero's detector. Raises ModelUnavailableError where a package is missing."""
    with explained(
        (ImportError, FileNotFoundError),
        ModelUnavailableError,
        "the speech detector of CPU workers is not installed",
        remedy=f"install it: {how_to_install('cpu')}",
    ):
        runtime = import_module("onnxruntime")
        weights = _silero_weights()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # the other cores have work of their own
    return runtime.InferenceSession(str(weights), options, providers=["CPUExecutionProvider"])


def _silero_weights() -> Path:
    """The file of its weights, which comes with faster-whisper. Raises FileNotFoundError."""
    spec = find_spec("faster_whisper")
    for place in (spec.submodule_search_locations or ()) if spec else ():
        weights = Path(place, "assets", SILERO_WEIGHTS)
        if weights.is_file():
            return weights
    raise FileNotFoundError(f"faster-whisper with {SILERO_WEIGHTS} is missing")


def hysteresis(values: NDArray[np.float32], on: float, off: float) -> Flags:
    """True from where a value reaches `on` to where one falls below `off`; values and flags have the shape (frames,).

    >>> hysteresis(np.array([0.2, 0.6, 0.4, 0.3, 0.4], np.float32), on=0.5, off=0.35).tolist()
    [False, True, True, False, False]
    """
    decided = np.where((values >= on) | (values < off), np.arange(values.size), -1)
    latest = np.maximum.accumulate(decided)
    flags: Flags = (latest >= 0) & (values[latest] >= on)
    return flags


# Energy


def _energy(frames: Iterator[Samples]) -> Flags:
    """Frames louder than the noise around them."""
    levels = np.concatenate([np.zeros(0, np.float32), *map(_level, frames)])
    flags: Flags = (levels > _noise_floor(levels) + ENERGY_MARGIN) & (levels > MIN_ENERGY)
    return flags


def _level(frames: Samples) -> NDArray[np.float32]:
    """RMS of each frame in dBFS, -120 at the least."""
    rms = np.sqrt((frames * frames).mean(axis=1))
    levels: NDArray[np.float32] = np.log10(np.maximum(rms, np.float32(1e-6))) * np.float32(20)
    return levels


def _noise_floor(levels: NDArray[np.float32]) -> NDArray[np.float32]:
    """The quietest tenth of every 30 s, interpolated between the middles of those windows."""
    starts = np.arange(0, levels.size, ENERGY_WINDOW)
    floors = [np.percentile(levels[start : start + ENERGY_WINDOW], 10) for start in starts]
    middles = np.minimum(starts + ENERGY_WINDOW / 2, levels.size)
    return np.interp(np.arange(levels.size), middles, floors).astype(np.float32) if floors else levels


ENERGY = Detector("energy", ENERGY_FRAME, _energy)
