"""One watched root over time: opened when it is there, scanned, guarded against a mount that went away."""

from __future__ import annotations

import logging
import math
import random
import socket
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, starmap
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

from dropscribe.core import reserved_names
from dropscribe.core.errors import UnstorableError
from dropscribe.core.safe_text import printable
from dropscribe.core.settings import Settings
from dropscribe.scheduler.scanning import roots
from dropscribe.scheduler.scanning.process import ScannerStoppedError
from dropscribe.scheduler.scanning.roots import Root, RootIdentity, RootOfflineError
from dropscribe.scheduler.scanning.scan import Observation, Scan
from dropscribe.scheduler.scanning.scanner import RootHungError, Scanner
from dropscribe.scheduler.watching import outages
from dropscribe.scheduler.watching.file_events import FileEventWatcher
from dropscribe.scheduler.watching.folder_mark import FolderMark, Mark
from dropscribe.scheduler.watching.folder_rules import NOTICE, FolderReader, Folders
from dropscribe.scheduler.watching.joining import FolderLook, PartsWatch, WholeRecording
from dropscribe.scheduler.watching.spelling import Spellings, with_archive
from dropscribe.scheduler.watching.stability import Stability
from dropscribe.store.parts import Standing
from dropscribe.store.roots import RootReport, UnreadablePlace

log = logging.getLogger(__name__)

MAX_NOTICES = 200  # of mistakes in settings files that are written in one look
WAITS_FOR_WRITERS = "not transcribed or archived until the program that has it open for writing closes it"
TOLD_AFTER = 600.0  # seconds for which a recording stands still before its writer is reported: some pause for minutes
MAX_UNREADABLE = 1000  # places that are reported one by one
MAX_WAITING = 1000  # files that wait for further parts, likewise
VOID_SCANS = 3  # so many scans in a row may miss most files before it is believed that they are gone
REST_FACTOR = 5.0  # a scan is followed by a rest of so many times its length: at most a sixth of a core
MIN_REST = 1.0  # seconds

# Takes the complete recordings, files gone since the last scan, and what holds in their folders; returns those that the
# store cannot hold; raises when none could be admitted.
Admit = Callable[[str, Sequence[WholeRecording], Collection[str], Folders], Mapping[str, UnstorableError]]
Known = Callable[[str], Mapping[str, tuple[int, int]]]
Standings = Callable[[str, Mapping[str, Observation]], Mapping[str, Standing]]


class Written(NamedTuple):
    """A file that stands still while somebody has it open for writing, since a moment on the monotonic clock."""

    seen: Observation
    since: float


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
    standings: Standings = lambda _root, _seen: {}  # what is known of files that may be parts
    mark: FolderMark | None = None  # None: other watchers of the folder are not looked for
    strays: bool = False  # the link leads where it must not be followed
    touched: dict[str, Touched] = field(default_factory=dict)
    trouble: str = ""  # why what is to be done in the folder cannot be done, though it can be read
    held: Sequence[str] = ()  # recordings that are not archived yet, as somebody has them open for writing
    _reader: FolderReader = field(init=False)
    _told: dict[str, str | None] = field(default_factory=dict)
    _root: Root = field(init=False)
    _identity: RootIdentity | None = None
    _stability: Stability | None = None
    _spellings: Spellings | None = None
    _parts: PartsWatch = field(init=False)
    _is_marked: bool = False
    _listens: bool = False
    _seen: set[str] = field(default_factory=set)
    _gone: set[str] = field(default_factory=set)
    _refused: dict[str, str] = field(default_factory=dict)
    _stamps: dict[str, int] = field(default_factory=dict)
    _unstorable: dict[str, UnreadablePlace] = field(default_factory=dict)
    _written: dict[str, Written] = field(default_factory=dict)
    _void: int = 0
    _hangs: int = 0

    def __post_init__(self) -> None:
        """Nothing is known of the root before the first look."""
        self._reader = FolderReader(self.settings)
        self._parts = PartsWatch(self.settings.join_wait)
        self._root = Root(self.path, "", "", is_network=False, directory=(0, 0))
        self.report = outages.offline(self.path, self._root.filesystem, outages.UNSEEN)

    def rung(self) -> None:
        """The bell rang: look as soon as the rest after the last scan is over."""
        if self._listens:
            self.next_look = min(self.next_look, self.earliest)

    def look(self, now: float) -> None:
        """Scan, admit what is complete, and set `next_look` and `report`.

        Raises what `admit` and `known` raise, and ScannerStoppedError.
        """
        self.next_look = now + outages.RETRY_SECONDS
        began = time.monotonic()
        try:
            found = self._scan()
            self.folders = self._reader.read(self.place, found.settings, found.borders)
            self._notify_folders(found.complaints)
            stability = self._settled()
            complete = self._confirmed(stability, found, self._complete(stability, found, now), now)
            whole = self._whole(stability, found, complete, now)
        except RootOfflineError as error:
            self._note_offline(error, now + time.monotonic() - began)
            return
        self._hangs = 0
        self._note_gone(found)
        self._unstorable = {path: one for path, one in self._unstorable.items() if _lasts(path, found, stability)}
        for path in filter(self.folders.is_put_away, complete):
            log.warning("%s changed since it was archived: it is transcribed again", printable(str(self.place / path)))
        if whole:
            with stability.forgetting_on_error([*chain.from_iterable(map(attrgetter("paths"), whole))]):
                refused = self.admit(str(self.place), whole, self._gone, self.folders)
            self._unstorable |= {path: UnreadablePlace(path, one.problem, one.remedy) for path, one in refused.items()}
        self._note_touched(found, stability)
        if not (stability.pending or self._parts.held):
            self._gone.clear()
        self._plan(found, stability, now)

    def put(self, files: Mapping[str, str | None], mark: str) -> None:
        """Leave words in the folder, as far as it can be written to; see `folder_files.put`.

        Raises RootOfflineError, ScannerStoppedError.
        """
        refused = self.scanner.put(self.place, files, mark)
        for path in refused.keys() - self._refused.keys():
            log.warning("cannot write %s: %s; give the scheduler write permission", self.place / path, refused[path])
        self._refused = {path: why for path, why in self._refused.items() if path not in files} | refused

    def _notify_folders(self, there: Collection[str]) -> None:
        """Say beside settings files what is wrong with them; what is said already, in the folders `there`, stays.

        Of very many, some are said now and others at later looks, so that no flood of them keeps recordings waiting.
        Raises RootOfflineError, ScannerStoppedError.
        """
        stays = {folder + reserved_names.ERROR for folder in there}
        wanted = self.folders.notices(there)
        fresh = [(path, text) for path, text in wanted.items() if path not in stays or text != self._told.get(path)]
        said = dict(random.sample(fresh, min(len(fresh), MAX_NOTICES)))
        self.put(said, NOTICE)
        self._told = {path: text for path, text in (self._told | said).items() if path in wanted}

    def went(self, path: str, to: str, seen: Observation) -> None:
        """We moved the file ourselves: it is not missed, and another of its name is a new one."""
        self._seen.discard(path)
        if self._stability:
            self._stability.forget(path)
            self._stability.settle(to, seen)

    def close(self) -> None:
        """Look no more."""
        self.bell.stop()
        self._unmark()
        self.scanner.close()

    def _complete(self, stability: Stability, found: Scan, now: float) -> list[str]:
        """Files that wait for their folder's settings or a look at them are as good as hidden.

        So is what others put where recordings are archived; what was archived there is read again when it changes.
        """

        def hidden(path: str) -> bool:
            """Is the file to be taken for one that is not there, for now?"""
            strange = self.folders.is_put_away(path) and not stability.remembers(path)
            return strange or self._hides(found, path)

        files = found.files
        if self.folders.wrong or self.folders.moves or found.unreadable:
            files = {path: seen for path, seen in files.items() if not hidden(path)}
        # In whole seconds: a pass that takes less is one moment.
        return stability.observe(files, now, took=math.floor(found.seconds), hidden=hidden)

    def _hides(self, found: Scan, path: str) -> bool:
        """Does the file wait for its folder's settings, or for a look at it?"""
        return self.folders.waits(path) is not None or found.is_blind_to(path)

    def _whole(
        self, stability: Stability, found: Scan, complete: dict[str, Observation], now: float
    ) -> list[WholeRecording]:
        """The recordings of which no further part is waited for.

        Raises RootOfflineError, and what `standings` raises; what became complete comes again then.
        """
        if not (self.folders.joins_parts or self._parts.held):
            return [*starmap(WholeRecording, complete.items())]
        look = FolderLook(
            files=found.files,
            growing=frozenset(stability.pending),
            headers=partial(self.scanner.wav_headers, self.place),
            standings=partial(self.standings, str(self.place)),
            joins=self.folders.joins,
            hides=partial(self._hides, found),
        )
        with stability.forgetting_on_error(complete):
            return self._parts.whole(complete, look, now)

    def _note_gone(self, found: Scan) -> None:
        """Remember what vanished for as long as files are growing: one of them may be its new name."""
        missing = self._seen - found.files.keys()
        hidden = set(filter(found.is_blind_to, missing))
        self._gone |= missing - hidden
        self._gone -= found.files.keys()
        self._seen = hidden.union(found.files)

    def _note_touched(self, found: Scan, stability: Stability) -> None:
        """Collect files in `touched`; on network filesystems none, as servers and clients differ on stamps."""
        if self.is_network:
            self._stamps, self.touched = {}, {}
            return
        new = [path for path, stamp in found.stamps.items() if self._stamps.get(path) != stamp]
        for path in {*self.touched, *new}:
            if _lasts(path, found, stability):
                self.touched[path] = Touched(found.files[path], found.stamps[path])
            else:
                self.touched.pop(path, None)
        self._stamps = found.stamps

    def _confirmed(self, stability: Stability, found: Scan, complete: list[str], now: float) -> dict[str, Observation]:
        """Without those that a cache of the network filesystem only made look still, or that somebody writes to."""
        if not self.is_network:
            return self._closed(stability, {path: found.files[path] for path in complete}, now)
        confirmed = {}
        with stability.forgetting_on_error(complete):
            looks = self.scanner.look(self.place, complete)
        for path, seen in zip(complete, looks, strict=True):
            if seen == found.files[path]:
                confirmed[path] = seen
            else:
                stability.forget(path)
        return confirmed

    def _closed(self, stability: Stability, complete: Mapping[str, Observation], now: float) -> dict[str, Observation]:
        """Those that nobody has open for writing; the others wait once more."""
        with stability.forgetting_on_error(complete):
            written = self.scanner.written(self.place, [*complete])
        stability.wait_again({path: complete[path] for path in written}, now)
        held = {path: Written(complete[path], now) for path in written} | self._written
        self._written = {path: one for path, one in held.items() if stability.awaits(path, one.seen)}
        return {path: seen for path, seen in complete.items() if path not in written}

    def _scan(self) -> Scan:
        """One pass over the root, if it is what it was. Raises RootOfflineError, ScannerStoppedError."""
        root, identity = self._open()
        self._claim(root.path)
        self._listens = self.bell.start(root)
        folds_case = root.folds_case or self._spellings is not None  # an emptied folder tells nothing of it
        found, afterwards = self.scanner.scan(root.path, self.exclude, folds_case=folds_case)
        self._require(roots.difference(identity, afterwards))
        if folds_case:
            found = self._spelled(found)
        self._guard(found)
        return found

    def _claim(self, path: Path) -> None:
        """Mark the folder as watched, as far as it can be written to. Raises RootOfflineError where others watch it."""
        self._is_marked = False
        if not self.mark:
            return
        for _ in range(2):  # once more where another one writes it this very moment
            there = self.scanner.read(path, reserved_names.OWNER)
            text = self.mark.due(path, there)
            replaced = there if Mark.read(there) else text  # a file of others stays, and so does a mark that is new
            if not text or not self.scanner.put(path, {reserved_names.OWNER: text}, replaced):
                self._is_marked = True
                return

    def _unmark(self) -> None:
        """Leave the folder to others, unless that is another's mark by now, or the folder is out of reach."""
        if self.mark and self._is_marked:
            with suppress(RootOfflineError, ScannerStoppedError):
                there = self.scanner.read(self.place, reserved_names.OWNER)
                if self.mark.is_mine(self.place, there):
                    self.scanner.put(self.place, {reserved_names.OWNER: None}, there)

    def _spelled(self, found: Scan) -> Scan:
        """The scan with each name as it was spelled first."""
        if self._spellings is None:
            self._spellings = Spellings(self.known(str(self.place)))
            self._stability = None
        return self._spellings.of(found)

    def _guard(self, found: Scan) -> None:
        """Raise RootOfflineError while most files are missing at once, up to `VOID_SCANS` scans in a row."""
        gone = sum(not found.is_blind_to(path) for path in self._seen - found.files.keys())
        if roots.mass_disappearance(len(self._seen), len(self._seen) - gone) and self._void < VOID_SCANS:
            self._void += 1
            self._require(f"{gone} of {len(self._seen)} files are gone at once")
        self._void = 0

    def _require(self, reason: str | None) -> None:
        """Raise RootOfflineError if there is a reason."""
        if reason:
            raise RootOfflineError(f"{self.path} is offline: {reason}")

    def _open(self) -> tuple[Root, RootIdentity]:
        """What lies there now, if it is what lay there before."""
        root, identity = self.scanner.open(self.link or self.path)
        self._follow(root.path)
        if self._identity is None or self._is_news(self._identity, identity):
            log.info("watching %s (%s)", self.path, root.filesystem)
            self._identity, self._stability, self._spellings = identity, None, None
            self._parts = PartsWatch(self.settings.join_wait)
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
            log.warning("%s now leads to %s, no longer to %s", self.link, path, self.path)
            self.bell.stop()
            self.path, self._identity, self._unstorable, self.trouble = path, None, {}, ""
            self._gone.clear()

    def _taken(self, path: Path) -> str:
        """Why the folder is not to be watched, though it could be; empty when it is."""
        if beside := next((one for one in self.others() if roots.overlap(path, one)), None):
            return f"and its files are those of {beside}, which is watched too"
        if ours := roots.holder_of(path, self.exclude):
            return f"and {ours} is for dropscribe's own files"
        return ""

    def _is_news(self, then: RootIdentity, now: RootIdentity) -> bool:
        """The share came late: until now it was an empty mount point, or a local folder that it covers."""
        return roots.difference(then, now) is not None and (not self._seen or roots.came_over(then, now))

    def _settled(self) -> Stability:
        """What is known of which files stand still; after the start, what the store knows."""
        if self._stability is None:
            spelled = with_archive if self._spellings else str
            known = {spelled(path): Observation(*seen) for path, seen in self.known(str(self.place)).items()}
            self._stability = Stability(self._patience, known)
        self._stability.seconds = self._patience  # a network share may be mounted below a local root at any time
        return self._stability

    @property
    def place(self) -> Path:
        """The root without symlinks, as far as that is known: under it, its recordings are stored."""
        return self._root.path

    @property
    def is_network(self) -> bool:
        """May other hosts write to the root unseen?"""
        return self._root.is_network

    @property
    def _patience(self) -> float:
        """For how many seconds a file has to stand still here."""
        return self.settings.stable_seconds_network if self.is_network else self.settings.stable_seconds

    def _plan(self, found: Scan, stability: Stability, now: float) -> None:
        """Decide when to look again, and report what was seen."""
        interval = self.settings.scan_seconds if self._listens else self.settings.scan_seconds_network
        due = min((one for one in (stability.due(now), self._parts.due(now)) if one is not None), default=None)
        rest = max(MIN_REST, REST_FACTOR * found.seconds)
        self.earliest = now + rest
        self.next_look = now + max(rest, min(interval, interval if due is None else due))
        self.report, before = self._online(found, stability, now), self.report
        outages.log_change(before, self.report)
        self._warn_of_unreadable(before)

    def _online(self, found: Scan, stability: Stability, now: float) -> RootReport:
        """The report on a root that was scanned."""
        unseen = [*starmap(UnreadablePlace, found.unreadable.items()), *self._unstorable.values()]
        return RootReport(
            path=str(self.path),
            host=socket.gethostname(),
            filesystem=self._root.filesystem,
            online=True,
            reason="; ".join(filter(None, (self.trouble, self._told_of_writers(now)))),
            files=len(found.files),
            pending=len(stability.pending) + len(self._parts.waiting),
            not_media=found.not_media,
            ignored=found.ignored,
            scan_seconds=found.seconds,
            waiting=self.folders.waiting(path for path, seen in found.files.items() if not stability.knows(path, seen)),
            unreadable=unseen[:MAX_UNREADABLE],
            unreadable_count=len(unseen),
            parts=self._parts.waiting[:MAX_WAITING],
        )

    def _told_of_writers(self, now: float) -> str:
        """Which recordings wait for somebody to close them, once they have stood still for long."""
        waiting = sorted(path for path, one in self._written.items() if now - one.since >= TOLD_AFTER)
        first = next(chain(self.held, waiting), None)
        if first is None:
            return ""
        others = len(self.held) + len(waiting) - 1
        besides = f" (and {others} other{'s' if others > 1 else ''})" if others else ""
        return f"{first}{besides}: {WAITS_FOR_WRITERS}"

    def _warn_of_unreadable(self, before: RootReport) -> None:
        """Log places that cannot be read, where that is new: recordings in them would vanish silently."""
        if self.report.unseen and self.report.unseen != before.unseen:
            log.warning(
                "%s: recordings in these places are not seen: %s; %s",
                self.path,
                printable(self.report.unseen),
                self.report.unseen_remedy,
            )

    def _note_offline(self, error: RootOfflineError, now: float) -> None:
        """Note why the root is out of reach, and when to look for it again."""
        self._hangs = self._hangs + 1 if isinstance(error, RootHungError) else 0
        self.next_look = now + outages.retry_seconds(self._hangs)
        self.bell.stop()  # it may be another directory when it comes back, and nothing there rings meanwhile
        self._listens = False
        before, self.report = self.report, outages.offline(self.path, self._root.filesystem, str(error))
        outages.log_change(before, self.report)


def _lasts(path: str, found: Scan, stability: Stability) -> bool:
    """True for a file that is still there as it was admitted, or refused."""
    return path in found.files and stability.knows(path, found.files[path])
