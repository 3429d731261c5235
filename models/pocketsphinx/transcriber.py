"""CMU PocketSphinx resident in memory: audio in, English words out.

Runs on one core without downloads, at 2 to 7 times real time. It tells no speakers apart and takes no
context. A decoder belongs to one thread at a time and holds the interpreter's lock while it works; so
everything is fed to it in small pieces, between which leases are renewed and cancellation is noticed.

The settings that matter, measured on read speech (jfk, Austen, Harvard sentences: 166 words):

- Means of the cepstra come from the speech itself, by a first quick look. With the means of the model, that
  adapt while decoding, twice as many words are wrong.
- No second search over the flat lexicon: it made one word more in fifty wrong, and held the lock for up to
  3 s at the end of an utterance.
- Everything else as the model's authors set it: no change of beams or weights helped beyond chance.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pocketsphinx
from numpy.typing import NDArray

from dropscribe.core.errors import ModelFatalError, ModelUnavailableError
from dropscribe.core.settings import Settings
from dropscribe.core.types import EngineInfo, FinishReason, RawTranscript, Segment
from dropscribe.models.base import SAMPLE_RATE, Audio, TranscribeRequest
from dropscribe.models.pocketsphinx.spec import SPEC
from dropscribe.models.resampling import resample

MODEL_RATE = 16_000  # Hz; what the acoustic model was trained on
BLOCK = 1_600  # samples, 0.1 s: decoded in 15 to 50 ms, so other threads hardly wait
FRAME = 480  # samples, 30 ms: the longest frame that WebRTC's speech detector takes
DECODER_FRAMES_A_SECOND = 100
PAUSE = 0.5  # s without speech that end an utterance; longer than the stop of any consonant
PADDING = 0.2  # s kept around speech: soft first and last sounds escape the detector
MAX_UTTERANCE = 15.0  # s; the best path through one is found in a single call, within about 0.5 s
MAX_SEGMENT = 15.0  # s; as much as a subtitle's reader can follow
SEGMENT_PAUSE = 0.6  # s between two words that belong to different segments
GROUP_SECONDS = 30.0  # of speech whose cepstra are averaged: enough for firm means, short enough for a voice
MAX_CHUNK = 300.0  # s; as much is read again when a worker is lost, in some minutes

Pcm = NDArray[np.int16]


@dataclass(frozen=True, slots=True)
class PocketsphinxWord:
    """A recognized word; times in seconds from the chunk's start, `posterior` from 0 to 1."""

    text: str
    start: float
    end: float
    posterior: float


class PocketSphinx:
    """A resident decoder. One thread at a time (`slots` is 1)."""

    info = EngineInfo(
        engine="pocketsphinx",
        model="en-us",
        precision="fp32",
        longest_chunk=MAX_CHUNK,
        notice=SPEC.notice,
    )

    def __init__(self) -> None:
        self._decoder = _load_decoder(cmn="live", fwdflat=False)
        # Searching for one keyphrase is the least work that makes a decoder compute features.
        self._meter = _load_decoder(cmn="batch", lm=None, keyphrase="forward")

    @classmethod
    def load(cls, settings: Settings) -> PocketSphinx:
        """Load the model and decode half a second of silence with it.

        Raises ModelUnavailableError when the model cannot be loaded or another precision is asked for.
        """
        if settings.precision not in {"auto", "fp32"}:
            raise ModelUnavailableError(
                f"pocketsphinx has no {settings.precision} weights; set precision to auto or fp32"
            )
        engine = cls()
        with _decoding(engine._decoder):
            engine._decoder.process_raw(bytes(MODEL_RATE))  # two bytes a sample
        return engine

    def transcribe(self, audio: Audio, request: TranscribeRequest) -> RawTranscript:
        """Recognize a chunk. Raises ModelFatalError when the decoder fails: its state is then unknown."""
        started = time.monotonic()
        self._forget()
        pcm = resample(audio, MODEL_RATE, "s16")
        spans = utterances(detect_speech(pcm), loudness(pcm))
        found = time.monotonic()
        try:
            words = list(self._decode(pcm, spans, request))
        except RuntimeError as error:
            raise ModelFatalError(f"pocketsphinx failed: {error}; the worker has to start anew") from error
        duration = audio.size / SAMPLE_RATE
        cancelled = request.cancel.is_set()
        if not cancelled:
            request.progress(duration)
        return RawTranscript(
            segments=segments(words, duration),
            ended=FinishReason.CANCELLED if cancelled else FinishReason.COMPLETE,
            output_tokens=len(words),
            timings={"speech": found - started, "decode": time.monotonic() - found},
        )

    def close(self) -> None:
        """Nothing to do: the memory goes with the object."""

    def _forget(self) -> None:
        """Drop what was learnt of the last chunk's noise, so that a chunk reads the same whenever it is read."""
        for decoder in (self._decoder, self._meter):
            decoder.reinit_feat()

    def _decode(self, pcm: Pcm, spans: Sequence[slice], request: TranscribeRequest) -> Iterator[PocketsphinxWord]:
        for group in groups(spans):
            means = self._cepstral_means(pcm, group)
            for span in group:
                if request.cancel.is_set():
                    return
                self._decoder.set_cmn(means)
                self._feed(pcm, span, request)
                yield from _words(self._decoder, span.start / MODEL_RATE)

    def _feed(self, pcm: Pcm, span: slice, request: TranscribeRequest) -> None:
        with _decoding(self._decoder):
            for start in range(span.start, span.stop, BLOCK):
                if request.cancel.is_set():
                    return
                end = min(start + BLOCK, span.stop)
                self._decoder.process_raw(pcm[start:end].tobytes())
                request.progress(end / MODEL_RATE)

    def _cepstral_means(self, pcm: Pcm, group: Sequence[slice]) -> str:
        """The 13 means over all utterances of a group, as `set_cmn` takes them; about 40 times real time."""
        means, weights = [], []
        for span in group:
            with _decoding(self._meter):
                self._meter.process_raw(pcm[span].tobytes(), full_utt=True)
            means.append([float(value) for value in self._meter.get_cmn(False).split(",")])
            weights.append(span.stop - span.start)
        return ",".join(f"{mean:.4f}" for mean in np.average(means, axis=0, weights=weights))


def _load_decoder(**options: Any) -> pocketsphinx.Decoder:
    try:
        return pocketsphinx.Decoder(logfn=os.devnull, loglevel="FATAL", **options)
    except (RuntimeError, ValueError) as error:
        raise ModelUnavailableError(
            f"pocketsphinx cannot load its model: {error}; reinstall it with pip install 'dropscribe[local]'"
        ) from error


@contextmanager
def _decoding(decoder: pocketsphinx.Decoder) -> Iterator[None]:
    decoder.start_utt()
    try:
        yield
    finally:
        decoder.end_utt()


def _words(decoder: pocketsphinx.Decoder, offset: float) -> Iterator[PocketsphinxWord]:
    """The words of the utterance just ended, without silences and noises; `offset` in seconds."""
    if decoder.hyp() is None:
        return
    for entry in decoder.seg():
        if entry.word[0] in "<[+":  # <s>, <sil>, [NOISE], ++UH++
            continue
        yield PocketsphinxWord(
            text=re.sub(r"\(\d+\)$", "", entry.word),  # read(2) is another way to pronounce it
            start=offset + entry.start_frame / DECODER_FRAMES_A_SECOND,
            end=offset + (entry.end_frame + 1) / DECODER_FRAMES_A_SECOND,
            posterior=entry.prob,
        )


def detect_speech(pcm: Pcm) -> list[bool]:
    """One flag for each whole frame of 30 ms: may somebody be speaking? By WebRTC's detector."""
    detector = pocketsphinx.Vad(sample_rate=MODEL_RATE, frame_length=FRAME / MODEL_RATE)
    whole = pcm[: len(pcm) // FRAME * FRAME].reshape(-1, FRAME)
    return [bool(detector.is_speech(frame.tobytes())) for frame in whole]


def loudness(pcm: Pcm) -> list[float]:
    """Mean square of each whole frame of 30 ms."""
    whole = pcm[: len(pcm) // FRAME * FRAME].reshape(-1, FRAME)
    return [float(value) for value in np.square(whole, dtype=np.float64).mean(axis=1)]


def utterances(speech: Sequence[bool], loud: Sequence[float]) -> list[slice]:
    """The stretches to decode, in samples, in order: split at pauses, and where too long, where it is quietest."""
    pause = round(PAUSE * MODEL_RATE / FRAME)
    spoken = [index for index, flag in enumerate(speech) if flag]
    if not spoken:
        return []
    breaks = [(a, b) for a, b in pairwise(spoken) if b - a > pause]
    starts = [spoken[0], *(b for _, b in breaks)]
    ends = [*(a for a, _ in breaks), spoken[-1]]
    padding = round(PADDING * MODEL_RATE / FRAME)
    return [
        slice(first * FRAME, last * FRAME)
        for start, end in zip(starts, ends, strict=True)
        for first, last in _split(max(0, start - padding), min(len(speech), end + 1 + padding), loud)
    ]


def _split(first: int, last: int, loud: Sequence[float]) -> Iterator[tuple[int, int]]:
    longest = round(MAX_UTTERANCE * MODEL_RATE / FRAME)
    while last - first > longest:
        earliest = first + longest // 2
        cut = min(range(earliest, first + longest), key=loud.__getitem__)
        yield first, cut
        first = cut
    yield first, last


def groups(spans: Sequence[slice]) -> Iterator[list[slice]]:
    """Neighbouring utterances, until each group holds `GROUP_SECONDS` of audio."""
    group: list[slice] = []
    for span in spans:
        group.append(span)
        if sum(member.stop - member.start for member in group) >= GROUP_SECONDS * MODEL_RATE:
            yield group
            group = []
    if group:
        yield group


def segments(words: Sequence[PocketsphinxWord], duration: float) -> tuple[Segment, ...]:
    """Words as segments within [0, duration], broken at pauses and where one would be too long."""
    lines: list[list[PocketsphinxWord]] = []
    for word in words:
        if not lines or _breaks(lines[-1], word):
            lines.append([])
        lines[-1].append(word)
    return tuple(_segment(line, duration) for line in lines)


def _breaks(line: Sequence[PocketsphinxWord], word: PocketsphinxWord) -> bool:
    return word.start - line[-1].end > SEGMENT_PAUSE or word.end - line[0].start > MAX_SEGMENT


def _segment(line: Sequence[PocketsphinxWord], duration: float) -> Segment:
    confidence = sum(word.posterior for word in line) / len(line)
    return Segment(
        start=min(round(line[0].start, 2), duration),
        end=min(round(line[-1].end, 2), duration),
        text=" ".join(word.text for word in line),
        confidence=round(min(1.0, max(0.0, confidence)), 3),
    )
