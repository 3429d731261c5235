"""`dropscribe health`: are this host's processes at work? For the checks of containers and monitors: quick, 0 or 1."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import repeat
from operator import attrgetter

from dropscribe.admin.check import checks
from dropscribe.admin.check.checks import Finding, Severity
from dropscribe.admin.context import Context
from dropscribe.admin.terminal import render
from dropscribe.core.errors import DropscribeError
from dropscribe.store.fleet import DRAINING, Worker, list_workers
from dropscribe.store.roots import WatchedRoot, list_roots

COMMANDS = {
    "scheduler": "dropscribe watch FOLDER",
    "cpu": "dropscribe worker --role cpu",
    "model": "dropscribe worker --role model",
}

# What a process that is alive says of itself, as a finding; any other state is a failure.
STATES = {
    "ready": (Severity.OK, "is ready", ""),
    "loading": (Severity.FAIL, "is loading", "loading a model takes minutes"),
    DRAINING: (Severity.OK, "finishes its work and ends", ""),  # it must not be killed for that
}


def health(context: Context, *, role: str | None, as_json: bool) -> int:
    """Print what was looked at; returns 1 if anything fails, else 0. Without a role, all processes here count."""
    findings = list(examine(context, role))
    context.answer(lambda: checks.documents(findings), lambda: _show(context, findings), as_json=as_json)
    return int(checks.worst(findings) is Severity.FAIL)


def _show(context: Context, findings: Sequence[Finding]) -> None:
    """A line for each finding."""
    for finding in findings:
        what = "; ".join(filter(None, (finding.finding, finding.advice)))
        context.say(f"{finding.level.value:4}  {finding.name}: {what}")


def examine(context: Context, role: str | None) -> Iterator[Finding]:
    """All findings. Raises SettingsError."""
    here = socket.gethostname()
    try:
        workers = list_workers(context.database)
        roots = [root for root in list_roots(context.database) if root.host == here]
    except DropscribeError as error:
        yield Finding("database", Severity.FAIL, error.problem, error.remedy)
    else:
        yield Finding("database", Severity.OK, "answers")
        mine = own(workers, here, role)
        yield from processes(mine, role, context.settings.silence_seconds)
        if "scheduler" in map(attrgetter("role"), mine):
            yield from folders(roots)
    yield checks.judged("redis", Severity.FAIL, lambda: _redis(context))


def own(
    workers: Sequence[Worker], host: str, role: str | None, is_running: Callable[[int], bool] | None = None
) -> list[Worker]:
    """The host's processes that exist; not the entries that those left which were killed.

    A process may have the number of a killed one, as in a container that was started again: the newest entry counts.
    """
    runs = is_running or _is_running
    by_age = sorted(workers, key=attrgetter("started_at"))
    newest = {worker.pid: worker for worker in by_age if worker.host == host}
    return [worker for worker in newest.values() if role in (None, worker.role) and runs(worker.pid)]


def _is_running(pid: int) -> bool:
    """Is there a process of this number, whosever it is?"""
    with suppress(ProcessLookupError):
        with suppress(PermissionError):  # somebody else's, so it is there
            os.kill(pid, 0)
        return True
    return False


def processes(mine: Sequence[Worker], role: str | None, silence: float) -> Iterator[Finding]:
    """Is each of the host's processes alive, ready, and at least one there?"""
    if not mine:
        what = f"no {role}" if role else "nothing of dropscribe"
        yield Finding(
            "process", Severity.FAIL, f"{what} runs on this host", COMMANDS.get(role or "", "dropscribe --help")
        )
    yield from map(_process, mine, repeat(silence))


def _process(worker: Worker, silence: float) -> Finding:
    """Whether a process does its work, by what it said of itself last."""
    name = f"process {worker.id}"
    if not worker.is_alive(silence):
        heard = f"sent its last heartbeat {render.duration(worker.silent)} ago"
        return Finding(name, Severity.FAIL, heard, "see its log; if it hangs, restart it")
    level, found, remedy = STATES.get(worker.state, (Severity.FAIL, f"is {worker.state}", "see its log"))
    return Finding(name, level, found, remedy)


def folders(roots: Sequence[WatchedRoot]) -> Iterator[Finding]:
    """Can the scheduler read its folders? One that is away is a warning, as it stops no other; all are a failure."""
    level = Severity.WARN if any(map(attrgetter("online"), roots)) else Severity.FAIL
    for root in roots:
        name = f"folder {root.path}"
        if root.unseen:
            yield Finding(name, Severity.WARN, f"is only partly readable: {root.unseen}", root.unseen_remedy)
        elif root.online:
            yield Finding(name, Severity.OK, "is online")
        else:
            yield Finding(name, level, f"is offline: {root.reason}", f"{root.offline_remedy}; its recordings wait")


def _redis(context: Context) -> str:
    """That it answers. Raises BrokerError."""
    checks.ask_redis(context.settings)
    return "answers"
