"""`dropscribe jobs`, `show` and `transcript`: the answers about recordings."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from rich.table import Table
from rich.text import Text

from admin import render
from admin.context import Context
from core import names
from core.errors import DropscribeError, JobNotFoundError, UsageError
from core.routing import wish_of
from core.settings import mask
from core.types import JobState
from store import notifications, queries, transcripts
from store.notifications import Delivery
from store.queries import Event, Job
from store.session import Database
from store.transcripts import WrittenFile


def find(database: Database, text: str) -> str:
    """The id of the job that is meant by an id, the start of one, or a path.

    The store holds paths without symlinks, as the watching host sees them. Raises JobNotFoundError or
    AmbiguousJobError.
    """
    plain = Path(os.path.normpath(Path(text).expanduser().absolute()))
    resolved = plain.parent.resolve() / plain.name
    start = text if text.isascii() else ""  # of an id; no database takes a name's undecodable bytes as text
    for path in (resolved, plain):
        with suppress(JobNotFoundError):
            return queries.find(database, start, str(path))
    if resolved.is_file():
        _require_admitted(database, resolved)
    raise JobNotFoundError(f"no job has the id or the path {text}; `dropscribe jobs` lists them")


def _require_admitted(database: Database, path: Path) -> None:
    """Say why a recording has no job yet. Raises JobNotFoundError, if it lies in a watched folder and will have one."""
    from scheduler.ignore import Verdict, verdict

    for root in queries.list_roots(database):
        if not path.is_relative_to(root.path) or verdict(path.name) is not Verdict.ADMIT:
            continue
        below = str(path.relative_to(root.path))
        for folder, reason, _ in root.waiting:
            if below.startswith(folder):
                raise JobNotFoundError(f"{path} waits until {root.path}/{folder}{names.SETTINGS} is mended: {reason}")
        raise JobNotFoundError(
            f"{path} has no job yet: it is admitted once it has stood still for some seconds and the scheduler has "
            "seen that; `dropscribe status` shows how many such files there are"
        )


def as_document(job: Job) -> dict[str, Any]:
    """A job as docs/cli.md describes it; where speech was found is left out for its length."""
    media = {key: value for key, value in (job.media or {}).items() if key != "speech"}
    return asdict(job) | {
        "source": job.source,
        "progress": round(job.progress, 4),
        "media": media or None,
        "missing": [{"start": start, "end": end} for start, end in job.missing],
    }


def listing(context: Context, *, states: Sequence[JobState], folder: Path | None, limit: int, as_json: bool) -> None:
    """Print the newest `limit` jobs (0: all) that fit."""
    under = str(folder.expanduser().resolve()) if folder else None
    one_more = limit + 1 if limit else None
    found = queries.list_jobs(context.database, states=states, folder=under, limit=one_more)
    shown = found[:limit] if limit else found
    more = len(found) > len(shown)
    if as_json:
        render.write_json({"jobs": [as_document(job) for job in shown], "more": more})
        return
    if not shown:
        context.out.print("no such jobs" if states or folder else "no jobs yet")
        return
    context.out.print(jobs_table(shown))
    if more:
        context.err.print(f"the newest {limit}; --limit 0 lists all")


def jobs_table(jobs: Sequence[Job]) -> Table:
    """One row a job."""
    table = render.table(
        "id", "state", "read", "length", "admitted", "recording", "reason",
        whole=("id", "state", "admitted"), right=("read", "length"),
    )  # fmt: skip
    for job in jobs:
        table.add_row(
            job.id,
            render.state(job.state),
            f"{job.progress:.0%}" if job.state == JobState.TRANSCRIBING else "",
            render.duration(job.duration),
            render.moment(job.created_at),
            render.safe(job.path),
            render.safe(job.reason),
        )
    return table


def show(context: Context, name: str, *, as_json: bool) -> None:
    """Print everything about one job."""
    database = context.database
    job = queries.job(database, find(database, name))
    files = transcripts.files_of(database, job.id)
    events = queries.events_of(database, job.id)
    told = notifications.of_job(database, job.id)
    if as_json:
        speech = [{"start": start, "end": end} for start, end in (job.media or {}).get("speech", ())]
        extra = {
            "speech": speech,
            "files": [_file_document(file) for file in files],
            "notifications": [asdict(one) | {"url": mask(one.url)} for one in told],
            "events": [asdict(event) for event in events],
        }
        render.write_json(as_document(job) | extra)
        return
    context.out.print(_facts(job, files, told, _waits_for(context, job)))
    if events:
        context.out.print(_trail(events))


def _file_document(file: WrittenFile) -> dict[str, Any]:
    return {"path": file.path, "format": file.format, "sha256": file.sha256, "written": file.written}


def _waits_for(context: Context, job: Job) -> str:
    """The model worker that is missing, or nothing."""
    wish = wish_of(job.model_queue)
    if not wish or job.state.is_final:
        return ""
    silence = context.settings.silence_seconds
    fit = queries.capacity(context.database, silence, job.model_queue).workers
    return "" if fit else f"a worker that has {wish}; none runs"


def _facts(job: Job, files: Sequence[WrittenFile], told: Sequence[Delivery], waits_for: str) -> Table:
    lines: list[tuple[str, str | Text]] = [
        ("job", job.id),
        ("recording", job.source),
        ("state", render.state(job.state)),
        ("reason", job.reason),
        ("waits for", waits_for),
        ("notes", "; ".join(job.notes)),
        ("missing", ", ".join(f"{render.clock(start)}-{render.clock(end)}" for start, end in job.missing)),
        ("progress", _progress(job)),
        ("media", _media(job)),
        ("speech found by", job.speech_detector),
        ("size", render.size(job.size)),
        ("sha256", job.sha256 or ""),
        ("same content as", job.duplicate_of or ""),
        ("priority", job.priority),
        ("context", job.context),
        ("folder's own", "; ".join(f"{key} {_shown(key, value)}" for key, value in job.overrides.items())),
        ("worked on by", job.owner or ""),
        ("cancellation", "requested" if job.cancel_requested else ""),
        ("attempts", f"{job.attempt}, {job.failures} failed, {job.lost} lost" if job.failures or job.lost else ""),
        ("admitted", render.moment(job.created_at)),
        ("ended", _ended(job)),
        ("time spent", ", ".join(f"{phase} {render.duration(spent)}" for phase, spent in job.timings.items())),
        *(("file", file.path if file.written else f"{file.path} (being written)") for file in files),
        *(("notification", _delivery(one)) for one in told),
    ]
    facts = render.facts()
    for label, value in lines:
        if value:
            facts.add_row(label, value if isinstance(value, Text) else render.safe(value))
    return facts


def _delivery(one: Delivery) -> str:
    """What became of a notification; of the receiver only its host, as the rest may be a secret."""
    receiver = f" to {urlsplit(one.url).hostname}" if one.url else ""
    text = f"{one.state}{receiver}: {one.status.replace('_', ' ')}, {render.count(one.tries, 'try', 'tries')}"
    if one.delivered_at is not None:
        return f"{text}, {render.moment(one.delivered_at)}"
    again = f"; again {render.moment(one.next_at)}" if one.next_at is not None and one.tries else ""
    return f"{text}{again}; {one.error}" if one.error else text


def _shown(key: str, value: object) -> str:
    if key == "notify":  # the rest of the address may be a secret
        return urlsplit(str(value)).hostname or ""
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _progress(job: Job) -> str:
    if not job.to_read:
        return ""
    return f"{job.progress:.0%}, {render.duration(job.read)} of {render.duration(job.to_read)} read"


def _media(job: Job) -> str:
    if job.duration is None or job.media is None:
        return ""
    media = job.media
    parts = [render.duration(job.duration), str(media.get("format", "")), str(media.get("codec", ""))]
    if "channels" in media and "sample_rate" in media:
        parts += [render.count(media["channels"], "channel"), f"{media['sample_rate']} Hz"]
    return ", ".join(part for part in parts if part)


def _ended(job: Job) -> str:
    if job.finished_at is None:
        return ""
    return f"{render.moment(job.finished_at)}, {render.duration(job.finished_at - job.created_at)} after admission"


def _trail(events: Sequence[Event]) -> Table:
    table = render.table("at", "after", "event", "where", "detail", whole=("at", "event"), right=("after",))
    before: float | None = None
    for event in events:
        after = "" if before is None else render.duration(event.at - before)
        table.add_row(
            render.moment(event.at), after, render.safe(event.kind), render.safe(event.where), render.safe(event.detail)
        )
        before = event.at
    return table


def transcript(context: Context, name: str, fmt: str, output: Path | None = None) -> None:
    """Print a job's transcript or write it to `output`; the JSON document as it is stored, other formats made from it.

    Raises DropscribeError when there is none, or when a format that is no text would reach a terminal.
    """
    from worker import outputs
    from worker.outputs import files

    if fmt in outputs.BINARY and not output and sys.stdout.isatty():
        raise UsageError(f"{fmt} is not for a terminal; write it to a file with --output")
    job = queries.job(context.database, find(context.database, name))
    document = document_of(context.database, job)
    if job.state == JobState.SUSPECT:
        context.remark("suspect", job.reason, "yellow")
    target = output.expanduser().absolute() if output else None
    content = document.encode() if fmt == "json" else rendered(job, document, fmt, target.parent if target else None)
    if target:
        files.write(target, content, job.id, replaces=False)
        return
    sys.stdout.flush()
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()


def document_of(database: Database, job: Job) -> str:
    """A job's transcript as it is stored; a job that waits for the transcript of equal content has that job's.

    Raises DropscribeError when there is none.
    """
    document = transcripts.document(database, job.id)
    if document is None and job.state == JobState.DUPLICATE and job.duplicate_of:
        document = transcripts.document(database, job.duplicate_of)
    if document is None:
        raise DropscribeError(f"{job.id} is {job.state} and has no transcript; see `dropscribe show {job.id}`")
    return document


def rendered(job: Job, document: str, fmt: str, folder: Path | None) -> bytes:
    """The stored document in another format, as a file in `folder`."""
    from worker import outputs

    stored = outputs.json_.from_json(document)
    source = replace(stored.source, path=job.source)  # a document holds no bytes that are not UTF-8
    return outputs.render(replace(stored, source=source), fmt, folder)
