"""A recording as it lies in its watched folder, served in parts and so that no browser runs it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from starlette.responses import FileResponse
from starlette.types import Receive, Scope, Send

from dropscribe.core.bucket_names import is_in_bucket
from dropscribe.core.disk_errors import why
from dropscribe.core.errors import SourceMissingError
from dropscribe.core.open_folder import opened
from dropscribe.core.safe_open import regular
from dropscribe.scheduler.scanning.scan import observed

UNKNOWN = "application/octet-stream"
# The media types that players need. Whatever else is called a recording is served as bytes.
MEDIA_TYPES = {
    ".wav": "audio/wav",
    ".mp3": "audio/mpeg",
    ".flac": "audio/flac",
    ".m4a": "audio/mp4",
    ".aac": "audio/aac",
    ".ogg": "audio/ogg",
    ".opus": "audio/ogg",
    ".weba": "audio/webm",
    ".mp4": "video/mp4",
    ".m4v": "video/mp4",
    ".mov": "video/quicktime",
    ".mkv": "video/x-matroska",
    ".webm": "video/webm",
}


OnShare = Callable[..., Awaitable[Any]]  # calls something in a thread of the recording's folder


class _SharedFile:
    """As much of an open file as Starlette asks for, read in threads of its folder."""

    def __init__(self, file: BinaryIO, on_share: OnShare) -> None:
        self._file, self._on_share = file, on_share

    async def read(self, size: int) -> bytes:
        """The next bytes, at most so many."""
        found: bytes = await self._on_share(self._file.read, size)
        return found

    async def seek(self, place: int) -> None:
        """Go on from there."""
        await self._on_share(self._file.seek, place)


class RecordingResponse(FileResponse):
    """The file of an open descriptor, whole or the ranges that are asked for; closes it at the end."""

    def __init__(self, descriptor: int, path: str, on_share: OnShare) -> None:
        """`path` is the recording's."""
        self._descriptor, self._on_share = descriptor, on_share
        name = PurePosixPath(path)
        kind = MEDIA_TYPES.get(name.suffix.lower(), UNKNOWN)
        shown = name.name.encode(errors="replace").decode()  # of bytes that are not UTF-8
        place = Path("/proc/self/fd", str(descriptor))
        super().__init__(place, media_type=kind, filename=shown, stat_result=os.fstat(descriptor))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI asks for it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            os.close(self._descriptor)

    @asynccontextmanager
    async def _open_file(self) -> AsyncIterator[Any]:  # which Starlette would open and read in the threads of all else
        """The file, from its beginning."""
        with os.fdopen(os.dup(self._descriptor), "rb") as file:
            await self._on_share(file.seek, 0)
            yield _SharedFile(file, self._on_share)


def open_recording(root: str, path: str, size: int, mtime_ns: int) -> int:
    """A descriptor of the recording at `path` below `root`, reached through no link; the caller closes it.

    Raises SourceMissingError where it is gone, or is not that file any more.
    """
    place = PurePosixPath(path)
    if is_in_bucket(root):
        raise SourceMissingError("the recording lies in a bucket; those cannot be played", remedy="download it there")
    try:
        with opened(root, place.parent) as folder, regular(place.name, folder=folder) as descriptor:
            seen = observed(os.fstat(descriptor))
            if (seen.size, seen.mtime_ns) == (size, mtime_ns):
                return os.dup(descriptor)
            reason = "another file has its name"
    except OSError as error:
        reason = why(error)
    raise SourceMissingError(f"the recording cannot be read: {reason}", remedy="bring it back")
