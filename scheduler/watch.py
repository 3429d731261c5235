"""One watched root over time: opened when it is there, scanned, guarded against a mount that went away."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from core.errors import UsageError
from core.settings import Settings
from scheduler import roots
from scheduler.bell import Bell
from scheduler.roots import Root, RootIdentity, RootOfflineError
from scheduler.scan import Observation, Scan, look, scan
from scheduler.stability import Stability
from store.fleet import RootReport

log = logging.getLogger(__name__)

RETRY_SECONDS = 10.0  # how soon a root that is offline is looked for again
VOID_SCANS = 3  # so many scans in a row may miss most files before it is believed that they are gone
REST_FACTOR = 5.0  # a scan is followed by a rest of so many times its length: at most a sixth of a core
SHORTEST_REST = 1.0  # seconds

# Takes the complete files and those gone since the last scan; raises when they could not be admitted.
Admit = Callable[[str, Mapping[str, Observation], Collection[str]], None]
Known = Callable[[str], Mapping[str, tuple[int, int]]]


@dataclass
class RootWatch:
    """The state of one root; `next_look` is on the monotonic clock, in seconds."""

    path: Path
    settings: Settings
    bell: Bell
    known: Known
    admit: Admit
    exclude: frozenset[Path]
    next_look: float = 0.0
    earliest: float = 0.0
    report: RootReport = field(init=False)
    _root: Root | None = None
    _identity: RootIdentity | None = None
    _stability: Stability | None = None
    _listens: bool = False
    _seen: frozenset[str] = frozenset()
    _gone: set[str] = field(default_factory=set)
    _void: int = 0

    def __post_init__(self) -> None:
        """Nothing is known of the root before the first look."""
        self.report = self._offline("not looked at yet")

    def rung(self) -> None:
        """The bell rang: look as soon as the rest after the last scan is over."""
        if self._listens:
            self.next_look = min(self.next_look, self.earliest)

    def look(self, now: float) -> None:
        """Scan, admit what is complete, and set `next_look` and `report`. Raises what `admit` raises."""
        self.next_look = now + RETRY_SECONDS
        try:
            found = self._scan()
        except (RootOfflineError, UsageError) as error:
            self._note_offline(str(error))
            return
        stability = self._settled()
        complete = self._confirmed(stability, found, stability.observe(found.files, now))
        self._note_gone(found)
        if complete:
            self._admit_or_forget(complete, self._gone, stability)
        if not stability.pending:
            self._gone.clear()
        self._plan(found, stability, now)

    def _note_gone(self, found: Scan) -> None:
        """Remember what vanished for as long as files are growing: one of them may be its new name."""
        self._gone |= {path for path in self._seen - found.files.keys() if not found.is_blind_to(path)}
        self._gone -= found.files.keys()
        self._seen = frozenset(found.files)

    def _confirmed(self, stability: Stability, found: Scan, complete: list[str]) -> dict[str, Observation]:
        """Without those that a cache of the network filesystem only made look still."""
        confirmed = {}
        for path in complete:
            if not self._is_network or look(self.path, path) == found.files[path]:
                confirmed[path] = found.files[path]
            else:
                stability.forget(path)
        return confirmed

    def _admit_or_forget(
        self, complete: Mapping[str, Observation], gone: Collection[str], stability: Stability
    ) -> None:
        try:
            self.admit(str(self.path), complete, gone)
        except BaseException:
            for path in complete:  # they come again with the next scans
                stability.forget(path)
            raise

    def _scan(self) -> Scan:
        root, identity = self._open()
        self._listens = self.bell.start(root)
        if roots.check(root.path, identity) and not self._seen:
            # Nothing was ever seen there: it was a mount point before its share came.
            root, identity = self._open(anew=True)
        self._require(roots.check(root.path, identity))
        found = scan(root.path, exclude=self.exclude)
        self._require(roots.check(root.path, identity))
        kept = sum(path in found.files for path in self._seen)
        if roots.mass_disappearance(len(self._seen), kept) and self._void < VOID_SCANS:
            self._void += 1
            self._require(f"{len(self._seen) - kept} of {len(self._seen)} files are gone at once")
        self._void = 0
        return found

    def _require(self, reason: str | None) -> None:
        if reason:
            raise RootOfflineError(f"{self.path} is offline: {reason}")

    def _open(self, *, anew: bool = False) -> tuple[Root, RootIdentity]:
        if anew or self._root is None or self._identity is None:
            self._root = roots.open_root(self.path)
            self._identity = roots.identify(self._root.path)
            log.info("watching %s (%s)", self.path, self._root.filesystem)
        return self._root, self._identity

    def _settled(self) -> Stability:
        if self._stability is None:
            known = {path: Observation(*seen) for path, seen in self.known(str(self.path)).items()}
            self._stability = Stability(self._patience, known)
        return self._stability

    @property
    def _is_network(self) -> bool:
        return self._root is not None and self._root.is_network

    @property
    def _patience(self) -> float:
        return self.settings.stable_seconds_network if self._is_network else self.settings.stable_seconds

    def _plan(self, found: Scan, stability: Stability, now: float) -> None:
        interval = self.settings.scan_seconds if self._listens else self.settings.scan_seconds_network
        due = stability.due(now)
        rest = max(SHORTEST_REST, REST_FACTOR * found.seconds)
        self.earliest = now + rest
        self.next_look = now + max(rest, min(interval, interval if due is None else due))
        if not self.report.online and self.report.scan_seconds:
            log.info("%s is online again", self.path)
        self.report = RootReport(
            path=str(self.path),
            host=socket.gethostname(),
            filesystem=self._root.filesystem if self._root else "",
            online=True,
            reason="; ".join(found.unreadable[:3]),
            files=len(found.files),
            pending=len(stability.pending),
            not_media=found.not_media,
            ignored=found.ignored,
            scan_seconds=found.seconds,
        )

    def _note_offline(self, reason: str) -> None:
        if self.report.online or self.report.reason != reason:
            log.warning("%s", reason)
        self.report = self._offline(reason)

    def _offline(self, reason: str) -> RootReport:
        kind = self._root.filesystem if self._root else ""
        return RootReport(str(self.path), socket.gethostname(), kind, online=False, reason=reason)
