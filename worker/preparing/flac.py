"""Writes the FLAC of the spool, and can tell exactly why where it cannot."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from dropscribe.core.audio import SAMPLE_RATE
from dropscribe.core.disk_errors import cannot_write
from dropscribe.core.error_translation import translated
from dropscribe.core.errors import SpoolError


class _Sink(io.FileIO):
    """A file that remembers why it could not be written: libsndfile only says that it could not."""

    error: OSError | None = None

    def write(self, data: bytes, /) -> int:  # type: ignore[override]  # libsndfile's binding hands over bytes alone
        """Write all of it, or less than that and keep the error."""
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[super().write(rest) :]
        except OSError as error:
            self.error = error
        return len(data) - len(rest)

    def close(self) -> None:
        """Close it; some filesystems say only now that they had no room."""
        try:
            super().close()
        except OSError as error:
            self.error = error


def begin(target: Path) -> None:
    """Make the file, empty, so that a process can then be left this file alone. Raises NoRoomError or SpoolError."""
    _sink(target).close()


def write(blocks: Iterable[NDArray[np.int16]], target: Path, channels: int = 1) -> None:
    """Write blocks of shape (samples, channels) at 24 kHz, 16 bit. Raises NoRoomError or SpoolError."""
    with _sink(target) as sink:
        try:
            with soundfile.SoundFile(sink, "w", SAMPLE_RATE, channels, subtype="PCM_16", format="FLAC") as file:
                for block in blocks:
                    file.write(block)
        except (soundfile.LibsndfileError, AssertionError) as error:  # it asserts that all was written
            raise _not_written(sink.error or error) from error
    if sink.error:  # libsndfile does not notice what fails when it closes
        raise _not_written(sink.error)


def _sink(target: Path) -> _Sink:
    """The file to write to. Raises SpoolError."""
    with translated(OSError, into=_not_written):
        return _Sink(target, "w+")


def _not_written(error: Exception) -> SpoolError:
    """The error for audio that cannot be written."""
    if isinstance(error, OSError):
        return cannot_write(_sentence(error.strerror), error)
    return SpoolError(_sentence(error))


def _sentence(reason: object) -> str:
    """What to say of audio that cannot be written.

    >>> _sentence("No space left on device")
    'its audio cannot be written (No space left on device); make room on the disk of the spool'
    """
    return f"its audio cannot be written ({reason}); make room on the disk of the spool"
