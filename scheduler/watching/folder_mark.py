"""The mark in a watched folder: who watches it, so that no second one transcribes the same recordings.

`RootWatch` reads and writes the file. A mark of the own store is taken over at once, that of another one when that is
gone: its process has ended, or nothing was heard of it for an hour. A mark that comes back then is believed.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Self

from dropscribe.core import reserved_names
from dropscribe.core.safe_text import printable
from dropscribe.scheduler.scanning.roots import RootOfflineError

SIGN = "dropscribe watches this folder"  # how the file begins
ADVICE = "Only one may: two would transcribe everything twice. Where none does any more, remove this file."
BEAT_SECONDS = 900.0  # between two writings; seldom, as disks sleep and synchronizers copy each
DEAD_SECONDS = 4 * BEAT_SECONDS
LATEST = 1e11  # seconds since the epoch: in the year 5138; NaN is not less either

_STARTED = 19  # the place of a process's start among the fields of /proc/PID/stat that follow its name


@dataclass(frozen=True, slots=True)
class WatchingProcess:
    """What tells a process from all others, ever: empty where the system does not say it.

    `boot` is the machine's start, `namespace` where `pid` counts, `started` in ticks since the machine's start.
    """

    machine: str = ""
    boot: str = ""
    namespace: str = ""
    pid: int = 0
    started: str = ""

    @classmethod
    def own(cls) -> Self:
        """This one."""
        pid = os.getpid()
        return cls(
            machine=_said("/etc/machine-id"),
            boot=_said("/proc/sys/kernel/random/boot_id"),
            namespace=_namespace(),
            pid=pid,
            started=_started(pid),
        )

    def is_gone(self, here: WatchingProcess) -> bool:
        """Can it be seen from `here` that it has ended?"""
        if self.boot != here.boot:
            return bool(self.machine) and self.machine == here.machine
        return bool(self.namespace) and self.namespace == here.namespace and self._has_ended()

    def _has_ended(self) -> bool:
        """Is it no more, or its number another's? Where processes are hidden (hidepid), only the first can be seen."""
        if started := _started(self.pid):
            return started != self.started
        try:
            os.kill(self.pid, 0)
        except (ProcessLookupError, OverflowError):  # or a number that no process can have
            return True
        except PermissionError:  # it is another user's
            pass
        return False


@dataclass(frozen=True, slots=True)
class Mark:
    """Who watches a folder, by which path; `since` and `seen` are seconds since the epoch by that host's clock."""

    store: str
    host: str
    folder: str
    since: float
    seen: float
    process: WatchingProcess = field(default_factory=WatchingProcess)

    @property
    def text(self) -> str:
        """As it stands in the file."""
        return f"{SIGN}. {ADVICE}\n{json.dumps(asdict(self))}\n"

    @classmethod
    def read(cls, text: str) -> Self | None:
        """From the file; None if it is not a mark."""
        with suppress(ValueError, TypeError, KeyError, OverflowError, RecursionError):
            told = json.loads(text.partition("\n")[2])
            since, seen = float(told["since"]), float(told["seen"])
            if not (abs(since) < LATEST and abs(seen) < LATEST):
                return None
            process = WatchingProcess(**told["process"] | {"pid": int(told["process"]["pid"])})
            return cls(
                store=str(told["store"]),
                host=str(told["host"]),
                folder=str(told["folder"]),
                since=since,
                seen=seen,
                process=process,
            )
        return None

    def is_of(self, other: Mark) -> bool:
        """Does it say that the same store watches the folder by the same path?"""
        return (self.store, self.folder) == (other.store, other.folder)

    def __str__(self) -> str:
        """For people, as part of a sentence."""
        since = time.strftime("%Y-%m-%d %H:%M", time.localtime(self.since))
        return printable(f"dropscribe on {self.host} watches it as {self.folder} since {since}")


class FolderMark:
    """The claim of one scheduler, which works for `store`, on one folder."""

    def __init__(
        self, store: str, clock: Callable[[], float] = time.time, process: WatchingProcess | None = None
    ) -> None:
        """`clock` gives seconds since the epoch."""
        self._store, self._clock = store, clock
        self._process = process or WatchingProcess.own()
        self._heard: dict[tuple[str, str], tuple[Mark, float]] = {}  # the others' current marks, since when
        self._taken: dict[tuple[str, str], Mark] = {}  # the others' marks that were taken over

    def due(self, folder: Path, text: str) -> str:
        """What is to be written to the mark, which says `text` now (empty: there is none); empty where nothing is.

        Raises RootOfflineError where somebody else watches the folder.
        """
        now = self._clock()
        mine = Mark(
            store=self._store,
            host=socket.gethostname(),
            folder=str(folder),
            since=now,
            seen=now,
            process=self._process,
        )
        there = Mark.read(text)
        if there is None:
            return mine.text
        if there.is_of(mine):
            is_fresh = 0 <= now - there.seen < BEAT_SECONDS and not there.process.is_gone(self._process)
            return "" if is_fresh else mine.text
        if self._is_dead(there, now):
            return mine.text
        raise self._refusal(there, folder)

    def is_mine(self, folder: Path, text: str) -> bool:
        """Does the mark say that this process watches the folder?"""
        there = Mark.read(text)
        return there is not None and (there.folder, there.process) == (str(folder), self._process)

    def _is_dead(self, there: Mark, now: float) -> bool:
        """Has the process that the mark names ended, or has nothing been heard of it for too long?"""
        who = (there.store, there.folder)
        if self._heard.get(who, (None,))[0] != there:
            self._heard[who] = (there, now)
        heard = self._heard[who][1]
        # What came back after it was taken over lives, whatever its clock says, and on whatever machine it seems to be.
        if self._taken.get(who, there) == there:
            is_dead = there.process.is_gone(self._process) or now - min(there.seen, heard) >= DEAD_SECONDS
        else:
            is_dead = now - heard >= DEAD_SECONDS
        if is_dead:
            self._taken[who] = there
        return is_dead

    def _refusal(self, there: Mark, folder: Path) -> RootOfflineError:
        """The error for a folder that somebody else watches, with what to do about it."""
        if there.store == self._store:
            return RootOfflineError(f"{there} already, which is the same folder", remedy="watch it by one path only")
        remove = f"rm '{folder / reserved_names.OWNER}'"
        remedy = f"stop one of the two, or where that one is gone: {remove} (it counts as gone after an hour)"
        return RootOfflineError(f"{there}, for another store", remedy=remedy)


def _said(path: str) -> str:
    """What the system says in a file of its own; empty where it does not."""
    with suppress(OSError, ValueError):
        return Path(path).read_text(encoding="ascii").strip()
    return ""


def _namespace() -> str:
    """Where numbers of processes count; empty where the system does not say."""
    with suppress(OSError):
        return str(Path("/proc/self/ns/pid").readlink())
    return ""


def _started(pid: int) -> str:
    """When the process started; empty where there is none."""
    return next(iter(_said(f"/proc/{pid}/stat").rpartition(")")[2].split()[_STARTED : _STARTED + 1]), "")
