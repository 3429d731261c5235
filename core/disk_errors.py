"""What an error of a disk means: why in words, and whether there is no room, which is waited for."""

from __future__ import annotations

import errno

from dropscribe.core.errors import (
    NoRoomError,
    SpoolError,
)

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


def why(error: Exception) -> str:
    """What went wrong, in the system's words and without the path; the whole message where it has none."""
    if isinstance(error, UnicodeDecodeError):  # whose message tells bytes and positions
        return "it is not in UTF-8"
    return getattr(error, "strerror", None) or str(error)


def cannot_write(message: str, error: OSError) -> SpoolError:
    """The error for working files that `error` kept from being written: NoRoomError if for want of room."""
    return NoRoomError(message) if error.errno in FULL else SpoolError(message)
