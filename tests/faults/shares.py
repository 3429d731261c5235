"""A share to break, and a watch over it whose admissions are kept in a list."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dropscribe.core.errors import UnstorableError
from dropscribe.core.settings import Settings
from dropscribe.scheduler.scanning.scanner import Scanner
from dropscribe.scheduler.watching.file_events import FileEventWatcher
from dropscribe.scheduler.watching.folder_rules import Folders
from dropscribe.scheduler.watching.joining import WholeRecording
from dropscribe.scheduler.watching.root_watch import RootWatch
from tests.e2e.harness import PATIENCE

REPOSITORY = Path(__file__).parents[2]


def eventually(condition: Callable[[], object]) -> None:
    """Wait until it holds; only a failing test waits for long."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@dataclass
class Share:
    """A filesystem of `tests.faults.fuse` on `path`, which shows `server`."""

    server: Path
    path: Path
    process: subprocess.Popen[bytes] | None = None

    def mount(self) -> None:
        command = [sys.executable, "-m", "tests.faults.fuse", str(self.server), str(self.path)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=REPOSITORY)
        assert self._answer() == b"mounted\n"

    def tell(self, **command: object) -> int:
        """Change how it behaves, see `tests.faults.fuse`; returns how many calls hang in it."""
        assert self.process
        assert self.process.stdin
        self.process.stdin.write(json.dumps(command).encode() + b"\n")
        self.process.stdin.flush()
        return int(self._answer())

    def unmount(self) -> None:
        """Lazily, as one does with a share that hangs; a process that hung in it is let go with an error."""
        if self.process:
            subprocess.run(["umount", "-l", self.path], check=True)
            self.process.kill()
            self.process.communicate()
            self.process = None

    def put(self, name: str, content: bytes = b"sound") -> Path:
        """Write a file on the server."""
        file = self.server / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        return file

    def _answer(self) -> bytes:
        assert self.process
        assert self.process.stdout
        return self.process.stdout.readline()


@dataclass
class Watched:
    """A watch over one folder, and what it admitted, in order."""

    watch: RootWatch
    admitted: list[str] = field(default_factory=list)
    gone: set[str] = field(default_factory=set)

    def look(self, *moments: float) -> None:
        for moment in moments:
            self.watch.look(moment)

    def lose_patience_after(self, seconds: float) -> None:
        """Let its scanner be given up when it makes no progress for so long; to start takes longer."""
        self.watch.scanner._deadline = seconds

    @property
    def reason(self) -> str:
        """Why it is offline; empty while it is online."""
        return "" if self.watch.report.online else self.watch.report.reason


def watch_over(path: Path, settings: Settings, known: Mapping[str, tuple[int, int]], deadline: float) -> Watched:
    """Watch without a store; `known` is what was admitted before."""
    admitted: list[str] = []
    away: set[str] = set()

    def admit(
        root: str, whole: Sequence[WholeRecording], gone: Collection[str], folders: Folders
    ) -> dict[str, UnstorableError]:
        admitted.extend(sorted(one.path for one in whole))
        away.update(gone)
        return {}

    watch = RootWatch(
        path, settings, FileEventWatcher(), lambda root: known, admit, frozenset(), Scanner(deadline=deadline)
    )
    return Watched(watch, admitted, away)
