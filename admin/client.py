"""dropscribe from Python: submit recordings to a fleet, wait for them, and take their transcripts.

    from dropscribe import Client

    with Client() as client:
        job = client.submit("talk.wav")
        job = client.wait(job, timeout=3600)
        for segment in client.transcript(job).segments:
            print(segment.start, segment.speaker, segment.text)

Settings are those of every other process: environment and `dropscribe.toml`. Workers must run somewhere, and see the
recording at the same path. `Client("https://...", token=...)` asks a server instead, with the same methods, and sends
it the recording. Methods may be called from many threads; asyncio waits by `await asyncio.to_thread(client.wait, job)`.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from functools import cached_property
from itertools import chain, filterfalse
from operator import attrgetter
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypedDict, TypeVar, Unpack, cast

from dropscribe.admin.context import EmbeddedContext
from dropscribe.admin.state.accounts import own_account
from dropscribe.admin.state.job_lookup import below, find
from dropscribe.admin.state.job_parsing import from_document, revision_of
from dropscribe.admin.state.transcript_documents import document_of
from dropscribe.core import corrections
from dropscribe.core.corrections import Edit
from dropscribe.core.error_translation import explained
from dropscribe.core.errors import (
    DropscribeError,
    FolderOfflineError,
    JobNotFoundError,
    StoreUnavailableError,
    TooManyError,
    UsageError,
)
from dropscribe.core.hotwords import context_text, read_file
from dropscribe.core.mappings import said
from dropscribe.core.routing import PREPARE
from dropscribe.core.settings import Settings
from dropscribe.core.settings_loading import load
from dropscribe.core.types import JobPhase, JobState, Priority, Speaker, Transcript
from dropscribe.scheduler.watching import submission
from dropscribe.store import commands, queries, revisions, search, written_files
from dropscribe.store.queries import Job
from dropscribe.store.revisions import Revision
from dropscribe.store.search import Hit
from dropscribe.store.session import open_database
from dropscribe.store.written_files import WrittenFile
from dropscribe.worker.outputs import json_

if TYPE_CHECKING:
    from dropscribe.admin.act.step_sender import StepSender
    from dropscribe.core.queue import Doorbell

POLL_SECONDS = 0.5
WEB = ("http://", "https://")  # with which the address of a server begins
API = "/api/v1"
MOST = 500  # jobs that a server lists at once
AWAY = frozenset({502, 503, 504})  # what a proxy answers without its server, and a server that has too much to do
Named = TypeVar("Named", bound=StrEnum)
_is_over = attrgetter("state.is_final")  # of a job
ASK_SECONDS = 60.0  # in which a server answers


class JobSettings(TypedDict, total=False):
    """Settings that one recording may have for itself, besides its priority and its context; None: the current ones."""

    language: str | None
    outputs: Sequence[str] | None
    engine: str | None
    precision: str | None
    model: str | None
    chunk_seconds: float | None
    speakers: str | int | None
    channels: str | None
    tracks: str | int | None
    task: str | None


def _require_known(own: Collection[str]) -> None:
    """Raise UsageError for a setting that no recording has for itself."""
    if unknown := ", ".join({*own} - JobSettings.__annotations__.keys()):
        raise UsageError(
            f"a recording has no setting {unknown} for itself",
            remedy=f"it may have {', '.join(JobSettings.__annotations__)}, priority, context and hotwords",
        )


def _id_of(job: Job | str) -> str:
    """The id of a job, which may be given as such.

    >>> _id_of("k3v9")
    'k3v9'
    """
    return job if isinstance(job, str) else job.id


def _pause(waiting: str, began: float, timeout: float | None) -> None:
    """Wait a little for a job to end. Raises TimeoutError `timeout` seconds after `began`, by the monotonic clock."""
    if timeout is not None and time.monotonic() - began >= timeout:
        raise TimeoutError(f"{waiting} after {timeout:.0f} s; it goes on, wait again")
    time.sleep(POLL_SECONDS)


def _named(kind: type[Named], text: str, what: str = "priority") -> Named:
    """The one that is called so. Raises UsageError, which says what it would be, where there is none.

    >>> _named(Priority, "high").value
    'high'
    """
    if text not in [*kind]:
        raise UsageError(f"there is no {what} {text!r}", remedy=f"take one of {', '.join(kind)}")
    return kind(text)


class Client:
    """A connection to the store and to Redis, or to a server; close it, or use it in a `with` block."""

    def __new__(cls, settings: Settings | str | None = None, *, token: str | None = None) -> Self:  # noqa: ARG004
        """One for a server where the address of one is given."""
        is_server = isinstance(settings, str) and settings.startswith(WEB)
        return super().__new__(cast(type[Self], HttpClient) if is_server and cls is Client else cls)

    def __init__(self, settings: Settings | str | None = None, *, token: str | None = None) -> None:
        """Takes settings, the URL of the database (all else from the environment), or everything from there.

        Or the address of a server, and the token to show there; on its own machine its own user needs none.
        Raises SettingsError, or StoreError where no `dropscribe up`, `watch` or `worker` has made the tables.
        """
        if token is not None:
            raise UsageError("a token is for a server", remedy='give its address, such as "https://..."')
        if not isinstance(settings, Settings):
            settings = load(overrides={"database_url": settings})
            for remark in settings.remarks:
                warnings.warn(remark, FutureWarning, stacklevel=2)
        self._settings = settings
        self._database = open_database(settings.database, where="client", migrate=False)

    @cached_property
    def _doorbell(self) -> Doorbell:
        """The way to Redis, which only a submission takes: anyone who asks need not wait for Celery to be imported."""
        from dropscribe.core.queue import Doorbell

        return Doorbell(self._settings)

    def submit(
        self,
        path: str | Path,
        *,
        priority: Priority | str | None = None,
        context: str | None = None,
        hotwords: str | Path | None = None,
        **own: Unpack[JobSettings],
    ) -> Job:
        """Admit a recording; `context` are names and topics, `hotwords` a file of terms. Returns its job.

        `own` are settings of this recording alone, as `dropscribe submit` has them for options: `language="de"`.
        One that was admitted before with the same settings has its job already, which gets the `priority` while it is
        not over. A Redis that is away only delays.
        Raises UsageError if it is not a recording, and for a priority that there is not; SettingsError for a setting
        that does not fit, and for a checkpoint that is not in the setting `folder_models`.
        """
        urgency = None if priority is None else _named(Priority, priority)
        _require_known(own)
        terms = Path(hotwords) if hotwords is not None else None
        (wanted,) = submission.recordings(
            self._database,
            self._settings,
            [Path(path)],
            priority=urgency,
            topic=context,
            hotwords=terms,
            own=said(own),
        )
        job_id, is_new = submission.enter(self._database, wanted, urgency)
        if is_new:
            with self._doorbell.best_effort():
                self._doorbell.ring(PREPARE, job_id, wanted.priority)
        return queries.job(self._database, job_id)

    def set_priority(self, job: Job | str, priority: Priority | str) -> Job:
        """Let a job that is not over go before or after others: `"high"`, `"normal"`, `"low"`. Returns the job.

        Raises UsageError for a priority that there is not, DropscribeError for a job that is over.
        """
        commands.set_priority(self._database, _id_of(job), _named(Priority, priority))
        return self._now(_id_of(job))

    def job(self, name: str | Path) -> Job:
        """The job as it is now, by its id, the start of one, or its recording's path or name (the newest of that file).

        Raises JobNotFoundError or AmbiguousJobError.
        """
        return queries.job(self._database, find(self._database, str(name)))

    def wait(self, job: Job | str, timeout: float | None = None) -> Job:
        """Wait until the job is in a final state, for at most `timeout` seconds; returns it as it is then.

        Look at its `state`: a job that failed raises nothing. Raises TimeoutError; the job goes on nevertheless.
        """
        return next(self.as_ended([job], timeout))

    def as_ended(self, jobs: Iterable[Job | str], timeout: float | None = None) -> Iterator[Job]:
        """Each of the jobs as it is in a final state, in the order in which they come to one.

        A store or a server that does not answer just now is asked again. Raises TimeoutError after `timeout` seconds,
        if some are left; these go on nevertheless.
        """
        left = [*dict.fromkeys(map(_id_of, jobs))]
        began = time.monotonic()
        while left:
            found = self._if_reached(left)
            yield from filter(_is_over, found)
            waiting = [*filterfalse(_is_over, found)]
            left = [*map(attrgetter("id"), waiting)] if found else left
            if left:
                told = f"{left[0]} is still {waiting[0].state}" if waiting else f"{left[0]} could not be asked for"
                _pause(told, began, timeout)

    def _if_reached(self, ids: Sequence[str]) -> list[Job]:
        """The jobs as they are now, in this order; none where nobody answers just now. Raises JobNotFoundError."""
        try:
            found = {job.id: job for job in self._all_now(ids)}
        except (StoreUnavailableError, TooManyError):
            return []
        for gone in (one for one in ids if one not in found):
            raise JobNotFoundError(f"there is no job {gone}", remedy="`jobs` lists them")
        return [found[one] for one in ids]

    def _all_now(self, ids: Sequence[str]) -> list[Job]:
        """The jobs as they are, by their whole ids; those that are gone are left out."""
        return queries.list_jobs(self._database, ids=ids)

    def jobs(self, *, states: Collection[str] = (), folder: str | Path | None = None, limit: int = 50) -> list[Job]:
        """The newest `limit` jobs in one of these states, as `dropscribe jobs --state` has them, below the folder.

        Raises UsageError for a state that there is not.
        """
        return queries.list_jobs(
            self._database,
            states=[JobState.QUEUED] if JobState.QUEUED in states else [],
            phases=[_named(JobPhase, one, "state") for one in states if one != JobState.QUEUED],
            folder=below(Path(folder)) if folder else None,
            limit=limit,
        )

    def cancel(self, job: Job | str) -> Job:
        """Cancel the job: at once, or as soon as its worker notices. Raises DropscribeError for one that is over."""
        from dropscribe.admin.act.change import cancel_job

        cancel_job(self._steps(), _id_of(job))
        return self._now(_id_of(job))

    def retry(self, job: Job | str) -> Job:
        """Give a failed, parked, cancelled or suspect job another chance. Raises DropscribeError for any other."""
        from dropscribe.admin.act.change import retry_job

        retry_job(self._steps(), _id_of(job))
        return self._now(_id_of(job))

    def _steps(self) -> StepSender:
        """Sends the next steps of jobs to the workers."""
        from dropscribe.admin.act.step_sender import StepSender

        return StepSender(self._embedded())

    def _embedded(self) -> EmbeddedContext:
        """What commands act with: this store, and this way to the workers."""
        context = EmbeddedContext(self._settings, self._database)
        context.doorbell = self._doorbell
        return context

    def files(self, job: Job | str) -> list[WrittenFile]:
        """The transcript files that were written for the job, or are about to be."""
        return written_files.files_of(self._database, _id_of(job))

    def search(
        self,
        text: str,
        *,
        speaker: str = "",
        since: str | None = None,
        until: str | None = None,
        folder: str | Path | None = None,
        limit: int = 50,
    ) -> list[Hit]:
        """Where something was said, as `dropscribe search` finds it. Raises UsageError."""
        from dropscribe.admin.ask.search import query_of

        query = query_of(text, speaker, since, until, below(Path(folder)) if folder else None)
        return search.find(self._database, query, limit=limit)

    def speakers(self, job: Job | str) -> tuple[Speaker, ...]:
        """Who speaks in the recording, as people said by now. Raises DropscribeError without a transcript."""
        from dropscribe.admin.act.speakers import people_of

        return people_of(self._database, self._now(_id_of(job)))[1]

    def revisions(self, job: Job | str) -> list[Revision]:
        """What people corrected in its transcript, in order. Raises JobNotFoundError."""
        return revisions.listing(self._database, self._now(_id_of(job)).id)

    def correct(self, job: Job | str, edits: Sequence[Edit], *, revision: int | None = None) -> int:
        """Correct its transcript, one edit after the other, and have its files written again.

        `revision` is the number of the last one that was seen: where somebody else has corrected it since, nothing is
        done. Returns the number of the new one. Raises EditConflictError, UsageError for edits that do not fit,
        DropscribeError without a transcript.
        """
        from dropscribe.admin.act.correct import correct

        found = self._now(_id_of(job))
        return correct(self._embedded(), found, edits, own_account(), expected=revision)

    def undo(self, job: Job | str, *, revision: int | None = None) -> int:
        """Take the last correction back that is not taken back yet, as `correct` does. Returns the new number."""
        from dropscribe.admin.act.correct import undo

        return undo(self._embedded(), self._now(_id_of(job)), own_account(), expected=revision)

    def _now(self, job_id: str) -> Job:
        """The job as it is, by its whole id. Raises JobNotFoundError."""
        return queries.job(self._database, job_id)

    def transcript(self, job: Job | str) -> Transcript:
        """The finished transcript. Raises DropscribeError where the job has none."""
        return json_.from_json(document_of(self._database, self._now(_id_of(job))))

    def close(self) -> None:
        """Close all connections."""
        if "_doorbell" in self.__dict__:
            self._doorbell.close()
        self._database.close()

    def __enter__(self) -> Self:
        """For `with`."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """See `close`."""
        self.close()


class HttpClient(Client):
    """The same by a server: see `Client`. `submit` sends the recording into a watched folder of that machine."""

    def __init__(self, settings: Settings | str | None = None, *, token: str | None = None) -> None:
        """Takes the address of the server, such as `https://transcripts.example`, and a token. Asks nothing yet."""
        import httpx2

        headers = {"Authorization": f"Bearer {token}"} if token else {}
        address = str(settings).rstrip("/") + API
        self._http = httpx2.Client(base_url=address, headers=headers, timeout=ASK_SECONDS)
        self._address = address

    def _ask(self, method: str, path: str, **request: Any) -> Any:
        """The server's response. Raises the error that it tells, StoreUnavailableError where it does not answer."""
        import httpx2

        away = f"the server at {self._address} does not answer"
        with explained(httpx2.HTTPError, StoreUnavailableError, away, remedy="start `dropscribe serve` there"):
            answered = self._http.request(method, path, **request)
        if answered.is_error:
            raise _error_of(answered)
        return answered

    def _document(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        """The server's answer to a request, from JSON."""
        found: dict[str, Any] = self._ask(method, path, **request).json()
        return found

    def submit(
        self,
        path: str | Path,
        *,
        priority: Priority | str | None = None,
        context: str | None = None,
        hotwords: str | Path | None = None,
        folder: str | None = None,
        **own: Unpack[JobSettings],
    ) -> Job:
        """Send a recording into `folder`, by default the first that is online. Returns its job.

        Raises as `Client.submit` does; NameTakenError where that folder has a file of this name, FolderOfflineError.
        """
        _require_known(own)
        terms = read_file(Path(hotwords)) if hotwords is not None else ()
        text = None if context is None and not terms else context_text(context or "", terms)
        asked = {
            "folder": folder or self._first_folder(),
            "name": Path(path).name,
            "priority": None if priority is None else _named(Priority, priority),
            "context": text,
            **{name: ",".join(value) if isinstance(value, list | tuple) else value for name, value in own.items()},
        }
        with Path(path).open("rb") as file:
            return from_document(self._document("POST", "/recordings", params=said(asked), content=file))

    def _first_folder(self) -> str:
        """The first that is online. Raises UsageError where none is watched, FolderOfflineError where all are away."""
        watched = self._document("GET", "/folders")["folders"]
        if not watched:
            raise UsageError("the server watches no folder", remedy="start `dropscribe up FOLDER` there")
        online = [str(found["path"]) for found in watched if found["online"]]
        if not online:
            raise FolderOfflineError("no folder of the server is online", remedy="try again when one is back")
        return online[0]

    def set_priority(self, job: Job | str, priority: Priority | str) -> Job:
        """See `Client.set_priority`."""
        wanted = {"priority": _named(Priority, priority)}
        return from_document(self._document("PUT", f"/recordings/{_id_of(job)}/priority", json=wanted))

    def job(self, name: str | Path) -> Job:
        """The job as it is now, by its whole id, or the newest of a recording by its path on the server's machine."""
        if "/" not in str(name):
            return self._now(str(name))
        found = self._document("GET", "/recordings", params={"path": str(name), "limit": 1})["jobs"]
        if not found:
            raise JobNotFoundError(f"no job has the path {name}", remedy="`jobs` lists them")
        return from_document(found[0])

    def jobs(self, *, states: Collection[str] = (), folder: str | Path | None = None, limit: int = 50) -> list[Job]:
        """See `Client.jobs`; `folder` is a path on the server's machine, and `limit` 500 at most."""
        asked = said({"state": [*states], "folder": str(folder) if folder else None, "limit": limit})
        return [*map(from_document, self._document("GET", "/recordings", params=asked)["jobs"])]

    def cancel(self, job: Job | str) -> Job:
        """See `Client.cancel`."""
        return from_document(self._document("POST", f"/recordings/{_id_of(job)}/cancel"))

    def retry(self, job: Job | str) -> Job:
        """See `Client.retry`."""
        return from_document(self._document("POST", f"/recordings/{_id_of(job)}/retry"))

    def files(self, job: Job | str) -> list[WrittenFile]:
        """See `Client.files`; they lie on the server's machine."""
        found = self._document("GET", f"/recordings/{_id_of(job)}/files")["files"]
        return [WrittenFile(job_id=_id_of(job), **file) for file in found]

    def search(
        self,
        text: str,
        *,
        speaker: str = "",
        since: str | None = None,
        until: str | None = None,
        folder: str | Path | None = None,
        limit: int = 50,
    ) -> list[Hit]:
        """See `Client.search`; `folder` is a path on the server's machine, and `limit` 500 at most."""
        place = str(folder) if folder else None
        asked = {"q": text, "speaker": speaker, "since": since, "until": until, "folder": place, "limit": limit}
        found = self._document("GET", "/search", params=said(asked))["hits"]
        return [Hit(**{name: hit[name] for name in Hit.__dataclass_fields__}) for hit in found]

    def speakers(self, job: Job | str) -> tuple[Speaker, ...]:
        """See `Client.speakers`."""
        found = self._document("GET", f"/recordings/{_id_of(job)}/speakers")["speakers"]
        return tuple(map(_speaker, found))

    def revisions(self, job: Job | str) -> list[Revision]:
        """See `Client.revisions`."""
        found = self._document("GET", f"/recordings/{_id_of(job)}/revisions")["revisions"]
        return [*map(revision_of, found)]

    def correct(self, job: Job | str, edits: Sequence[Edit], *, revision: int | None = None) -> int:
        """See `Client.correct`."""
        return self._revise(job, "", revision, json={"edits": corrections.stored(edits, bare=True)})

    def undo(self, job: Job | str, *, revision: int | None = None) -> int:
        """See `Client.undo`."""
        return self._revise(job, "/undo", revision)

    def _revise(self, job: Job | str, what: str, revision: int | None, **request: Any) -> int:
        """The number of the revision that is made of the one that was seen, or of the last one."""
        path = f"/recordings/{_id_of(job)}/revisions"
        seen = self._document("GET", path)["revision"] if revision is None else revision
        made = self._document("POST", path + what, headers={"If-Match": f'"{seen}"'}, **request)
        return int(made["revision"])

    def transcript(self, job: Job | str) -> Transcript:
        """See `Client.transcript`."""
        return json_.from_json(self._ask("GET", f"/recordings/{_id_of(job)}/transcript").text)

    def _all_now(self, ids: Sequence[str]) -> list[Job]:
        """The jobs as they are, by their whole ids, with few requests."""
        batches = [{"id": [*ids[at : at + MOST]], "limit": MOST} for at in range(0, len(ids), MOST)]
        answered = [self._document("GET", "/recordings", params=batch)["jobs"] for batch in batches]
        return [*map(from_document, chain.from_iterable(answered))]

    def _now(self, job_id: str) -> Job:
        """The job as it is now."""
        return from_document(self._document("GET", f"/recordings/{job_id}"))

    def close(self) -> None:
        """Close all connections."""
        self._http.close()


def _speaker(document: Mapping[str, Any]) -> Speaker:
    """A speaker, from the server's document."""
    known: dict[str, Any] = {name: document[name] for name in Speaker.__dataclass_fields__}
    lists: dict[str, Any] = {name: tuple(value) for name, value in known.items() if isinstance(value, list)}
    return Speaker(**{**known, **lists})


def _error_of(answered: Any) -> DropscribeError:
    """Our error that a server answers as a problem; an answer of another program is named as such."""
    try:
        problem = answered.json()
        kind = _kinds(DropscribeError).get(problem["code"], DropscribeError)
        return kind(problem["detail"], remedy=problem["remedy"])
    except (ValueError, KeyError, TypeError):
        kind = StoreUnavailableError if answered.status_code in AWAY else DropscribeError
        return kind(f"{answered.url} answers {answered.status_code}", remedy="is it a dropscribe server?")


def _kinds(kind: type[DropscribeError]) -> dict[str, type[DropscribeError]]:
    """The kinds of errors by their codes, from this one down."""
    below_it = {code: found for one in kind.__subclasses__() for code, found in _kinds(one).items()}
    return {kind.code: kind, **below_it}
