"""What a caller sees of the store: the one place that narrows every question to the caller's folders."""

from __future__ import annotations

import json
import socket
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import repeat
from operator import attrgetter
from typing import Any
from urllib.parse import urlsplit

from dropscribe.admin.act import correct, speakers, voices
from dropscribe.admin.ask import search, show
from dropscribe.admin.context import Context
from dropscribe.admin.state import fleet_status, segment_documents
from dropscribe.admin.state.job_view import as_document
from dropscribe.admin.state.transcript_documents import document_of, in_format, without_transcript
from dropscribe.admin.terminal.page import Page, first
from dropscribe.core.bucket_names import is_in_bucket
from dropscribe.core.clock import with_moments
from dropscribe.core.errors import FolderOfflineError, ForbiddenError, JobNotFoundError
from dropscribe.core.event_kinds import EventKind
from dropscribe.core.settings_loading import Origin, origins
from dropscribe.core.types import JobPhase, JobState, TokenRole
from dropscribe.serve import media, uploads
from dropscribe.serve.callers import Caller, is_below
from dropscribe.serve.shared_events import EventBatch, SharedEvents
from dropscribe.serve.shared_outlooks import SharedOutlooks
from dropscribe.serve.shared_speakers import SharedSpeakers
from dropscribe.serve.shared_transcripts import SharedTranscripts
from dropscribe.serve.uploads import UploadPlace
from dropscribe.store import folder_queries, queries, revisions, switches, transcripts, written_files
from dropscribe.store import search as index
from dropscribe.store.event_cursor import Moment, moment_of
from dropscribe.store.events import Event, events_of
from dropscribe.store.fleet import list_workers
from dropscribe.store.folder_queries import Untold
from dropscribe.store.queries import Job
from dropscribe.store.roots import WatchedRoot, list_roots, of_host
from dropscribe.store.voices import known

ELSEWHERE = "same content as another recording"  # instead of a remark that names it
# Events whose details name another job, or where the recording lay before.
OF_OTHERS = frozenset({EventKind.FOLLOWS, EventKind.DUPLICATE, EventKind.START_OVER, EventKind.RENAMED})


@dataclass(frozen=True, slots=True)
class JobQuery:
    """Which recordings are asked for. `after` is where the page before ended: moment of admission, id."""

    states: Sequence[JobState] = ()
    phases: Sequence[JobPhase] = ()
    folder: str | None = None
    path: str | None = None
    name: str | None = None
    ids: Sequence[str] | None = None
    after: tuple[float, str] | None = None
    limit: int = 50


@dataclass(frozen=True, slots=True)
class VisibleStore:
    """The store as `caller` may see it. Whatever is not in their folders is not there."""

    context: Context
    caller: Caller
    outlooks: SharedOutlooks
    speakers_called: SharedSpeakers
    transcripts: SharedTranscripts
    happenings: SharedEvents

    @property
    def _silence(self) -> float:
        """Seconds after which a worker counts as silent."""
        return self.context.settings.silence_seconds

    def job(self, job_id: str) -> Job:
        """One job by its whole id. Raises JobNotFoundError, also for one that the caller may not see."""
        found = queries.job(self.context.database, job_id)
        if not self.caller.sees(found.source):
            raise JobNotFoundError(f"there is no job {job_id}", remedy="`dropscribe jobs` lists them")
        return found

    def listing(self, asked: JobQuery) -> dict[str, Any]:
        """Jobs, the newest first, and where the next page begins (`next`), if there is one."""
        page = self._page(asked)
        return {"jobs": [*self._documents(page.shown)], "next": _next(page)}

    def table(self, asked: JobQuery) -> dict[str, Any]:
        """The same for people: what its speakers are `called`, and the notifications that are `untold`, of each job."""
        page = self._page(asked)
        called = self.speakers_called.of(page.shown)
        untold = folder_queries.untold(
            self.context.database, self.caller.folders, ids=[*map(attrgetter("id"), page.shown)]
        )
        rows = [
            document
            | {"called": called.get(job.id, ()), "untold": [one.delivery for one in untold if one.job == job.id]}
            for job, document in zip(page.shown, self._documents(page.shown), strict=True)
        ]
        return {"jobs": rows, "next": _next(page)}

    def _page(self, asked: JobQuery) -> Page[Job]:
        """The jobs that are asked for."""
        return first(
            asked.limit,
            lambda limit: queries.list_jobs(
                self.context.database,
                states=asked.states,
                phases=asked.phases,
                folder=asked.folder,
                path=asked.path,
                name=asked.name,
                ids=asked.ids,
                within=self.caller.folders,
                after=asked.after,
                limit=limit,
            ),
        )

    def _documents(self, jobs: Sequence[Job]) -> Iterator[dict[str, Any]]:
        """Without the place in the queue where that would count the recordings of others."""
        expected = self.outlooks.of(jobs) if self.caller.folders is None else {}
        seen = self._seen_leaders(jobs)
        return (_discreet(job, _hosts_alone(as_document(job, expected.get(job.id))), seen) for job in jobs)

    def document(self, job: Job) -> dict[str, Any]:
        """A job as lists have it."""
        return next(self._documents([job]))

    def story(self, job: Job) -> dict[str, Any]:
        """Everything about one job."""
        events = events_of(self.context.database, job.id)
        if self.caller.folders is None:
            outlook = self.outlooks.of([job]).get(job.id)
            return _hosts_alone(show.facts_of(self.context.database, job, events, outlook).document)
        found = show.facts_of(self.context.database, job, [*map(_anonymous, events)], None)
        return _discreet(job, _hosts_alone(found.document), self._seen_leaders([job]))

    def _seen_leaders(self, jobs: Sequence[Job]) -> set[str | None]:
        """The jobs that the caller sees of those that jobs have the content of; None stands for no job."""
        leaders = {job.duplicate_of for job in jobs}
        if self.caller.folders is None or leaders <= {None}:
            return leaders
        found = queries.list_jobs(self.context.database, ids=[*filter(None, leaders)], within=self.caller.folders)
        return {None, *map(attrgetter("id"), found)}

    def files(self, job: Job) -> list[dict[str, Any]]:
        """The transcript files of a job."""
        return [*map(show.file_document, written_files.files_of(self.context.database, job.id))]

    def transcript(self, job: Job, fmt: str) -> bytes:
        """The transcript in a format. Raises DropscribeError where there is none."""
        seen = self._seen_leaders([job])
        if job.duplicate_of not in seen and transcripts.document(self.context.database, job.id) is None:
            raise without_transcript(job)
        stored = document_of(self.context.database, job)
        if job.duplicate_of not in seen:
            stored = json.dumps(_discreet(job, json.loads(stored), seen), ensure_ascii=False, indent=1)
        return in_format(job, stored, fmt, None)

    def open_recording(self, job: Job) -> int:
        """A descriptor of the recording, which the caller closes. Raises SourceMissingError."""
        return media.open_recording(job.root, job.path, job.size, job.mtime_ns)

    def speakers(self, job: Job) -> dict[str, Any]:
        """Who speaks. Raises DropscribeError where there is no transcript."""
        return speakers.document(self.context, job)

    def newest_revision(self, job: Job) -> int:
        """The number of the last correction of its transcript; 0 where there is none."""
        return revisions.newest(self.context.database, job.id)

    def revisions(self, job: Job) -> dict[str, Any]:
        """Who corrected what in its transcript."""
        return correct.document(self.context.database, job)

    def segments(self, job: Job, first: int, limit: int) -> dict[str, Any]:
        """So many segments of its transcript, from that number on. Raises DropscribeError where there is none."""
        revision = self.newest_revision(job)
        now = self.job(job.id)  # read after its revision, which may be older than the segments but not newer
        return segment_documents.page(self.transcripts.of(now), now.speakers, revision, first, limit)

    def search(
        self, text: str, speaker: str, since: str | None, until: str | None, folder: str | None, around: int, limit: int
    ) -> dict[str, Any]:
        """Where something was said. Raises UsageError."""
        query = replace(search.query_of(text, speaker, since, until, folder), within=self.caller.folders)
        page = first(limit, lambda limit: index.find(self.context.database, query, limit=limit))
        found = search.Search(self.context.database, query, around)
        return {"hits": [*map(found.document, page.shown)], "more": page.is_cut}

    def status(self) -> dict[str, Any]:
        """The state of the fleet; to a caller who is limited to folders, of these alone."""
        database = self.context.database
        if self.caller.folders is None:
            return fleet_status.gather(database, self.context.settings).to_json()
        counted = folder_queries.counts(database, self.caller.folders)
        told = {
            "jobs": dict.fromkeys(map(str, JobState), 0) | counted,
            "unfinished": folder_queries.unfinished(database, self.caller.folders),
            "paused_since": switches.paused_since(database),
            "folders": self.folders(),
        }
        return with_moments(told, "paused_since")

    def folders(self) -> list[dict[str, Any]]:
        """The watched folders; to a caller who is limited to folders, which of these are watched."""
        roots = list_roots(self.context.database)
        if self.caller.folders is None:
            return [*map(fleet_status.folder_document, roots)]
        return [*self._own_folders(self.caller.folders, roots)]

    def _own_folders(self, folders: Sequence[str], roots: Sequence[WatchedRoot]) -> Iterator[dict[str, Any]]:
        """Without counts: those of a watched folder count the recordings of others beside them."""
        for root in roots:
            for folder in folders:
                if is_below(folder, root.path) or is_below(root.path, folder):
                    yield {"path": max(folder, root.path, key=len), "host": root.host, "online": root.online}

    def upload_folders(self) -> list[str]:
        """The watched folders into which recordings can be put now, or those of the caller's in them."""
        here = {root.path for root in of_host(socket.gethostname(), list_roots(self.context.database)) if root.online}
        return [
            one["path"] for one in self.folders() if one["online"] and any(is_below(one["path"], at) for at in here)
        ]

    def untold(self, limit: int) -> list[Untold]:
        """The newest notifications that nobody has got; of their receivers only the hosts."""
        found = folder_queries.untold(self.context.database, self.caller.folders, limit=limit)
        return [replace(one, delivery=replace(one.delivery, url=_host(one.delivery.url))) for one in found]

    def settings(self) -> list[Origin]:
        """All settings with where each came from, without secrets.

        Raises ForbiddenError for those who are not admin, or limited to folders.
        """
        self.caller.require(TokenRole.ADMIN)
        self.caller.require_everywhere()
        return origins(self.context.settings)

    def workers(self) -> list[dict[str, Any]]:
        """The processes of the fleet. Raises ForbiddenError for a caller who is limited to folders."""
        self.caller.require_everywhere()
        found = list_workers(self.context.database)
        return [*map(fleet_status.worker_document, found, repeat(self._silence))]

    def voices(self) -> list[dict[str, Any]]:
        """The known voices. Raises ForbiddenError for a caller who is limited to folders."""
        self.caller.require_everywhere()
        return [*map(voices.document, known(self.context.database))]

    def moment(self) -> Moment:
        """Up to where events go now; it says how much happens, but not to what."""
        return moment_of(self.context.database)

    def happened(self, after: int) -> EventBatch:
        """The events with a number above `after`."""
        return self.happenings.since(after, self.caller.folders)

    def upload_place(self, folder: str, name: str) -> UploadPlace:
        """Where a recording may be put.

        Raises ForbiddenError for a folder that is not theirs or not watched, FolderOfflineError where it is offline
        or watched from another machine, UsageError if it is not a name.
        """
        watched = [root for root in list_roots(self.context.database) if is_below(folder, root.path)]
        if not watched or not self.caller.sees(folder) or is_in_bucket(folder):
            raise ForbiddenError(f"recordings cannot be put into {folder}", remedy="see GET /api/v1/folders")
        place = uploads.place(max(map(attrgetter("path"), watched), key=len), folder, name)
        # Where a share is away, its place may be a folder of the disk below, in which nobody would find the recording.
        if place.root not in {root.path for root in of_host(socket.gethostname(), watched) if root.online}:
            raise FolderOfflineError(
                f"{place.root} is offline, or watched from another machine", remedy="try again when it is back"
            )
        return place

    def waiting(self) -> int:
        """How many recordings in the caller's folders are not over."""
        return folder_queries.unfinished(self.context.database, self.caller.folders)


def _next(page: Page[Job]) -> str | None:
    """Where the page after this one begins; None on the last."""
    if not page.is_cut:
        return None
    last = page.shown[-1]
    return f"{last.created_at!r},{last.id}"


def _anonymous(event: Event) -> Event:
    """An event without what it says of recordings of others."""
    return replace(event, detail="") if event.kind in OF_OTHERS else event


def _discreet(job: Job, document: dict[str, Any], seen: Collection[str | None]) -> dict[str, Any]:
    """The document of a job or transcript, without another recording where that is not among the `seen`."""
    if job.duplicate_of in seen:
        return document
    hidden = {"duplicate_of": None, "reason": _discreet_note(job.reason)} if "duplicate_of" in document else {}
    return document | {"notes": [*map(_discreet_note, document["notes"])]} | hidden


def _hosts_alone(document: dict[str, Any]) -> dict[str, Any]:
    """The document of a job, with the hosts alone of those who are notified: the rest of an address may be a secret."""
    overrides = {key: _host(value) if key == "notify" else value for key, value in document["overrides"].items()}
    if "notifications" not in document:
        return document | {"overrides": overrides}
    told = [one | {"url": _host(one["url"])} for one in document["notifications"]]
    return document | {"overrides": overrides, "notifications": told}


def _host(url: str) -> str:
    """The host in an address; empty where there is none.

    >>> _host("https://hooks.example/T0/secret")
    'hooks.example'
    """
    return urlsplit(url).hostname or ""


def _discreet_note(note: str) -> str:
    """A note without the name of a recording of others.

    >>> _discreet_note("the sound tracks 1, 2 were transcribed together")
    'the sound tracks 1, 2 were transcribed together'
    """
    return ELSEWHERE if note.startswith("same content as ") else note
