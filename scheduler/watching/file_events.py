"""The doorbell of a local root: inotify says that a scan is worth while now. The scan alone says what is there.

Missing a ring costs time, never a file, as every root is scanned regularly all the same.
"""

from __future__ import annotations

import logging
import os
import queue
import warnings
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from watchdog.events import (
    DirDeletedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver

from dropscribe.core import reserved_names
from dropscribe.scheduler.scanning.ignore import NameKind, classify, ignored_directory
from dropscribe.scheduler.scanning.roots import Root

logger = logging.getLogger(__name__)

HEARD_KINDS = frozenset({NameKind.ADMIT, NameKind.ADMIT_BY_HEAD})
SETTINGS_FILES = frozenset({reserved_names.SETTINGS, reserved_names.HOTWORDS})

# Neither "opened" nor "closed without writing", as our own reading would ring. No "modified" either: creation
# rings first and closing last, and in between a long copy would cost thousands of events.
_HEARD: list[type[FileSystemEvent]] = [FileCreatedEvent, FileMovedEvent, FileClosedEvent, DirDeletedEvent]


@dataclass(frozen=True, slots=True)
class _Ear:
    """One root's running observer and the directory that it listens to (device, inode)."""

    observer: BaseObserver
    directory: tuple[int, int]

    def hears(self, directory: tuple[int, int]) -> bool:
        """False when the root vanished, or is another directory by now."""
        return all(emitter.is_alive() for emitter in self.observer.emitters) and directory == self.directory


class FileEventWatcher:
    """Rings when a recording, or a folder's settings, may have come to one of its roots.

    All methods but `ring` belong to one thread. Directories in `exclude` (absolute, without symlinks) are not
    listened to.
    """

    def __init__(self, *, exclude: Iterable[Path] = frozenset()) -> None:
        self._exclude = frozenset(map(os.fspath, exclude))
        self._ears: dict[Path, _Ear] = {}
        self._reasons: dict[Path, str] = {}
        # Its put, unlike the set of an Event, may interrupt its own get: signal handlers ring as well.
        self._rings: queue.SimpleQueue[None] = queue.SimpleQueue()

    def start(self, root: Root) -> bool:
        """Listen to `root`; False when that is impossible, so that it has to be polled.

        `root` must have been opened just now, as a share that hangs would hang the caller too. Costs nothing when
        it listens already: call it before every scan, and it repairs itself after the root was away. The reason
        for a False is logged when it is new.
        """
        ear = self._ears.get(root.path)
        if ear and not root.is_network and ear.hears(root.directory):
            return True
        self._close(root.path)
        reason = self._listen(root)
        if reason and self._reasons.get(root.path) != reason:
            logger.warning("%s is scanned at intervals only: %s", root.path, reason)
        self._reasons[root.path] = reason
        return not reason

    def wait(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds; True when the bell rang since the last wait. Clears it."""
        with suppress(queue.Empty):
            self._rings.get(timeout=max(0.0, timeout))
            while not self._rings.empty():
                self._rings.get_nowait()
            return True
        return False

    def ring(self) -> None:
        """End the current or next wait. For any thread, and for signal handlers."""
        if self._rings.empty():
            self._rings.put(None)

    def stop(self) -> None:
        """Listen to nothing any more and end all threads."""
        for path in list(self._ears):
            self._close(path)

    def _listen(self, root: Root) -> str:
        """Why it cannot be listened to, or empty."""
        if root.is_network:
            return f"inotify does not see what other hosts write ({root.filesystem})"
        try:
            os.scandir(root.path).close()  # watchdog passes over a lack of permission
            self._ears[root.path] = _open_ear(root, _Striker(root.path, self._exclude, self.ring))
        except OSError as error:
            return f"inotify: {error.strerror}"
        return ""

    def _close(self, path: Path) -> None:
        """Listen to a root no more."""
        if ear := self._ears.pop(path, None):
            _end(ear.observer)


class _Striker(FileSystemEventHandler):
    """Rings for the names of recordings and of folders' settings, and for the end of the root itself."""

    def __init__(self, root: Path, exclude: frozenset[str], ring: Callable[[], None]) -> None:
        self._root = os.fspath(root)
        self._exclude = tuple(f"{directory}/" for directory in exclude)
        self._ring = ring

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Ring for what may be a recording or settings, and when the root itself goes. watchdog calls it."""
        path = os.fsdecode(event.dest_path or event.src_path)
        if path == self._root or (not event.is_directory and self._matters(path)):
            self._ring()

    def _matters(self, path: str) -> bool:
        """The same judgement as the scan's, so that nothing rings for what a scan passes over."""
        *parents, name = os.path.relpath(path, self._root).split("/")
        is_heard = classify(name) in HEARD_KINDS or name in SETTINGS_FILES
        return is_heard and not path.startswith(self._exclude) and not any(map(ignored_directory, parents))


def _open_ear(root: Root, handler: FileSystemEventHandler) -> _Ear:
    """Raises OSError when the path is away or the kernel has no watches left for all its directories."""
    # watchdog warns when it meets a new directory twice, as after `mkdir -p`, or two that it may not read. Neither does
    # harm, but each would be printed, and would end its thread where warnings are errors.
    warnings.filterwarnings("ignore", "Callback with id", RuntimeWarning, "watchdog")
    observer = Observer()
    observer.start()  # before the watch is added, as only a started observer can be stopped
    try:
        observer.schedule(handler, str(root.path), recursive=True, event_filter=_HEARD)
        # It passes over a subdirectory for which no watch is left; then there is none left for us either.
        with Observer() as another:
            another.schedule(FileSystemEventHandler(), str(root.path), event_filter=_HEARD)
    except OSError:
        _end(observer)
        raise
    return _Ear(observer, root.directory)


def _end(observer: BaseObserver) -> None:
    """End a thread of watchdog."""
    observer.stop()
    observer.join()
