"""`dropscribe show`: one job, what happened to it, and where the time went."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from itertools import pairwise, repeat
from operator import attrgetter
from typing import Any
from urllib.parse import urlsplit

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from dropscribe.admin.ask import timeline
from dropscribe.admin.ask.timeline import Attempt, JobTimeline
from dropscribe.admin.context import Context
from dropscribe.admin.state.fleet_status import unserved
from dropscribe.admin.state.job_lookup import find
from dropscribe.admin.state.job_view import as_document
from dropscribe.admin.terminal import render
from dropscribe.core import old_names
from dropscribe.core.clock import period
from dropscribe.core.old_names import previous
from dropscribe.core.routing import is_bound, wish_of
from dropscribe.core.safe_text import mask
from dropscribe.store import fleet, notifications, queries, transcripts
from dropscribe.store.events import Event, events_of
from dropscribe.store.notifications import Delivery
from dropscribe.store.queries import Job
from dropscribe.store.transcripts import WrittenFile


def show(context: Context, name: str, *, as_json: bool) -> None:
    """Print everything about one job."""
    database = context.database
    job = queries.job(database, find(database, name))
    files = transcripts.files_of(database, job.id)
    events = events_of(database, job.id)
    deliveries = notifications.of_job(database, job.id)
    windows, now = queries.windows_of(database, job.id), database.clock()
    history = timeline.build(events, windows, state=job.state, now=now, timings=job.timings)

    def document() -> dict[str, Any]:
        extra = {
            "speech": [*map(asdict, queries.speech(database, job.id))],
            "files": [*map(_file_document, files)],
            "notifications": [*map(_delivery_document, deliveries)],
            "events": [*map(_event_document, events)],
        }
        return as_document(job) | extra | _history_document(history)

    def show() -> None:
        context.out.print(_facts(job, files, deliveries, _waits_for(context, job)))
        if events:
            context.out.print(Group(_parts(history), _attempts(history, now), _trail(events)))

    context.answer(document, show, as_json=as_json)


def _delivery_document(one: Delivery) -> dict[str, Any]:
    return asdict(one) | {"url": mask(one.url)}


def _event_document(one: Event) -> dict[str, Any]:
    return asdict(one) | {"old_kind": previous(one.kind, old_names.EVENTS)}


def _history_document(history: JobTimeline) -> dict[str, Any]:
    document = asdict(history)
    for attempt in document["attempts"]:
        attempt["old_step"] = previous(attempt["step"], old_names.STEPS)
    return document


def _file_document(file: WrittenFile) -> dict[str, Any]:
    return {"path": file.path, "format": file.format, "sha256": file.sha256, "written": file.written}


def _needs_model(context: Context, job: Job) -> bool:
    return not is_bound(job.model_queue) or queries.has_unread_windows(context.database, job.id)


def _waits_for(context: Context, job: Job) -> str:
    """The model worker that is missing, or nothing."""
    wish = wish_of(job.model_queue)
    if not wish or job.state.is_final or not _needs_model(context, job):
        return ""
    silence = context.settings.silence_seconds
    fit = fleet.capacity(context.database, silence, job.model_queue).workers
    return "" if fit else f"{wish}, {unserved(job.model_queue)}"


def _facts(job: Job, files: Sequence[WrittenFile], deliveries: Sequence[Delivery], waits_for: str) -> Table:
    head: list[tuple[str, str | Text | None]] = [
        ("job", job.id),
        ("recording", job.source),
        ("state", render.state(job.state)),
        ("reason", job.reason),
        ("waits for", waits_for),
    ]
    written = zip(repeat("file"), map(_written, files), strict=False)
    notified = zip(repeat("notification"), map(_delivery, deliveries), strict=False)
    return render.facts([*head, *_found(job), *written, *notified])


def _written(file: WrittenFile) -> str:
    return file.path if file.written else f"{file.path} (being written)"


def _found(job: Job) -> list[tuple[str, str | None]]:
    """What the job's row says of it, by label; what is empty says nothing."""
    return [
        ("notes", "; ".join(job.notes)),
        ("uncovered speech", ", ".join(map(period, job.missing))),
        ("progress", _progress(job)),
        ("media", _media(job)),
        ("speech found by", job.speech_detector),
        ("size", render.size(job.size)),
        ("sha256", job.sha256),
        ("same content as", job.duplicate_of),
        ("priority", job.priority),
        ("context", job.context),
        ("folder's own", "; ".join(f"{key} {_shown(key, value)}" for key, value in job.overrides.given.items())),
        ("worked on by", job.owner),
        ("cancellation", "requested" if job.cancel_requested else ""),
        ("attempts", _attempts_so_far(job)),
        ("admitted", render.moment(job.created_at)),
        ("ended", _ended(job)),
        ("measured", ", ".join(f"{phase} {render.duration(spent)}" for phase, spent in job.timings.items())),
    ]


def _attempts_so_far(job: Job) -> str:
    return f"{job.attempt}, {job.failures} failed, {job.lost} lost" if job.failures + job.lost else ""


def _delivery(one: Delivery) -> str:
    """What became of a notification; of the receiver only its host, as the rest may be a secret."""
    receiver = one.url and f" to {urlsplit(one.url).hostname}"
    text = f"{one.state}{receiver}: {one.status.replace('_', ' ')}, {render.count(one.tries, 'try', 'tries')}"
    if one.delivered_at is not None:
        return f"{text}, {render.moment(one.delivered_at)}"
    again = f"again {render.moment(one.next_at)}" if one.next_at is not None and one.tries else ""
    return "; ".join(filter(None, (text, again, one.error)))


def _shown(key: str, value: object) -> str:
    if key == "notify":  # the rest of the address may be a secret
        return urlsplit(str(value)).hostname or ""
    return ",".join(map(str, value)) if isinstance(value, tuple | list) else str(value)


def _progress(job: Job) -> str:
    read = f"{job.progress:.0%}, {render.duration(job.read)} of {render.duration(job.to_read)} read"
    return read if job.to_read else ""


def _media(job: Job) -> str:
    if job.duration is None or job.media is None:
        return ""
    media = job.media
    parts = [render.duration(job.duration), media.format, media.codec]
    if media.channels:
        parts += [render.count(media.channels, "channel"), f"{media.sample_rate} Hz"]
    return ", ".join(filter(None, parts))


def _ended(job: Job) -> str:
    if job.finished_at is None:
        return ""
    return f"{render.moment(job.finished_at)}, {render.duration(job.finished_at - job.created_at)} after admission"


def _parts(history: JobTimeline) -> Table:
    whole = sum(map(attrgetter("seconds"), history.parts))
    rows = ((part.name, render.duration(part.seconds), f"{part.seconds / whole:.0%}") for part in history.parts)
    return render.table("where the time went", "time", "part", rows=rows, right=("time", "part"))


def _attempts(history: JobTimeline, now: float) -> Table:
    columns = ("attempt", "of the recording", "worker", "began", "took", "speed", "outcome")
    rows = map(partial(_attempt, now=now), history.attempts)
    return render.table(*columns, rows=rows, whole=("attempt", "began"), right=("took", "speed"))


def _attempt(attempt: Attempt, now: float) -> list[RenderableType]:
    return [
        f"{attempt.step} {attempt.chunk}".strip(),
        period(attempt.window) if attempt.window else "",
        render.safe(attempt.worker),
        render.moment(attempt.began),
        render.duration(attempt.seconds(now)),
        render.speed(attempt.speed),
        attempt.outcome or Text("at it", style="blue"),
    ]


def _trail(events: Sequence[Event]) -> Table:
    columns = ("at", "after", "event", "where", "detail")
    first = _event(events[0], "")
    later = (_event(event, render.duration(event.at - before.at)) for before, event in pairwise(events))
    return render.table(*columns, rows=[first, *later], whole=("at", "event"), right=("after",))


def _event(event: Event, after: str) -> list[RenderableType]:
    what = map(render.safe, (event.kind, event.where, event.text))
    return [render.moment(event.at), after, *what]
