"""Keeps child processes running: starts them, restarts those that die, stops them in order."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from dropscribe.core import child_process
from dropscribe.core.errors import DropscribeError

log = logging.getLogger(__name__)

MIN_PAUSE = 0.5  # seconds before a child is started again; doubles each time it dies before it was at work
MAX_PAUSE = 30.0
YOUNG_DEATHS = 5  # so many in a row before it was at work, however long each took, and it will not start
NOTHING: Mapping[str, str] = MappingProxyType({})
ERROR = "error: "  # begins the line that `dropscribe.admin.local.child` ends with
GRAVE = ("error", "critical")  # levels of what a process may end by
LOG_BYTES = 10_000_000  # a log file longer than this is set aside at the next start

# Called at a death; answers whether the child had been able to work.
Died = Callable[[str], bool]


class GaveUpError(DropscribeError):
    """A child ends as soon as it starts; it is not started again."""

    def __init__(self, child: Child, message: str, *, remedy: str) -> None:
        """`child` is that child."""
        super().__init__(message, remedy=remedy)
        self.child = child


@dataclass
class Child:
    """One supervised process. `name` is that of its log file and, for workers, its name in the store.

    A worker `may_end`: if it ends with status 0, it was asked to, and is not started again. `environment` is what it
    has of its own. The output since its last start begins at byte `log_start` of its log.
    """

    name: str
    arguments: Sequence[str]
    may_end: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    log_start: int = 0
    young_deaths: int = 0
    start_at: float = 0.0
    ended: bool = False

    @property
    def status(self) -> int | None:
        """The exit status of its process; None while that runs, or where there is none."""
        return self.process.poll() if self.process else None

    @property
    def is_due(self) -> bool:
        """Is it to be started?"""
        return self.process is None and not self.ended and time.monotonic() >= self.start_at

    def signal(self, number: int) -> None:
        """Send a signal to its process, if there is one."""
        if self.process:
            self.process.send_signal(number)

    def wait(self, seconds: float | None = None) -> bool:
        """Wait for its process to end; False when that took too long."""
        with suppress(subprocess.TimeoutExpired):
            if self.process:
                self.process.wait(seconds)
            self.process = None
        return self.process is None


@dataclass
class Supervisor:
    """Runs children with a common environment; `died` hears of each death, before the restart."""

    logs: Path
    environment: Mapping[str, str]
    died: Died
    children: list[Child] = field(default_factory=list)

    def start(
        self, name: str, *arguments: str, may_end: bool = False, environment: Mapping[str, str] = NOTHING
    ) -> Child:
        """Add a child and start it; `arguments` are those of `dropscribe.admin.local.child`."""
        child = Child(name, arguments, may_end, environment)
        self.children.append(child)
        self._spawn(child)
        return child

    def tend(self) -> None:
        """Restart what died. Raises GaveUpError for a child that cannot live."""
        for child in self.children:
            if (status := child.status) is not None:
                self._bury(child, status)
            if child.is_due:
                self._spawn(child)

    def stop(self, children: Sequence[Child], grace: float) -> None:
        """SIGTERM, and SIGKILL for those that are still there after `grace` seconds."""
        for child in children:
            child.signal(signal.SIGTERM)
        deadline = time.monotonic() + grace
        for child in children:
            if not child.wait(max(0.0, deadline - time.monotonic())):
                log.warning("%s does not stop; killing it", child.name)
                child.signal(signal.SIGKILL)
                child.wait()
            self.children.remove(child)

    def crash_reason(self, child: Child) -> str:
        """Why the child ended, by its log since the last start: the last error, else the last line."""
        with self._log(child).open("rb") as file:
            file.seek(child.log_start)
            lines = file.read().decode(errors="replace").splitlines()
        return next(filter(None, map(_error_in, reversed(lines))), lines[-1] if lines else "")

    def _log(self, child: Child) -> Path:
        """Where the output of a process goes."""
        return self.logs / f"{child.name}.log"

    def _spawn(self, child: Child) -> None:
        """Start the process, with its output appended to its log; a log that became long begins again."""
        path = self._log(child)
        if path.exists() and path.stat().st_size > LOG_BYTES:
            path.replace(path.with_suffix(".log.1"))
        with path.open("ab") as output:
            child.log_start = output.tell()
            environment = {**os.environ, **self.environment, **child.environment}
            child.process = child_process.start(
                "admin.local.child", *child.arguments, env=environment, stdout=output, stderr=output
            )

    def _bury(self, child: Child, status: int) -> None:
        """A process has ended: as it was asked to, or it is started again later."""
        child.process = None
        child.ended = child.may_end and status == 0
        if child.ended:
            back = f"`dropscribe worker --role {child.arguments[0]}` or the next `dropscribe up` starts it again"
            log.warning("%s ended as requested; %s", child.name, back)
            return
        self._plan_restart(child, status, died_young=not self.died(child.name))

    def _plan_restart(self, child: Child, status: int, *, died_young: bool) -> None:
        """Start it again after a pause that doubles. Raises GaveUpError for one that dies young again and again."""
        child.young_deaths = child.young_deaths + 1 if died_young else 0
        if child.young_deaths >= YOUNG_DEATHS:
            child.ended = True
            raise GaveUpError(
                child,
                f"{child.name} ends as soon as it starts (status {status}): {self.crash_reason(child)}",
                remedy=f"its log is {self._log(child)}",
            )
        pause = min(MAX_PAUSE, MIN_PAUSE * 2**child.young_deaths)
        child.start_at = time.monotonic() + pause
        reason = self.crash_reason(child) if status > 0 else ""  # a child that a signal ended could not say why
        said = reason and f". It said: {reason}"
        log.warning("%s ended with status %s; starting it again in %.1f s%s", child.name, status, pause, said)


def _error_in(line: str) -> str:
    """The message of a line that logs an error; empty for any other line.

    >>> _error_in('{"level": "error", "message": "no room"}'), _error_in("starting")
    ('no room', '')
    """
    if line.startswith(ERROR):
        return line.removeprefix(ERROR)
    with suppress(ValueError, KeyError, TypeError):  # text for people, or what another program wrote
        entry = json.loads(line)
        return str(entry["message"]) if entry["level"] in GRAVE else ""
    return ""
