"""`dropscribe show`: one job, what happened to it, and where the time went."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
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
from dropscribe.admin.state.job_view import as_document, expectation, outlooks_of
from dropscribe.admin.terminal import render
from dropscribe.core import old_names
from dropscribe.core.clock import clock, period, with_moments
from dropscribe.core.event_kinds import EventKind
from dropscribe.core.old_names import previous
from dropscribe.core.passwords import mask
from dropscribe.core.routing import is_bound, wish_of
from dropscribe.core.types import Span
from dropscribe.store import fleet, notifications, queries, written_files
from dropscribe.store.events import Event, events_of
from dropscribe.store.notifications import WEBHOOK, Delivery
from dropscribe.store.queries import Job
from dropscribe.store.session import Database
from dropscribe.store.unfinished import Outlook
from dropscribe.store.written_files import WrittenFile


@dataclass(frozen=True, slots=True)
class JobFacts:
    """Everything that is known of one job."""

    job: Job
    speech: Sequence[Span]
    files: Sequence[WrittenFile]
    events: Sequence[Event]
    deliveries: Sequence[Delivery]
    history: JobTimeline
    now: float
    outlook: Outlook | None

    @property
    def document(self) -> dict[str, Any]:
        """As docs/cli.md describes it."""
        extra = {
            "speech": [*map(asdict, self.speech)],
            "files": [*map(file_document, self.files)],
            "notifications": [
                with_moments(asdict(one), "at", "next_at", "delivered_at") | {"url": mask(one.url)}
                for one in self.deliveries
            ],
            "events": [
                with_moments(asdict(one), "at") | {"old_kind": previous(one.kind, old_names.EVENTS)}
                for one in self.events
            ],
        }
        return as_document(self.job, self.outlook) | extra | _history_document(self.history)


def facts_of(database: Database, job: Job, events: Sequence[Event], outlook: Outlook | None) -> JobFacts:
    """Ask the store for the rest; `events` are those of the job, as they are to be shown. Raises StoreError."""
    now = database.clock()
    return JobFacts(
        job=job,
        speech=queries.speech(database, job.id),
        files=written_files.files_of(database, job.id),
        events=events,
        deliveries=notifications.of_job(database, job.id),
        history=timeline.build(
            events, queries.windows_of(database, job.id), state=job.state, now=now, timings=job.timings
        ),
        now=now,
        outlook=outlook,
    )


def show(context: Context, name: str, *, as_json: bool) -> None:
    """Print everything about one job."""
    job = queries.job(context.database, find(context.database, name))
    events = events_of(context.database, job.id)
    expected = outlooks_of(context.database, context.asking.silence_seconds, [job])
    found = facts_of(context.database, job, events, expected.get(job.id))
    context.answer(lambda: found.document, lambda: _show(context, found), as_json=as_json)


def _show(context: Context, found: JobFacts) -> None:
    """Print everything for people."""
    labels = ("place in the queue", "time left")
    expected = [("waits for", _waits_for(context, found.job)), *zip(labels, expectation(found.outlook), strict=True)]
    context.out.print(_facts(found.job, found.files, found.deliveries, found.events, expected))
    if found.events:
        shown = (_parts(found.history), _attempts(found.history, found.now), _trail(found.events))
        context.out.print(Group(*shown))


def _history_document(history: JobTimeline) -> dict[str, Any]:
    """The timeline for programs: moments in two forms, steps under old and new names."""
    attempts = [with_moments(asdict(attempt), "began", "ended") for attempt in history.attempts]
    for attempt in attempts:
        attempt["old_step"] = previous(attempt["step"], old_names.STEPS)
    return asdict(history) | {"attempts": attempts}


def file_document(file: WrittenFile) -> dict[str, Any]:
    """A file that was written for a job, as docs/cli.md describes it."""
    return {"path": file.path, "format": file.format, "sha256": file.sha256, "written": file.written}


def _waits_for(context: Context, job: Job) -> str:
    """The model worker that is missing, or nothing."""
    wish = wish_of(job.model_queue)
    is_read = is_bound(job.model_queue) and not queries.has_unread_windows(context.database, job.id)
    if not wish or job.state.is_final or is_read:
        return ""
    silence = context.asking.silence_seconds
    fit = fleet.capacity(context.database, silence, job.model_queue).workers
    return "" if fit else f"{wish}, {unserved(job.model_queue)}"


def _facts(
    job: Job,
    files: Sequence[WrittenFile],
    deliveries: Sequence[Delivery],
    events: Sequence[Event],
    expected: Sequence[tuple[str, str]],
) -> Table:
    """What is known of the job, as names and values."""
    head: list[tuple[str, str | Text | None]] = [
        ("job", job.id),
        ("recording", job.source),
        ("state", render.phase(job.phase)),
        ("reason", job.reason),
        *expected,
        ("text", _removed(job, events)),
    ]
    written = (("file", file.path if file.written else f"{file.path} (being written)") for file in files)
    notified = zip(repeat("notification"), map(_delivery, deliveries), strict=False)
    return render.facts([*head, *_found(job), *written, *notified])


def _removed(job: Job, events: Sequence[Event]) -> str:
    """When what was said was removed from the store, and why; empty where it was not."""
    if job.text_removed_at is None:
        return ""
    why = next((event.detail for event in reversed(events) if event.kind == EventKind.TEXT_REMOVED), "")
    return f"removed {render.moment(job.text_removed_at)}: {why}"


def _found(job: Job) -> list[tuple[str, str | None]]:
    """What the job's row says of it, by label; what is empty says nothing."""
    return [
        ("notes", "; ".join(job.notes)),
        ("uncovered speech", ", ".join(map(period, job.missing))),
        ("progress", _progress(job)),
        ("media", _media(job)),
        ("speech found by", job.speech_detector),
        ("parts", _parts_of(job)),
        ("size", render.size(job.size)),
        ("sha256", job.sha256),
        ("same content as", job.duplicate_of),
        ("priority", job.priority),
        ("context", job.context),
        ("folder's own", "; ".join(f"{key} {_shown(key, value)}" for key, value in job.overrides.given.items())),
        ("worked on by", job.owner),
        ("cancellation", "requested" if job.cancel_requested else ""),
        ("attempts", f"{job.attempt}, {job.failures} failed, {job.lost} lost" if job.failures + job.lost else ""),
        ("admitted", render.moment(job.created_at)),
        ("ended", _ended(job)),
        ("measured", ", ".join(f"{phase} {render.duration(spent)}" for phase, spent in job.timings.items())),
    ]


def _delivery(one: Delivery) -> str:
    """What became of a notification; of the receiver only its host, as the rest may be a secret."""
    host, way = one.url and f" to {urlsplit(one.url).hostname}", "" if one.channel == WEBHOOK else f" by {one.channel}"
    text = f"{one.state}{host}{way}: {one.status.replace('_', ' ')}, {render.count(one.tries, 'try', 'tries')}"
    if one.delivered_at is not None:
        return f"{text}, {render.moment(one.delivered_at)}"
    again = f"again {render.moment(one.next_at)}" if one.next_at is not None and one.tries else ""
    return "; ".join(filter(None, (text, again, one.error)))


def _shown(key: str, value: object) -> str:
    """A setting of the recording's folder, for people.

    >>> _shown("notify", "https://example.org/secret"), _shown("outputs", ("json", "srt"))
    ('example.org', 'json,srt')
    """
    if key == "notify":  # the rest of the address may be a secret
        return urlsplit(str(value)).hostname or ""
    return ",".join(map(str, value)) if isinstance(value, tuple | list) else str(value)


def _progress(job: Job) -> str:
    """How much of the recording is transcribed; empty before its length is known."""
    done = f"{job.progress:.0%}, {render.duration(job.transcribed)} of {render.duration(job.duration)} transcribed"
    return done if job.to_read else ""


def _media(job: Job) -> str:
    """What kind of recording it is; empty before it was read."""
    if job.duration is None or job.media is None:
        return ""
    media = job.media
    parts = [render.duration(job.duration), media.format, media.codec]
    if media.channels:
        parts += [render.count(media.channels, "channel"), f"{media.sample_rate} Hz"]
    return ", ".join(filter(None, parts))


def _parts_of(job: Job) -> str:
    """How many files a recording in parts has, and from when on each sounds once that is known."""
    if not job.part_count:
        return ""
    told = job.media.parts if job.media else ()
    each = (f"{part.name} from {clock(part.start)}{f' ({part.problem})' if part.problem else ''}" for part in told)
    return ": ".join(filter(None, (render.count(job.part_count + 1, "file"), ", ".join(each))))


def _ended(job: Job) -> str:
    """When the job ended, and how long after it was admitted."""
    if job.finished_at is None:
        return ""
    return f"{render.moment(job.finished_at)}, {render.duration(job.finished_at - job.created_at)} after admission"


def _parts(history: JobTimeline) -> Table:
    """Where the time went, as a table."""
    whole = sum(map(attrgetter("seconds"), history.parts))
    rows = ((part.name, render.duration(part.seconds), f"{part.seconds / whole:.0%}") for part in history.parts)
    return render.table("where the time went", "time", "part", rows=rows, right=("time", "part"))


def _attempts(history: JobTimeline, now: float) -> Table:
    """All attempts as a table."""
    columns = ("attempt", "of the recording", "worker", "began", "took", "speed", "outcome")
    rows = map(partial(_attempt, now=now), history.attempts)
    return render.table(*columns, rows=rows, whole=("attempt", "began"), right=("took", "speed"))


def _attempt(attempt: Attempt, now: float) -> list[RenderableType]:
    """The cells of one attempt: step, window, worker, when, how long, how fast, and what came of it."""
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
    """All events as a table, each with the time since the one before."""
    columns = ("at", "after", "event", "where", "detail")
    first = _event(events[0], "")
    later = (_event(event, render.duration(event.at - before.at)) for before, event in pairwise(events))
    return render.table(*columns, rows=[first, *later], whole=("at", "event"), right=("after",))


def _event(event: Event, after: str) -> list[RenderableType]:
    """The cells of an event."""
    what = map(render.safe, (event.kind, event.where, event.text))
    return [render.moment(event.at), after, *what]
