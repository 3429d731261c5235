"""One pass over a root by scandir: the truth about what is there. File events only make it run sooner."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from dropscribe.core import mounts, reserved_names
from dropscribe.core.disk_errors import why
from dropscribe.core.error_translation import explained
from dropscribe.core.file_marks import fingerprint, stamp
from dropscribe.core.safe_open import descriptor_of
from dropscribe.scheduler.scanning.folder_files import SettingsFile, places, read_settings
from dropscribe.scheduler.scanning.ignore import TRANSCRIPTS, NameKind, classify, ignored_directory, is_transcript
from dropscribe.scheduler.scanning.roots import RootOfflineError
from dropscribe.scheduler.scanning.transport_stream import Heads


class Observation(NamedTuple):
    """What tells one state of a file from the next: size in bytes, time of change in nanoseconds.

    A named tuple, as a scan makes one for every recording: half the time and memory of a dataclass.
    """

    size: int
    mtime_ns: int


_HALF = 1 << 63


def observed(found: os.stat_result) -> Observation:
    """What is remembered of a file. A time beyond the year 2262 is folded into the 64 bits that a database has."""
    return Observation(found.st_size, (found.st_mtime_ns + _HALF) % (2 * _HALF) - _HALF)


# Takes the directory under way, relative to the root, the recordings found since the last call, and their stamps.
Deliver = Callable[[str, dict[str, Observation], dict[str, int]], None]

# A pass delivers after so many recordings or seconds, whichever comes first, and whenever it enters a directory. This
# shows that a slow listing still makes progress, and where a hung one hangs.
PIECE = 1000
PIECE_SECONDS = 1.0

MAX_SETTINGS = 4_000_000  # characters of all settings files of one owner in a root


@dataclass(frozen=True, slots=True)
class Scan:
    """What one pass saw.

    `files` maps paths relative to the root, undecodable bytes as surrogates, to observations. `ignored`
    counts names that are never admitted, links and special files; `not_media` all others but transcripts beside their
    recording.
    `unreadable` are the places that could not be read, directories with a slash at the end, each with the
    reason. `settings` are the settings files by directory ("" for the root, else with a slash at the
    end), `complaints` the directories with a file of ours that names mistakes in them, `borders` those that
    belong to somebody else than the directory above. `stamps` are those of the
    files, see `core.file_marks`.
    """

    files: dict[str, Observation]
    ignored: int
    not_media: int
    unreadable: dict[str, str]
    directories: int
    seconds: float
    settings: dict[str, SettingsFile] = field(default_factory=dict)
    complaints: frozenset[str] = frozenset()
    stamps: dict[str, int] = field(default_factory=dict)
    borders: frozenset[str] = frozenset()

    def is_blind_to(self, path: str) -> bool:
        """True when `path` lies where nothing could be read, so that its absence proves nothing."""
        return bool(self.unreadable) and not self.unreadable.keys().isdisjoint((path, *places(path)))


@dataclass(slots=True)
class _Neighbours:
    """The files of one directory, as far as their names explain each other: transcripts are named after recordings."""

    recordings: set[str] = field(default_factory=set)
    stems: set[str] = field(default_factory=set)
    transcripts: list[str] = field(default_factory=list)

    def add(self, recording: str) -> None:
        """Note a recording, by which transcripts beside it are known."""
        self.recordings.add(recording)
        self.stems.add(recording.rpartition(".")[0])

    def strangers(self) -> int:
        """Files with the ending of a transcript that belong to no recording here."""
        return sum(not is_transcript(name, self.recordings, self.stems) for name in self.transcripts)


@dataclass(slots=True)
class _Pass:
    """A scan under way: `waiting` are directories still to be listed, each "" or ending with a slash."""

    base: str
    excluded: frozenset[str]
    deliver: Deliver
    heads: Heads
    folds_case: bool = False
    waiting: list[str] = field(default_factory=list)
    files: dict[str, Observation] = field(default_factory=dict)
    stamps: dict[str, int] = field(default_factory=dict)
    delivered: float = 0.0
    ignored: int = 0
    not_media: int = 0
    unreadable: dict[str, str] = field(default_factory=dict)
    directories: int = 0
    settings: dict[str, SettingsFile] = field(default_factory=dict)
    settings_sizes: dict[int, int] = field(default_factory=dict)
    owners: dict[str, int] = field(default_factory=dict)
    has_owners: bool = True
    complaints: set[str] = field(default_factory=set)
    neighbours: _Neighbours = field(default_factory=_Neighbours)

    def enter(self, directory: str) -> None:
        """List a directory; what stands in it that looks like a transcript is judged at its end. Raises OSError."""
        self.hand_over(directory)
        self.neighbours = _Neighbours()
        try:
            self.meet_all(directory)
        finally:
            self.not_media += self.neighbours.strangers()

    def meet_all(self, directory: str) -> None:
        """Judge every entry of a directory, and deliver what was found from time to time. Raises OSError."""
        with os.scandir(f"{self.base}/{directory}") as entries:
            self.directories += 1
            self.owners[directory] = os.stat(f"{self.base}/{directory}").st_uid  # noqa: PTH116 (one of many)
            for entry in entries:
                if len(self.files) >= PIECE or time.monotonic() - self.delivered >= PIECE_SECONDS:
                    self.hand_over(directory)
                self.meet(entry, directory + entry.name)

    def hand_over(self, directory: str) -> None:
        """Deliver what was found since the last time."""
        self.deliver(directory, self.files, self.stamps)
        self.files, self.stamps = {}, {}
        self.delivered = time.monotonic()

    def meet(self, entry: os.DirEntry[str], path: str) -> None:
        """Judge one entry; what cannot be read is noted and keeps nobody else from being seen."""
        try:
            if entry.is_dir(follow_symlinks=False):
                self.meet_directory(entry.name, path)
            else:
                self.meet_file(entry, path)
        except OSError as error:
            self.note(path, error)

    def note(self, path: str, error: OSError) -> None:
        """Something could not be read. A file that was only removed since its directory was listed does not count."""
        if not isinstance(error, FileNotFoundError):
            self.unreadable[path] = why(error)

    def meet_directory(self, name: str, path: str) -> None:
        """Put a directory on the list of those to enter, unless it is a system's own or excluded."""
        if not ignored_directory(name) and f"{self.base}/{path}" not in self.excluded:
            self.waiting.append(path + "/")

    def meet_file(self, entry: os.DirEntry[str], path: str) -> None:
        """Judge a file by its name: a recording, a file of ours, something to ignore, or none of that."""
        judged = classify(entry.name)
        name = entry.name.lower() if self.folds_case else entry.name
        if judged is NameKind.NOT_MEDIA:
            self.meet_other(entry.name)
        elif name == reserved_names.SETTINGS:
            self.meet_settings(path.removesuffix(entry.name))
        elif name == reserved_names.OWNER:
            pass
        elif name == reserved_names.ERROR:
            self.complaints.add(path.removesuffix(entry.name))
        elif judged is NameKind.IGNORED_PATTERN or not entry.is_file(follow_symlinks=False):
            self.ignored += 1
        else:
            self.meet_media(entry, path, judged)

    def meet_other(self, name: str) -> None:
        """A file that is not a recording: a transcript perhaps, which is judged once all its neighbours are known."""
        if name.endswith(TRANSCRIPTS):
            self.neighbours.transcripts.append(name)
        else:
            self.not_media += 1

    def meet_media(self, entry: os.DirEntry[str], path: str, judged: NameKind) -> None:
        """Take a file as a recording; one whose name may mean TypeScript only if it begins as a stream does."""
        found = entry.stat(follow_symlinks=False)
        state = observed(found)
        if judged is NameKind.ADMIT_BY_HEAD and not self.heads.is_stream(entry.path, path, state):
            self.not_media += 1
        else:
            self.neighbours.add(entry.name)
            self.files[path] = state
            self.stamps[path] = stamp(found)

    def meet_settings(self, directory: str) -> None:
        """Read the settings file of a directory, as long as its owner has not too much of that in this root."""
        found = read_settings(self.base or "/", directory, has_owners=self.has_owners)
        if found is None:
            return
        size = self.settings_sizes.get(found.owner, 0) + len(found.text) + len(found.hotwords or "")
        self.settings_sizes[found.owner] = size
        full = f"the settings files of their owner have more than {MAX_SETTINGS:,} characters together here"
        self.settings[directory] = (
            SettingsFile(problem=full, author=found.author, owner=found.owner) if size > MAX_SETTINGS else found
        )

    def borders(self) -> frozenset[str]:
        """The directories that belong to somebody else than the one above them."""
        owners = self.owners
        return frozenset(one for one in owners if one and owners[one] != owners.get(_above(one), owners[one]))

    def finish(self, files: dict[str, Observation], stamps: dict[str, int], seconds: float) -> Scan:
        """The result of the pass."""
        return Scan(
            files=files,
            stamps=stamps,
            ignored=self.ignored,
            not_media=self.not_media,
            unreadable=self.unreadable,
            directories=self.directories,
            seconds=seconds,
            settings=self.settings,
            complaints=frozenset(self.complaints),
            borders=self.borders(),
        )


def scan(
    root: Path,
    *,
    exclude: Iterable[Path] = frozenset(),
    deliver: Deliver | None = None,
    heads: Heads | None = None,
    folds_case: bool = False,
) -> Scan:
    """Find all recordings below `root`, without following any symlink.

    Directories in `exclude` (absolute, without symlinks) are not entered. With `deliver`, recordings are handed over
    piece by piece and the result holds none. `heads` remembers files whose head decides from one scan to the next. With
    `folds_case`, settings files have their names in any case.
    Costs about 4 microseconds a file. Raises RootOfflineError when the
    root itself cannot be listed.
    """
    start = time.perf_counter()
    files: dict[str, Observation] = {}
    stamps: dict[str, int] = {}

    def keep(_: str, found: dict[str, Observation], their_stamps: dict[str, int]) -> None:
        """Collect what is delivered, where nobody else takes it."""
        files.update(found)
        stamps.update(their_stamps)

    base = os.path.realpath(root).rstrip("/")  # the slash comes back with each path, for "/" too
    heads = heads or Heads()
    heads.begin()
    under_way = _Pass(
        base=base,
        excluded=frozenset(map(os.fspath, exclude)),
        deliver=deliver or keep,
        heads=heads,
        folds_case=folds_case,
    )
    under_way.has_owners = mounts.has_owners(mounts.filesystem_of(base or "/"))
    with explained(OSError, RootOfflineError, f"cannot list {root}", remedy="mount it or restore its permissions"):
        under_way.enter("")
    _descend(under_way)
    under_way.hand_over("")
    return under_way.finish(files, stamps, time.perf_counter() - start)


def _above(directory: str) -> str:
    """The directory that this one lies in.

    `talks/2026/` lies in `talks/`, which lies in the root, "".

    >>> _above("talks/2026/"), _above("talks/")
    ('talks/', '')
    """
    return directory[: directory.rfind("/", 0, -1) + 1]


def _descend(under_way: _Pass) -> None:
    """A list of directories instead of recursion, so that no depth is too deep."""
    while under_way.waiting:
        directory = under_way.waiting.pop()
        try:
            under_way.enter(directory)
        except OSError as error:
            under_way.note(directory, error)


def look(root: Path, relative: str) -> Observation | None:
    """Observe one file by opening it, which makes NFS ask its server instead of an attribute cache.

    None when it is gone, out of reach or not a regular file. One that may not be opened is only looked at: its job
    is to fail with that reason, instead of never being made.
    """
    with suppress(OSError):
        seen = _open_and_look(root / relative)
        return observed(seen) if stat.S_ISREG(seen.st_mode) else None
    return None


def fingerprint_of(root: Path, relative: str) -> str:
    """See `core.file_marks`; empty when the file is gone or cannot be read."""
    with suppress(OSError), descriptor_of(root / relative) as descriptor:
        return fingerprint(descriptor, os.fstat(descriptor).st_size)
    return ""


def _open_and_look(path: Path) -> os.stat_result:
    """The state of a file, opened if that is allowed. Raises OSError."""
    with suppress(PermissionError), descriptor_of(path) as descriptor:
        return os.fstat(descriptor)
    return path.lstat()
