"""Reads stretches of a recording's decoded audio from the spool."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile

from dropscribe.core.audio import SAMPLE_RATE
from dropscribe.core.errors import DropscribeError, SpoolError
from dropscribe.core.types import Span
from dropscribe.models.base import Audio

BLOCK = 10 * SAMPLE_RATE  # samples of each channel in memory at once, beside what is asked for


class SpoolGoneError(DropscribeError):
    """The decoded audio is not in the spool any more; the job has to be prepared again."""


def read(path: Path, span: Span, channel: int = 0) -> Audio:
    """The stretch `span` of a channel of the spool file, with silence where the file ends before it.

    Returns float32 of shape (samples,), 24 kHz. Raises SpoolGoneError when the file is not there, SpoolError when it
    cannot be read.
    """
    if not path.exists():
        raise SpoolGoneError(f"{path} is not in the spool", remedy="is DROPSCRIBE_SPOOL the same on every host?")
    audio: Audio = np.zeros(round(span.duration * SAMPLE_RATE), dtype=np.float32)
    try:
        with soundfile.SoundFile(path) as file:
            file.seek(min(round(span.start * SAMPLE_RATE), file.frames))
            for at, block in enumerate(file.blocks(BLOCK, frames=audio.size, dtype="float32", always_2d=True)):
                audio[at * BLOCK : at * BLOCK + len(block)] = block[:, channel]
    except (soundfile.LibsndfileError, OSError) as error:
        raise SpoolError(f"cannot read {path}: {error}", remedy="remove it, and the job is prepared again") from error
    return audio
