"""Brings decoded frames to 24 kHz."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.filter import Graph

from dropscribe.core.audio import SAMPLE_RATE
from dropscribe.core.errors import DecodeLimitError, NotMediaError
from dropscribe.worker.preparing.channels import Block, OffsetFilter, only_sound

MAX_CHANNELS = 64
RATES = range(1_000, 768_001)  # Hz


class Resampler:
    """Brings frames of one kind to blocks of a second at 24 kHz, float32 of shape (channels, samples), without offset.

    FFmpeg's resampler keeps the channels as they are, in whatever layout. Raises DecodeLimitError for a frame beyond
    the limits, NotMediaError for one that makes no sense.
    """

    def __init__(self, like: AudioFrame) -> None:
        self._kind = _kind(like)
        self._channels = like.layout.nb_channels
        if not 1 <= self._channels <= MAX_CHANNELS:
            raise DecodeLimitError(
                f"has {self._channels} channels, more than {MAX_CHANNELS}", remedy="export fewer of them"
            )
        if like.sample_rate not in RATES:
            raise DecodeLimitError(f"has a sample rate of {like.sample_rate} Hz", remedy="resample it to 48000 Hz")
        self._offset = OffsetFilter()
        with _translated():
            self._graph = _graph(like)

    def takes(self, frame: AudioFrame) -> bool:
        """False where a stream changed its rate, format or channels on the way: a new resampler is due."""
        return _kind(frame) == self._kind

    def resample(self, frame: AudioFrame) -> Iterator[Block]:
        """Take a frame; give the blocks that are full."""
        with _translated():
            self._graph.push(frame)
        return self._ready()

    def flush(self) -> Iterator[Block]:
        """Give what is left; no frame may follow."""
        with _translated():
            self._graph.push(None)
        yield from self._ready()
        yield self._offset.flush()

    def _ready(self) -> Iterator[Block]:
        """The blocks that the filters have ready."""
        while True:
            try:
                samples = cast(AudioFrame, self._graph.pull()).to_ndarray()
            except (av.BlockingIOError, av.EOFError):
                return
            block = samples.reshape(-1, self._channels).T.astype(np.float32, copy=False)
            yield self._offset.take(only_sound(block))


@contextmanager
def _translated() -> Iterator[None]:
    """Raise NotMediaError for sound that FFmpeg cannot mix."""
    try:
        yield
    except MemoryError:
        raise
    except av.FFmpegError as error:
        raise NotMediaError(f"its sound cannot be mixed ({error.strerror})", remedy="convert it to WAV") from error


def _kind(frame: AudioFrame) -> tuple[str, str, int]:
    """What filters have to be made for."""
    return frame.format.name, frame.layout.name, frame.sample_rate


def _graph(like: AudioFrame) -> Graph:
    """The filters that make mono sound of frames like this one."""
    graph = Graph()
    nodes = (
        graph.add_abuffer(
            sample_rate=like.sample_rate,
            format=like.format.name,
            layout=like.layout.name,
            time_base=like.time_base,
        ),
        graph.add("aformat", f"sample_fmts=flt:sample_rates={SAMPLE_RATE}"),  # PyAV reads no more than 8 planes
        graph.add("asetnsamples", f"n={SAMPLE_RATE}:p=0"),  # one array a second, not one a frame
        graph.add("abuffersink"),
    )
    graph.link_nodes(*nodes).configure()
    return graph
