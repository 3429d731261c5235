"""A stretch of a recording through the speaker encoder: the voices in it, and the file in the spool that keeps them.

The file goes with the spool: embeddings are biometric data, and no job needs them once it is finished.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dropscribe.core import access
from dropscribe.core.error_translation import writing
from dropscribe.core.types import Span
from dropscribe.models.base import VoiceEncoder
from dropscribe.models.resampling import resample
from dropscribe.worker.diarizing.clustering import cluster
from dropscribe.worker.diarizing.sub_windows import sub_windows
from dropscribe.worker.merging.speaker_embeddings import SpeakerEmbeddings, unit
from dropscribe.worker.runtime import spooled_audio
from dropscribe.worker.runtime.spooled_audio import SpoolGoneError

RATE = 16_000  # Hz; what speaker encoders take
READ_SECONDS = 30.0  # of audio in memory at once: 5 MB


def embed(
    audio: Path, speech: Sequence[Span], stretch: Span, encoder: VoiceEncoder, check: Callable[[], None]
) -> SpeakerEmbeddings:
    """The voices in a stretch of the spool file `audio`, distinguished as far as the stretch goes.

    `speech` is where somebody speaks, in seconds of the recording; `check` is called for each sub-window, and may raise
    to stop. Raises SpoolGoneError and SpoolError.
    """
    times, vectors = [], []
    for part, vector in embeddings(audio, sub_windows(speech, stretch), encoder):
        check()
        times.append((part.start, part.end))
        vectors.append(vector)
    if not times:
        return SpeakerEmbeddings.joined(())
    found = np.array(vectors, np.float32)
    return SpeakerEmbeddings(np.array(times, np.float64), found, cluster(found), encoder.name)


def embeddings(audio: Path, parts: Iterable[Span], encoder: VoiceEncoder) -> Iterator[tuple[Span, NDArray[np.float32]]]:
    """Each of the sub-windows `parts` with its embedding, float32 of shape (dimensions,) and of length 1.

    Raises SpoolGoneError and SpoolError.
    """
    for group in _groups(parts):
        read = Span(group[0].start, group[-1].end)
        samples = resample(spooled_audio.read(audio, read), RATE)
        for part in group:
            first, last = (round((moment - read.start) * RATE) for moment in (part.start, part.end))
            yield part, encoder.embed(samples[first:last])


def _groups(parts: Iterable[Span]) -> Iterator[list[Span]]:
    """Sub-windows whose audio is read together.

    >>> [len(group) for group in _groups([Span(0, 1.5), Span(1, 2.5), Span(1000, 1001.5)])]
    [2, 1]
    """
    group: list[Span] = []
    for part in parts:
        if group and part.end - group[0].start > READ_SECONDS:
            yield group
            group = []
        group.append(part)
    if group:
        yield group


def save(path: Path, found: SpeakerEmbeddings) -> None:
    """Write the file, whole or not at all. Raises NoRoomError or SpoolError."""
    part = path.with_name(f"{path.name}.part")
    with writing(f"cannot write {path}", "check DROPSCRIBE_SPOOL and its disk"):
        with part.open("wb") as file:
            vectors = found.vectors.astype(np.float16)
            np.savez(file, times=found.times, vectors=vectors, clusters=found.clusters, encoder=found.encoder)
        access.follow_folder(part)
        part.replace(path)


def load(path: Path) -> SpeakerEmbeddings:
    """What `save` wrote. Raises SpoolGoneError for one that is not there or not whole, SpoolError for a closed one."""
    try:
        with np.load(path) as file:
            vectors = unit(file["vectors"].astype(np.float32))
            return SpeakerEmbeddings(file["times"], vectors, file["clusters"], str(file["encoder"]))
    except PermissionError as error:
        raise spooled_audio.closed(path) from error
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise SpoolGoneError(f"{path} is no longer in the spool: {error}") from error
