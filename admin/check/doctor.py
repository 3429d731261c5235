"""`dropscribe doctor`: is everything there that dropscribe needs, and what to do where it is not.

Looks and reports; the one thing it writes is a lease of its own in the store, to see that the store can be written.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import RenderableType
from rich.text import Text

from dropscribe.admin.check import checks, connections, engine_checks, machine
from dropscribe.admin.check.checks import Finding, Severity
from dropscribe.admin.context import Context
from dropscribe.admin.terminal import render
from dropscribe.admin.terminal.progress import busy
from dropscribe.core import reserved_names
from dropscribe.core.bucket_client import Bucket
from dropscribe.core.bucket_names import BucketFolder, is_in_bucket
from dropscribe.core.errors import BrokerError, DropscribeError
from dropscribe.core.mounts import is_network
from dropscribe.core.passwords import mask
from dropscribe.core.s3_settings import S3
from dropscribe.scheduler.scanning.ignore import NameKind, classify
from dropscribe.scheduler.scanning.write_lease import is_written
from dropscribe.store import fleet
from dropscribe.store.roots import WatchedRoot, list_roots, of_host
from dropscribe.store.session import HEAD, Database

CLOCK_SECONDS = 2.0  # a clock further off confuses people who compare logs with the events of a job
ENCODINGS = frozenset({"UTF8", "SQL_ASCII"})  # which take any text; of the second, the client says that it is UTF-8
SAMPLED = 100  # files of a folder
LEVEL_STYLES = {Severity.OK: "green", Severity.WARN: "yellow", Severity.FAIL: "bold red"}
COLUMNS = ("check", "status", "finding", "what to do")


def doctor(context: Context, *, as_json: bool) -> int:
    """Print all findings; returns 1 if anything fails, else 0."""
    with busy(context.err, "checking"):
        findings = list(examine(context))
    context.answer(
        lambda: checks.documents(findings) | {"machine": machine.describe()},
        lambda: context.out.print(render.table(*COLUMNS, rows=map(_row, findings), whole=("status",))),
        as_json=as_json,
    )
    return int(checks.worst(findings) is Severity.FAIL)


def examine(context: Context) -> Iterator[Finding]:
    """All findings, in the order in which a person would look. Raises SettingsError."""
    settings = context.settings
    if not context.has_store:
        yield Finding("database", Severity.WARN, "there is none yet", "`dropscribe up FOLDER` makes it")
    else:
        yield from _stored(context)
    yield redis(context)
    yield from connections.encryption(settings)
    yield checks.decoder()
    yield checks.closed_off(settings)
    yield checks.speech_detector(settings)
    yield checks.speaker_encoder(settings)
    yield from engine_checks.examine(settings)
    yield checks.private(settings.home)
    yield checks.space("home", settings.home)
    yield checks.space("spool", settings.spool_dir)
    yield checks.inotify()


def _stored(context: Context) -> Iterator[Finding]:
    """What can be asked of the store: the database itself, its clock, and what schedulers report to it."""
    url = mask(context.settings.database)
    try:
        database = context.database
        writable = fleet.hold_role(database, "doctor", socket.gethostname(), 1.0)
        drift = _drift(database)
        text = encoding(database.encoding())
        roots = list_roots(database)
    except DropscribeError as error:
        yield Finding("database", Severity.FAIL, error.problem, error.remedy or "see its log")
        return
    found = "opens and can be written" if writable else "another `dropscribe doctor` writes to it"
    yield Finding("database", Severity.OK, f"{url}, version {HEAD}, {found}")
    yield text
    yield clock(drift)
    yield from folders(context, roots)


def encoding(name: str) -> Finding:
    """Can the database hold every file name and every transcript? `name` is what it calls its encoding."""
    if name.replace("-", "").upper() in ENCODINGS:
        return Finding("encoding", Severity.OK, name)
    return Finding(
        "encoding",
        Severity.WARN,
        f"the database is in {name}, which lacks most of the world's letters: file names and transcripts are refused",
        "make a database with ENCODING 'UTF8' TEMPLATE template0, and copy the old one into it by pg_dump",
    )


def _drift(database: Database) -> float:
    """Seconds by which the database's clock is ahead of this host's."""
    before = time.time()
    there = database.clock()
    return there - (before + time.time()) / 2


def clock(drift: float) -> Finding:
    """Is this host's clock close to the database's, which all leases go by?"""
    found = f"the database's is {abs(drift):.1f} s {'ahead' if drift > 0 else 'behind'}"
    if abs(drift) <= CLOCK_SECONDS:
        return Finding("clock", Severity.OK, found)
    return Finding("clock", Severity.WARN, found, "keep both by NTP; leases are safe, but times in logs will not agree")


def folders(context: Context, roots: Sequence[WatchedRoot]) -> Iterator[Finding]:
    """Can the watched folders of this host be read, and can results be written?"""
    here = of_host(socket.gethostname(), roots)
    if not here:
        where = f" on this host, {len(roots)} elsewhere" if roots else ""
        yield Finding(
            "folders", Severity.OK if roots else Severity.WARN, f"none watched{where}", "dropscribe up FOLDER"
        )
    for root in here:
        if is_in_bucket(root.path):
            yield _bucket(context, root)
            continue
        yield _folder(root, str(context.settings.results or root.path))
        yield from writers(root)
        for folder, reason, files in root.waiting:
            where = f"{root.path}/{folder}{reserved_names.SETTINGS}"
            remedy = f"fix it; {render.count(files, 'recording')} waiting for that"
            yield Finding(f"settings {root.path}/{folder}", Severity.WARN, f"{where}: {reason}", remedy)


def writers(root: WatchedRoot) -> Iterator[Finding]:
    """Where this user cannot see whether somebody still writes to a recording of the folder: a warning."""
    if unknown := next(filter(_hides_writers, _some_recordings(root)), None):
        found = f"this user cannot see whether somebody still writes to {unknown.name}: a file that pauses is read"
        remedy = (
            "let the scheduler's user own the recordings, or have CAP_LEASE as in deploy/dropscribe-scheduler.service"
        )
        yield Finding(f"writers {root.path}", Severity.WARN, found, remedy)


def _some_recordings(root: WatchedRoot) -> list[Path]:
    """Of a local folder's own; none where it cannot be listed, which another check reports."""
    there = [] if is_network(root.filesystem) else checks.listed(root.path)
    return [path for path in there[:SAMPLED] if classify(path.name) is NameKind.ADMIT]


def _hides_writers(recording: Path) -> bool:
    """Does the system not tell whether somebody writes to this recording?"""
    return os.access(recording, os.R_OK) and is_written(recording) is None


def _folder(root: WatchedRoot, results: str) -> Finding:
    """The first thing that is wrong with a watched folder, or that it is as it should be."""
    name = f"folder {root.path}"
    if not root.online:
        remedy = f"{root.offline_remedy}; work on it waits meanwhile"
        return Finding(name, Severity.WARN, f"offline: {root.reason}", remedy)
    if not os.access(root.path, os.R_OK | os.X_OK):
        return Finding(name, Severity.FAIL, "cannot be read", f"let this user read {root.path}")
    if not os.access(checks.nearest_existing(results), os.W_OK | os.X_OK):
        remedy = f"let this user write to {results}, or set DROPSCRIBE_RESULTS to another directory"
        return Finding(name, Severity.FAIL, f"results cannot be written to {results}", remedy)
    if root.unseen:
        return Finding(name, Severity.WARN, f"recordings in it are not seen: {root.unseen}", root.unseen_remedy)
    if root.reason:
        return Finding(name, Severity.WARN, root.reason, "see the scheduler's log")
    return Finding(name, Severity.OK, f"{root.filesystem}, {render.count(root.files, 'file')}, results to {results}")


def _bucket(context: Context, root: WatchedRoot) -> Finding:
    """Whether this user, with the current credentials, can list a watched folder of a bucket."""
    name, folder = f"folder {root.path}", BucketFolder.parse(root.path)
    try:
        Bucket(context.settings, folder.bucket).answers(folder)
    except DropscribeError as error:
        return Finding(name, Severity.FAIL, error.problem, error.remedy)
    if not root.online:
        return Finding(name, Severity.WARN, f"offline for its scheduler: {root.reason}", root.offline_remedy)
    if root.unseen:
        return Finding(name, Severity.WARN, f"recordings in it are not seen: {root.unseen}", root.unseen_remedy)
    results = context.settings.of(S3).results
    where = BucketFolder(folder.bucket, results).url if results else root.path
    return Finding(name, Severity.OK, f"{root.filesystem}, {render.count(root.files, 'file')}, results to {where}")


def redis(context: Context) -> Finding:
    """Does Redis answer, and will it keep what it is given?"""
    try:
        answer = checks.ask_redis(context.settings)
    except BrokerError as error:
        level = Severity.FAIL if context.settings.redis_url else Severity.WARN
        return Finding("redis", level, error.problem, error.remedy)
    found = f"version {answer.version} answers" if answer.version else "answers, and tells this user no more"
    if answer.eviction not in {"", "noeviction"}:
        remedy = "set maxmemory-policy noeviction; dropped messages are sent again, but late"
        return Finding("redis", Severity.WARN, f"{found}, and drops messages when full ({answer.eviction})", remedy)
    return Finding("redis", Severity.OK, found)


def _row(finding: Finding) -> list[RenderableType]:
    """The cells of a finding; its status in colour."""
    status = Text(finding.level.value, style=LEVEL_STYLES[finding.level])
    return [render.safe(finding.name), status, render.safe(finding.finding), render.safe(finding.advice)]
