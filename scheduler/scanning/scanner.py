"""Scans a root in a separate process, which is killed and replaced if a hung share blocks it.

A call into a share whose server is gone may never return, and may be beyond any signal. So no such call is made in the
scheduler itself. A slow share is not a hung one: what counts is the time without progress.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import compress
from operator import attrgetter
from pathlib import Path
from typing import Any, TypeVar

from dropscribe.core.mounts import Mount
from dropscribe.core.settings import Settings
from dropscribe.scheduler.scanning.folder_files import SettingsFile
from dropscribe.scheduler.scanning.move import MovedFile
from dropscribe.scheduler.scanning.process import EndedError, Message, ScanProcess, SilentError, Take, Wait
from dropscribe.scheduler.scanning.roots import DENIED, Root, RootIdentity, RootOfflineError
from dropscribe.scheduler.scanning.scan import Observation, Scan
from dropscribe.scheduler.scanning.wav_header import WavHeader

log = logging.getLogger(__name__)

Found = TypeVar("Found")

SCAN_DEADLINE_SECONDS = 300.0  # without progress; an NFS server that restarts is silent for its grace period of 90 s
RESOLVE_SECONDS = 10.0  # the same at start, where a name that cannot be resolved is taken as it is written
LOOKS = 100  # files in one request to look at them


class RootHungError(RootOfflineError):
    """A watched folder gave no answer; check the share's server and the network."""


class RootStuckError(RootOfflineError):
    """The process that scans the folder hangs in the kernel; it goes once the share answers or is unmounted."""


@dataclass(frozen=True, slots=True)
class FolderState:
    """What is where a folder is to be watched: `path` absolute, and without symlinks unless `answers` is False.

    `reason` is why it cannot be listed, empty when it can.
    """

    path: Path
    answers: bool = False
    exists: bool = False
    is_folder: bool = False
    reason: str = ""

    @property
    def is_denied(self) -> bool:
        """True when this user may not read it."""
        return self.reason == DENIED


class Scanner:
    """Looks into one root, with at most one process at a time, which starts with the first request.

    Every request raises RootOfflineError with the reason when the root is out of reach: RootHungError after
    `deadline` seconds without progress, RootStuckError while the process that hung there cannot be ended. Setting
    `stop` ends a request within a second, with ScannerStoppedError.
    """

    def __init__(self, *, deadline: float = SCAN_DEADLINE_SECONDS, stop: threading.Event | None = None) -> None:
        self._deadline = deadline
        self._stop = stop or threading.Event()
        self._process: ScanProcess | None = None

    @property
    def pid(self) -> int | None:
        """The process that scans, or hangs; None when there is none."""
        return self._process.pid if self._process else None

    def place(self, path: Path) -> FolderState:
        """What is at the path; never raises RootOfflineError, and takes at most RESOLVE_SECONDS."""
        absolute = path.expanduser().absolute()
        try:
            found = self._ask(absolute, deadline=min(RESOLVE_SECONDS, self._deadline), do="place")
        except RootOfflineError as error:
            log.warning("%s", error)
            return FolderState(absolute)
        return FolderState(
            path=Path(found["path"]),
            answers=True,
            exists=found["exists"],
            is_folder=found["is_folder"],
            reason=found["reason"],
        )

    def resolve(self, path: Path) -> Path:
        """The path absolute and without symlinks; as it is written where it cannot be looked at in time."""
        return self.place(path).path

    def open(self, path: Path) -> tuple[Root, RootIdentity]:
        """See `roots.open_root` and `roots.identify`."""
        done = self._ask(path, do="open")
        told = done["root"]
        root = Root(**told | {"path": Path(told["path"]), "directory": tuple(told["directory"])})
        return root, _identity(done["identity"])

    def scan(self, path: Path, exclude: Iterable[Path] = (), *, folds_case: bool = False) -> tuple[Scan, RootIdentity]:
        """See `scan.scan`; and what lay under the path afterwards."""
        files: dict[str, Observation] = {}
        stamps: dict[str, int] = {}

        def take(piece: Message) -> None:
            """Collect the files of one piece of the scan."""
            for name, (size, mtime_ns, stamp) in piece["files"].items():
                files[name] = Observation(size, mtime_ns)
                stamps[name] = stamp

        done = self._ask(path, take, do="scan", exclude=[*map(str, exclude)], folds_case=folds_case)
        told = done["scan"]
        settings = {directory: SettingsFile(*found) for directory, found in told["settings"].items()}
        parsed = {"files": files, "stamps": stamps, "settings": settings, "complaints": frozenset(told["complaints"])}
        parsed |= {"borders": frozenset(told["borders"])}
        return Scan(**told | parsed), _identity(done["identity"])

    def look(self, path: Path, names: Sequence[str]) -> list[Observation | None]:
        """See `scan.look`; one result for each name."""
        return [Observation(*one) if one else None for one in self._probe(path, "look", names)]

    def fingerprints(self, path: Path, names: Sequence[str]) -> dict[str, str]:
        """See `scan.fingerprint_of`; one for each name."""
        return dict(zip(names, self._probe(path, "fingerprint", names), strict=True))

    def wav_headers(self, path: Path, names: Sequence[str]) -> dict[str, WavHeader | None]:
        """See `wav_header.header_of`; one for each name."""
        found = self._probe(path, "wav_header", names)
        return {name: WavHeader(*one) if one else None for name, one in zip(names, found, strict=True)}

    def written(self, path: Path, names: Sequence[str]) -> set[str]:
        """Those of the names that somebody has open for writing, as far as that can be known; see `write_lease`."""
        return set(compress(names, self._probe(path, "written", names)))

    def read(self, path: Path, file: str) -> str:
        """See `folder_files.read_ours`; a file by its path below the root."""
        text: str = self._ask(path, do="read", file=file)
        return text

    def put(self, path: Path, files: Mapping[str, str | None], mark: str) -> dict[str, str]:
        """See `folder_files.put`; files by their path below the root. Those that were refused, each with the reason."""
        refused: dict[str, str] = self._ask(path, do="put", files=dict(files), mark=mark) if files else {}
        return refused

    def listed(self, path: Path, page: str, folders: Iterable[str]) -> set[str]:
        """See `page_readers.listed_by_all`; folders by their path below the root."""
        return set(self._ask(path, do="listed", page=page, folders=[*folders]))

    def move(self, path: Path, source: str, target: str, file: MovedFile) -> str:
        """See `move.move`; why it stays, empty when it is there. Paths below the root."""
        why: str = self._ask(path, do="move", source=source, target=target, file=file)
        return why

    def close(self) -> None:
        """End the process; one that cannot be ended is left behind and goes when the share answers."""
        if self._process:
            self._process.kill()
            self._process.abandon()
            self._process = None

    def _probe(self, path: Path, probe: str, names: Sequence[str]) -> list[Any]:
        """What one of `child.PROBES` finds out of each file, a few at a time."""
        found = []
        for start in range(0, len(names), LOOKS):
            found += self._ask(path, do=probe, names=names[start : start + LOOKS])
        return found

    def _ask(self, path: Path, take: Take = lambda _: None, deadline: float | None = None, **request: object) -> Any:
        """The answer to a request, of a process that is started for it if none waits. Raises as the class says."""
        process = self._ready(path)
        try:
            return process.ask({"path": str(path), **request}, take, Wait(deadline or self._deadline, self._stop))
        except RootOfflineError:
            raise
        except SilentError as error:
            raise self._ended(process, path, _hung(process, path, error)) from error
        except EndedError as error:
            reason = "somebody else ended the process that scans it, and it is started again"
            raise self._ended(process, path, RootOfflineError(f"{path} is offline: {reason}")) from error
        except BaseException:
            self.close()  # what it would say next answers nobody
            raise

    def _ready(self, path: Path) -> ScanProcess:
        """A process that waits for requests."""
        if self._process and not self._process.is_alive:
            log.info("process %d, which scanned %s, is gone; another replaces it", self._process.pid, path)
            self.close()
        if self._process and self._process.is_stuck:
            raise _stuck(self._process, path)
        if self._process is None:
            self._process = ScanProcess(path)
        return self._process

    def _ended(self, process: ScanProcess, path: Path, reason: RootOfflineError) -> RootOfflineError:
        """Clear away a process that answers no more."""
        if not process.kill():
            return _stuck(process, path)
        self._process = None
        return reason


def _hung(process: ScanProcess, path: Path, silence: SilentError) -> RootHungError:
    """The error for a process that made no progress, with the file at which it hangs."""
    where = f" at {process.where}" if process.where else ""
    return RootHungError(f"{path} is offline: {silence}{where}", remedy="check the share's server and the network")


def _stuck(process: ScanProcess, path: Path) -> RootStuckError:
    """The error for a process that cannot be ended."""
    where = path / process.where if process.where else path
    return RootStuckError(
        f"{path} is offline: process {process.pid} hangs in {where} beyond any signal",
        remedy="bring the share's server back, or unmount it (umount -f -l)",
    )


def at_once(call: Callable[..., Found], *arguments: Sequence[Any]) -> list[Found]:
    """What the call returns for each, all made at once, as several may hang."""
    with ThreadPoolExecutor(max(1, *map(len, arguments))) as threads:
        return list(threads.map(call, *arguments))


def places(folders: Sequence[Path]) -> list[FolderState]:
    """What is at each path."""
    return at_once(_place, folders)


def real_paths(folders: Sequence[Path]) -> Iterator[Path]:
    """The paths absolute and without links, looked up when the first is asked for; see `Scanner.resolve`."""
    yield from map(attrgetter("path"), places(folders))


def _place(folder: Path) -> FolderState:
    """What is at one path, asked of a process for that alone."""
    scanner = Scanner()
    try:
        return scanner.place(folder)
    finally:
        scanner.close()


def own_folders(settings: Settings) -> frozenset[Path]:
    """The topmost directories for dropscribe's own files, in which nothing is watched."""
    ours = [settings.home, settings.spool_dir, *filter(None, [settings.results])]
    scanner = Scanner()
    try:
        return frozenset(map(scanner.resolve, ours))  # one of them may lie on a share that hangs
    finally:
        scanner.close()


def _identity(told: Message) -> RootIdentity:
    """A root's identity, from JSON."""
    mount = told["mount"]
    return RootIdentity(told["device"], Mount(**mount) if mount else None)
