"""One watched root over time: opened when it is there, scanned, guarded against a mount that went away."""

from __future__ import annotations

import logging
import math
import socket
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from itertools import starmap
from pathlib import Path
from typing import NamedTuple

from dropscribe.core.errors import UnstorableError
from dropscribe.core.safe_text import printable
from dropscribe.core.settings import Settings
from dropscribe.scheduler.scanning import roots
from dropscribe.scheduler.scanning.roots import Root, RootIdentity, RootOfflineError
from dropscribe.scheduler.scanning.scan import Observation, Scan
from dropscribe.scheduler.scanning.scanner import RootHungError, Scanner
from dropscribe.scheduler.watching.file_events import FileEventWatcher
from dropscribe.scheduler.watching.folder_rules import NOTICE, Folders, read_folders
from dropscribe.scheduler.watching.stability import Stability
from dropscribe.store.roots import RootReport, UnreadablePlace

log = logging.getLogger(__name__)

UNSEEN = "not looked at yet"
RETRY_SECONDS = 10.0  # how soon a root that is offline is looked for again
MAX_UNREADABLE = 1000  # places that are reported one by one
MAX_DOUBLINGS = 5  # of that, while looks hang one after the other: 320 s at most
VOID_SCANS = 3  # so many scans in a row may miss most files before it is believed that they are gone
REST_FACTOR = 5.0  # a scan is followed by a rest of so many times its length: at most a sixth of a core
MIN_REST = 1.0  # seconds

# Takes the complete files, those gone since the last scan, and what holds in their folders; returns the files that the
# store cannot hold; raises when none could be admitted.
Admit = Callable[[str, Mapping[str, Observation], Collection[str], Folders], Mapping[str, UnstorableError]]
Known = Callable[[str], Mapping[str, tuple[int, int]]]


class Touched(NamedTuple):
    """A file to which something was done since it was complete, or since watching began."""

    seen: Observation
    stamp: int


@dataclass
class RootWatch:
    """The state of one root; `next_look` is on the monotonic clock, in seconds."""

    path: Path
    settings: Settings
    bell: FileEventWatcher
    known: Known
    admit: Admit
    exclude: frozenset[Path]
    scanner: Scanner = field(default_factory=Scanner)
    next_look: float = 0.0
    earliest: float = 0.0
    report: RootReport = field(init=False)
    folders: Folders = field(default_factory=Folders)
    link: Path | None = None  # the path as it was named, which may be a link that is switched
    others: Callable[[], Collection[Path]] = tuple  # the folders that are watched besides, now
    strays: bool = False  # the link leads where it must not be followed
    touched: dict[str, Touched] = field(default_factory=dict)
    trouble: str = ""  # why what is to be done in the folder cannot be done, though it can be read
    _root: Root = field(init=False)
    _identity: RootIdentity | None = None
    _stability: Stability | None = None
    _listens: bool = False
    _seen: set[str] = field(default_factory=set)
    _gone: set[str] = field(default_factory=set)
    _refused: dict[str, str] = field(default_factory=dict)
    _stamps: dict[str, int] = field(default_factory=dict)
    _unstorable: dict[str, UnreadablePlace] = field(default_factory=dict)
    _void: int = 0
    _hangs: int = 0

    def __post_init__(self) -> None:
        """Nothing is known of the root before the first look."""
        self._root = Root(self.path, "", "", is_network=False, directory=(0, 0))
        self.report = self._offline(UNSEEN)

    def rung(self) -> None:
        """The bell rang: look as soon as the rest after the last scan is over."""
        if self._listens:
            self.next_look = min(self.next_look, self.earliest)

    def look(self, now: float) -> None:
        """Scan, admit what is complete, and set `next_look` and `report`.

        Raises what `admit` and `known` raise, and ScannerStoppedError.
        """
        self.next_look = now + RETRY_SECONDS
        began = time.monotonic()
        try:
            found = self._scan()
            self.folders = read_folders(self.settings, self.place, found.settings)
            self.put(self.folders.notices(found.complaints), NOTICE)
            stability = self._settled()
            complete = self._confirmed(stability, found, self._complete(stability, found, now))
        except RootOfflineError as error:
            self._note_offline(error, now + time.monotonic() - began)
            return
        self._hangs = 0
        self._note_gone(found)
        self._unstorable = {path: one for path, one in self._unstorable.items() if _lasts(path, found, stability)}
        if complete:
            with stability.forgetting_on_error(complete):
                refused = self.admit(str(self.place), complete, self._gone, self.folders)
            self._unstorable |= {path: _unstorable(path, error) for path, error in refused.items()}
        self._note_touched(found, stability)
        if not stability.pending:
            self._gone.clear()
        self._plan(found, stability, now)

    def put(self, files: Mapping[str, str | None], mark: str) -> None:
        """Leave words in the folder, as far as it can be written to; see `folder_files.put`.

        Raises RootOfflineError, ScannerStoppedError.
        """
        refused = self.scanner.put(self.place, files, mark)
        for path in refused.keys() - self._refused.keys():
            log.warning("cannot write %s: %s; let the scheduler write it", self.place / path, refused[path])
        self._refused = {path: why for path, why in self._refused.items() if path not in files} | refused

    def forget(self, path: str) -> None:
        """We took the file away ourselves: it is not missed, and another of its name is a new one."""
        self._seen.discard(path)
        if self._stability:
            self._stability.forget(path)

    def close(self) -> None:
        """Look no more."""
        self.bell.stop()
        self.scanner.close()

    def _complete(self, stability: Stability, found: Scan, now: float) -> list[str]:
        """Files that are put away, or wait for their folder's settings or a look at them, are as good as hidden."""

        def hidden(path: str) -> bool:
            held = self.folders.waits(path) is not None or self.folders.is_put_away(path)
            return held or found.is_blind_to(path)

        files = found.files
        if self.folders.wrong or self.folders.moves or found.unreadable:
            files = {path: seen for path, seen in files.items() if not hidden(path)}
        # In whole seconds: a pass that takes less is one moment.
        return stability.observe(files, now, took=math.floor(found.seconds), hidden=hidden)

    def _note_gone(self, found: Scan) -> None:
        """Remember what vanished for as long as files are growing: one of them may be its new name."""
        missing = self._seen - found.files.keys()
        hidden = set(filter(found.is_blind_to, missing))
        self._gone |= missing - hidden
        self._gone -= found.files.keys()
        self._seen = hidden.union(found.files)

    def _note_touched(self, found: Scan, stability: Stability) -> None:
        """Collect files in `touched`; on network filesystems none, as servers and clients differ on stamps."""
        if self._is_network:
            self._stamps, self.touched = {}, {}
            return
        new = [path for path, stamp in found.stamps.items() if self._stamps.get(path) != stamp]
        for path in {*self.touched, *new}:
            if _lasts(path, found, stability) and not self.folders.is_put_away(path):
                self.touched[path] = Touched(found.files[path], found.stamps[path])
            else:
                self.touched.pop(path, None)
        self._stamps = found.stamps

    def _confirmed(self, stability: Stability, found: Scan, complete: list[str]) -> dict[str, Observation]:
        """Without those that a cache of the network filesystem only made look still."""
        if not self._is_network:
            return {path: found.files[path] for path in complete}
        confirmed = {}
        with stability.forgetting_on_error(complete):
            looks = self.scanner.look(self.place, complete)
        for path, seen in zip(complete, looks, strict=True):
            if seen == found.files[path]:
                confirmed[path] = seen
            else:
                stability.forget(path)
        return confirmed

    def _scan(self) -> Scan:
        root, identity = self._open()
        self._listens = self.bell.start(root)
        found, afterwards = self.scanner.scan(root.path, self.exclude)
        self._require(roots.difference(identity, afterwards))
        self._guard(found)
        return found

    def _guard(self, found: Scan) -> None:
        gone = sum(not found.is_blind_to(path) for path in self._seen - found.files.keys())
        if roots.mass_disappearance(len(self._seen), len(self._seen) - gone) and self._void < VOID_SCANS:
            self._void += 1
            self._require(f"{gone} of {len(self._seen)} files are gone at once")
        self._void = 0

    def _require(self, reason: str | None) -> None:
        if reason:
            raise RootOfflineError(f"{self.path} is offline: {reason}")

    def _open(self) -> tuple[Root, RootIdentity]:
        """What lies there now, if it is what lay there before."""
        root, identity = self.scanner.open(self.link or self.path)
        self._follow(root.path)
        if self._identity is None or self._is_news(self._identity, identity):
            log.info("watching %s (%s)", self.path, root.filesystem)
            self._identity, self._stability = identity, None
            self._seen.clear()
            self._stamps, self.touched = {}, {}
        self._require(roots.difference(self._identity, identity))
        self._root = root
        return root, self._identity

    def _follow(self, path: Path) -> None:
        """The link that was named leads elsewhere by now: that is another folder, of which nothing is known yet."""
        if not self.link or (path == self.path and not self.strays):
            return
        taken = self._taken(path)
        self.strays = bool(taken)
        if taken:
            raise RootOfflineError(f"{self.link} leads to {path} now, {taken}", remedy="let it lead elsewhere")
        if path != self.path:
            log.warning("%s leads to %s now, and to %s no more", self.link, path, self.path)
            self.bell.stop()
            self.path, self._identity, self._unstorable, self.trouble = path, None, {}, ""
            self._gone.clear()

    def _taken(self, path: Path) -> str:
        """Why the folder is not to be watched, though it could be; empty when it is."""
        if beside := next((one for one in self.others() if roots.overlap(path, one)), None):
            return f"and its files are those of {beside}, which is watched too"
        if ours := next(filter(path.is_relative_to, self.exclude), None):
            return f"and {ours} is for dropscribe's own files"
        return ""

    def _is_news(self, then: RootIdentity, now: RootIdentity) -> bool:
        """The share came late: until now it was an empty mount point, or a local folder that it covers."""
        return roots.difference(then, now) is not None and (not self._seen or roots.came_over(then, now))

    def _settled(self) -> Stability:
        if self._stability is None:
            known = {path: Observation(*seen) for path, seen in self.known(str(self.place)).items()}
            self._stability = Stability(self._patience, known)
        self._stability.seconds = self._patience  # a network share may be mounted below a local root at any time
        return self._stability

    @property
    def place(self) -> Path:
        """The root without symlinks, as far as that is known: under it, its recordings are stored."""
        return self._root.path

    @property
    def _is_network(self) -> bool:
        return self._root.is_network

    @property
    def _patience(self) -> float:
        return self.settings.stable_seconds_network if self._is_network else self.settings.stable_seconds

    def _plan(self, found: Scan, stability: Stability, now: float) -> None:
        interval = self.settings.scan_seconds if self._listens else self.settings.scan_seconds_network
        due = stability.due(now)
        rest = max(MIN_REST, REST_FACTOR * found.seconds)
        self.earliest = now + rest
        self.next_look = now + max(rest, min(interval, interval if due is None else due))
        if not self.report.online and self.report.reason != UNSEEN:
            log.info("%s is online again", self.path)
        self.report, before = self._online(found, stability), self.report
        self._warn_of_unreadable(before)

    def _online(self, found: Scan, stability: Stability) -> RootReport:
        unseen = [*starmap(UnreadablePlace, found.unreadable.items()), *self._unstorable.values()]
        return RootReport(
            path=str(self.path),
            host=socket.gethostname(),
            filesystem=self._root.filesystem,
            online=True,
            reason=self.trouble,
            files=len(found.files),
            pending=len(stability.pending),
            not_media=found.not_media,
            ignored=found.ignored,
            scan_seconds=found.seconds,
            waiting=self.folders.waiting(path for path, seen in found.files.items() if not stability.knows(path, seen)),
            unreadable=unseen[:MAX_UNREADABLE],
            unreadable_count=len(unseen),
        )

    def _warn_of_unreadable(self, before: RootReport) -> None:
        """Log places that cannot be read, where that is new: recordings in them would vanish silently."""
        if self.report.unseen and self.report.unseen != before.unseen:
            log.warning(
                "%s: what is in these places goes unseen: %s; %s",
                self.path,
                printable(self.report.unseen),
                self.report.unseen_remedy,
            )

    def _note_offline(self, error: RootOfflineError, now: float) -> None:
        reason = str(error)
        if self.report.online or self.report.reason != reason:
            log.warning("%s", reason)
        self._hangs = self._hangs + 1 if isinstance(error, RootHungError) else 0
        self.next_look = now + RETRY_SECONDS * 2 ** min(max(0, self._hangs - 1), MAX_DOUBLINGS)
        self.bell.stop()  # it may be another directory when it comes back, and nothing there rings meanwhile
        self._listens = False
        self.report = self._offline(reason)

    def _offline(self, reason: str) -> RootReport:
        filesystem = self._root.filesystem
        return RootReport(str(self.path), socket.gethostname(), filesystem, online=False, reason=reason)


def _lasts(path: str, found: Scan, stability: Stability) -> bool:
    """True for a file that is still there as it was admitted, or refused."""
    return path in found.files and stability.knows(path, found.files[path])


def _unstorable(path: str, error: UnstorableError) -> UnreadablePlace:
    return UnreadablePlace(path, error.problem, error.remedy)
