"""`dropscribe show`: one job, what happened to it, and where the time went."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any
from urllib.parse import urlsplit

from rich.table import Table
from rich.text import Text

from dropscribe.admin.ask import timeline
from dropscribe.admin.ask.timeline import JobTimeline
from dropscribe.admin.context import Context
from dropscribe.admin.state.job_lookup import find
from dropscribe.admin.state.job_view import as_document
from dropscribe.admin.terminal import render
from dropscribe.core import old_names
from dropscribe.core.clock import clock
from dropscribe.core.old_names import previous
from dropscribe.core.routing import wish_of
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
    if as_json:
        speech = [asdict(span) for span in queries.speech(database, job.id)]
        extra = {
            "speech": speech,
            "files": [_file_document(file) for file in files],
            "notifications": [asdict(one) | {"url": mask(one.url)} for one in deliveries],
            "events": [asdict(one) | {"old_kind": previous(one.kind, old_names.EVENTS)} for one in events],
        }
        render.write_json(as_document(job) | extra | _history_document(history))
        return
    context.out.print(_facts(job, files, deliveries, _waits_for(context, job)))
    if events:
        for table in (_parts(history), _attempts(history, now), _trail(events)):
            context.out.print(table)


def _history_document(history: JobTimeline) -> dict[str, Any]:
    document = asdict(history)
    for attempt in document["attempts"]:
        attempt["old_step"] = previous(attempt["step"], old_names.STEPS)
    return document


def _file_document(file: WrittenFile) -> dict[str, Any]:
    return {"path": file.path, "format": file.format, "sha256": file.sha256, "written": file.written}


def _waits_for(context: Context, job: Job) -> str:
    """The model worker that is missing, or nothing."""
    wish = wish_of(job.model_queue)
    if not wish or job.state.is_final:
        return ""
    silence = context.settings.silence_seconds
    fit = fleet.capacity(context.database, silence, job.model_queue).workers
    return "" if fit else f"a worker that has {wish}; none runs"


def _facts(job: Job, files: Sequence[WrittenFile], deliveries: Sequence[Delivery], waits_for: str) -> Table:
    facts = render.facts()
    facts.add_row("job", job.id)
    facts.add_row("recording", render.safe(job.source))
    facts.add_row("state", render.state(job.state))
    written = [("file", file.path if file.written else f"{file.path} (being written)") for file in files]
    notified = [("notification", _delivery(one)) for one in deliveries]
    for label, value in [("reason", job.reason), ("waits for", waits_for), *_found(job), *written, *notified]:
        if value:
            facts.add_row(label, render.safe(value))
    return facts


def _found(job: Job) -> list[tuple[str, str | None]]:
    """What the job's row says of it, by label; what is empty says nothing."""
    return [
        ("notes", "; ".join(job.notes)),
        ("uncovered speech", ", ".join(f"{clock(gap.start)}-{clock(gap.end)}" for gap in job.missing)),
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
    return f"{job.attempt}, {job.failures} failed, {job.lost} lost" if job.failures or job.lost else ""


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
    return ",".join(map(str, value)) if isinstance(value, tuple | list) else str(value)


def _progress(job: Job) -> str:
    if not job.to_read:
        return ""
    return f"{job.progress:.0%}, {render.duration(job.read)} of {render.duration(job.to_read)} read"


def _media(job: Job) -> str:
    if job.duration is None or job.media is None:
        return ""
    media = job.media
    parts = [render.duration(job.duration), media.format, media.codec]
    if media.channels:
        parts += [render.count(media.channels, "channel"), f"{media.sample_rate} Hz"]
    return ", ".join(part for part in parts if part)


def _ended(job: Job) -> str:
    if job.finished_at is None:
        return ""
    return f"{render.moment(job.finished_at)}, {render.duration(job.finished_at - job.created_at)} after admission"


def _parts(history: JobTimeline) -> Table:
    table = render.table("where the time went", "time", "part", right=("time", "part"))
    whole = sum(part.seconds for part in history.parts)
    for part in history.parts:
        table.add_row(part.name, render.duration(part.seconds), f"{part.seconds / whole:.0%}")
    return table


def _attempts(history: JobTimeline, now: float) -> Table:
    table = render.table(
        "attempt", "of the recording", "worker", "began", "took", "speed", "outcome",
        whole=("attempt", "began"), right=("took", "speed"),
    )  # fmt: skip
    for attempt in history.attempts:
        took = (attempt.ended or now) - attempt.began
        window = attempt.window
        table.add_row(
            f"{attempt.step} {attempt.chunk}".strip(),
            f"{clock(window.start)}-{clock(window.end)}" if window else "",
            render.safe(attempt.worker),
            render.moment(attempt.began),
            render.duration(took),
            f"{window.duration / took:.1f} x" if window and attempt.outcome == "transcribed" and took > 0 else "",
            attempt.outcome or Text("at it", style="blue"),
        )
    return table


def _trail(events: Sequence[Event]) -> Table:
    table = render.table("at", "after", "event", "where", "detail", whole=("at", "event"), right=("after",))
    before: float | None = None
    for event in events:
        after = "" if before is None else render.duration(event.at - before)
        table.add_row(
            render.moment(event.at), after, render.safe(event.kind), render.safe(event.where), render.safe(event.text)
        )
        before = event.at
    return table
