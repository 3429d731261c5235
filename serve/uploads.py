"""A recording that somebody sends: streamed to a hidden name in a watched folder, and given its own when it is whole.

The folder is reached from the watched one through no link. A journal in the state directory names each upload under
way, so that the next start of the server removes what a crash left.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import secrets
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from dropscribe.core import access, placing
from dropscribe.core.disk_errors import cannot_write, why
from dropscribe.core.error_translation import translated
from dropscribe.core.errors import NameTakenError, TooLargeError, UsageError
from dropscribe.core.open_folder import at, opened
from dropscribe.core.reserved_names import NAME_BYTES
from dropscribe.scheduler.scanning.ignore import NameKind, classify, ignored_directory

log = logging.getLogger(__name__)

JOURNAL = "uploads"  # the folder of the state directory
HIDDEN = ".dropscribe-upload-"  # the beginning of a name that no scan admits
NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
RECORDINGS = frozenset({NameKind.ADMIT, NameKind.ADMIT_BY_HEAD})


@dataclass(frozen=True, slots=True)
class UploadPlace:
    """Where a recording is to go: a watched folder, the folder below it (`.` is itself), and the file's name.

    The name is empty where it is known only when the recording is whole.
    """

    root: str
    folder: str
    name: str

    @property
    def path(self) -> str:
        """Of the recording, below the watched folder."""
        return str(PurePosixPath(self.folder, self.name))


def place(root: str, folder: str, name: str) -> UploadPlace:
    """The place of a recording in `folder`, an absolute path in the watched folder. Raises UsageError."""
    below = os.path.relpath(folder, root)
    if os.path.normpath(folder) != folder or any(map(ignored_directory, PurePosixPath(below).parts[below == "." :])):
        raise UsageError(
            f"{folder} is not scanned for recordings", remedy="name a watched folder without a dot in front"
        )
    fits = 0 < len(name.encode(errors="replace")) <= NAME_BYTES and not {"/", "\0"}.intersection(name)
    if not fits or not name.isprintable() or classify(name) not in RECORDINGS:
        raise UsageError(f"{name!r} is not the name of a recording", remedy="take one such as talk.wav")
    return UploadPlace(root, below, name)


class Upload:
    """One recording on its way into the open `folder`, of at most `limit` bytes."""

    def __init__(self, folder: int, hidden: str, name: str, limit: int) -> None:
        """Makes the hidden file. Raises OSError."""
        self._folder, self._hidden, self._name, self._limit = folder, hidden, name, limit
        self._file = os.fdopen(os.open(hidden, NEW, 0o600, dir_fd=folder), "wb")

    def share(self) -> None:
        """Let those read it who may look into its folder. Raises OSError."""
        readers = access.of(self._folder).for_file(access.READ)
        access.give(self._file.fileno(), readers, doubt=lambda doubt: log.warning("%s: %s", self._name, doubt.problem))

    def write(self, data: bytes) -> None:
        """Add bytes. Raises TooLargeError, and NoRoomError or SpoolError where they cannot be written."""
        if self._file.tell() + len(data) > self._limit:
            raise TooLargeError(
                f"a recording may have {self._limit:,} bytes",
                remedy="ask the operator to raise DROPSCRIBE_SERVE_UPLOAD_GB",
            )
        with _on_disk():
            self._file.write(data)

    def begin_with(self, head: bytes) -> None:
        """Write the first bytes again, once what follows is known. Raises SpoolError."""
        with _on_disk():
            self._file.seek(0)
            self._file.write(head)
            self._file.seek(0, os.SEEK_END)

    def call(self, name: str, mtime_ns: int) -> None:
        """Have `put` give it this name and this time of change. Raises SpoolError."""
        self._name = name
        with _on_disk():
            self._file.flush()
            os.utime(self._file.fileno(), ns=(mtime_ns, mtime_ns))

    def put(self) -> os.stat_result:
        """Give the whole file its name; returns what it is. Raises NameTakenError, and SpoolError as `write` does."""
        with _on_disk():
            self._file.flush()
            os.fsync(self._file.fileno())
            found = os.fstat(self._file.fileno())
            if not found.st_size:
                raise UsageError("the recording is empty", remedy="send its bytes as the body of the request")
            try:
                placing.name(at(self._folder, self._hidden), at(self._folder, self._name), replaces=False)
            except FileExistsError as error:
                raise taken(self._name) from error
            try:
                placing.settle(at(self._folder))
            except OSError:
                self.take_back()
                raise
        return found

    def take_back(self) -> None:
        """Remove the name that `put` gave, unless it is another file's by now."""
        with suppress(OSError):
            there = os.stat(self._name, dir_fd=self._folder, follow_symlinks=False)
            if os.path.samestat(there, os.fstat(self._file.fileno())):
                os.unlink(self._name, dir_fd=self._folder)

    def close(self) -> None:
        """Write no more."""
        with suppress(OSError):
            self._file.close()


def taken(name: str) -> NameTakenError:
    """The error for a name that another file has."""
    return NameTakenError(f"there is a file {name} in that folder already", remedy="send it under another name")


def _on_disk() -> AbstractContextManager[None]:
    """Raise SpoolError where a recording cannot be written."""
    return translated(OSError, into=lambda error: cannot_write(f"the recording cannot be written: {why(error)}", error))


@contextmanager
def begun(journal: Path, where: UploadPlace, limit: int) -> Iterator[Upload]:
    """An upload to that place, with an entry in the journal as long as it is under way.

    Raises UsageError where there is no such folder, NameTakenError, SpoolError.
    """
    hidden = f"{HIDDEN}{secrets.token_hex(8)}.part"
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(opened(where.root, where.folder))
        except OSError as error:
            raise UsageError(
                f"{where.folder} cannot be reached in {where.root}: {why(error)}", remedy="name a folder that is there"
            ) from error
        if where.name and os.path.lexists(at(folder, where.name)):
            raise taken(where.name)
        with _on_disk():
            journal.mkdir(parents=True, exist_ok=True, mode=0o700)
            stack.enter_context(_noted(journal / hidden, where, folder))
            upload = stack.enter_context(closing(Upload(folder, hidden, where.name, limit)))
            upload.share()
        yield upload


@contextmanager
def _noted(entry: Path, where: UploadPlace, folder: int) -> Iterator[None]:
    """Keep the entry of an upload, locked, while it is under way; then remove what it leaves. Raises OSError."""
    with entry.open("x", encoding="ascii") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(json.dumps([where.root, where.folder]))
        file.flush()
        try:
            yield
        finally:
            with suppress(OSError):  # the next start of the server tries again
                _clear(folder, entry)


def _clear(folder: int, entry: Path) -> None:
    """Remove the hidden file of an upload, then its entry, which stays where the file does. Raises OSError."""
    with suppress(FileNotFoundError):
        os.unlink(entry.name, dir_fd=folder)
    entry.unlink(missing_ok=True)


def sweep(journal: Path) -> None:
    """Remove what a server left that was killed in the middle of uploads; what another one has under way stays."""
    for entry in [*journal.glob(f"{HIDDEN}*")]:
        with suppress(OSError, ValueError), entry.open("r+", encoding="ascii") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            root, below = json.load(file)
            with opened(root, below) as folder:
                _clear(folder, entry)
