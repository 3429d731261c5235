"""What an error on writing a working file means: no room, which is waited for, or a disk that cannot be written."""

from __future__ import annotations

import errno

from dropscribe.core.errors import (
    NoRoomError,
    SpoolError,
)

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


def cannot_write(message: str, error: OSError) -> SpoolError:
    """The error for working files that `error` kept from being written: NoRoomError if for want of room."""
    return NoRoomError(message) if error.errno in FULL else SpoolError(message)
