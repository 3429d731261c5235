"""Reads stretches of a recording's decoded audio from the spool."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import numpy as np
import soundfile

from dropscribe.core.audio import SAMPLE_RATE
from dropscribe.core.error_translation import translated
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
    audio: Audio = np.zeros(round(span.duration * SAMPLE_RATE), dtype=np.float32)
    damaged = translated((soundfile.LibsndfileError, OSError), into=partial(_why_unreadable, path))
    with damaged, soundfile.SoundFile(path) as file:
        file.seek(min(round(span.start * SAMPLE_RATE), file.frames))
        for at, block in enumerate(file.blocks(BLOCK, frames=audio.size, dtype="float32", always_2d=True)):
            audio[at * BLOCK : at * BLOCK + len(block)] = block[:, channel]
    return audio


def closed(path: Path) -> SpoolError:
    """The error for a file of the spool that was written by another account."""
    return SpoolError(
        f"account {os.geteuid()} may not read {path}",
        remedy="give dropscribe the same user number on every host, or a group that may read the spool",
    )


def _why_unreadable(path: Path, error: Exception) -> DropscribeError:
    """The error for a file that is not there, may not be read, or is damaged: libsndfile does not say which."""
    try:
        path.open("rb").close()
    except (FileNotFoundError, NotADirectoryError):
        return SpoolGoneError(f"{path} is not in the spool", remedy="is DROPSCRIBE_SPOOL the same on every host?")
    except PermissionError:
        return closed(path)
    except OSError as cause:
        error = cause
    return SpoolError(f"cannot read {path}: {error}", remedy="remove it, and the job is prepared again")
