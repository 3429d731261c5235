"""`dropscribe export`: finished transcripts in any format, from the store; what the workers wrote is left alone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TypeVar

from rich.progress import track

from dropscribe.admin.context import Context
from dropscribe.admin.state.job_lookup import below, find
from dropscribe.admin.state.transcript_documents import document_of, in_format
from dropscribe.admin.terminal import render
from dropscribe.core.access import withhold
from dropscribe.core.bucket_names import is_in_bucket
from dropscribe.core.errors import DropscribeError, JobNotFoundError, OutputError, StoreUnavailableError
from dropscribe.core.types import TRANSCRIPT_STATES
from dropscribe.store import queries, transcripts, written_files
from dropscribe.store.queries import Job
from dropscribe.worker.finishing import placement
from dropscribe.worker.finishing.destination import Destination, copies, destination, of_copy

COMBINED = "dropscribe.transcripts/1"  # the schema of a file that holds several
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be written: in which format, under which folder (None: where workers write), over what is there?"""

    format: str
    to: Path | None
    force: bool


def run(context: Context, names: Sequence[str], wanted: Wanted, *, as_json: bool) -> int:
    """Write a file for every transcript that is meant, and tell each; returns the exit code."""
    taken: set[Path] = set()
    refused: list[dict[str, str]] = []
    # As text, the paths tell how far it is.
    unseen = not (as_json and context.err.is_terminal)
    jobs = track(_meant(context, names), "exporting", console=context.err, transient=True, disable=unseen)
    written = []
    for job, path in _each(context, jobs, lambda job: _export(context, job, wanted, taken), refused):
        written.append({"job": job.id, "path": str(path)})
        if not as_json:
            context.say(str(path))
    if as_json:
        render.write_json({"files": written, "refused": refused})
    return int(bool(refused))


def combine(context: Context, names: Sequence[str], target: Path, *, force: bool, as_json: bool) -> int:
    """Write the transcripts that are meant into one JSON file, by path; returns the exit code.

    Raises OutputError where something else has the file's name, DropscribeError where there is no transcript at all.
    """
    refused: list[dict[str, str]] = []
    found = list(_each(context, _meant(context, names), lambda job: document_of(context.database, job), refused))
    if not found:
        raise DropscribeError("none of these has a transcript", remedy="see `dropscribe jobs`")
    together = {"schema": COMBINED, "transcripts": [json.loads(document) for _, document in found]}
    _put(
        context,
        target,
        (json.dumps(together, ensure_ascii=False, indent=1) + "\n").encode(),
        "combined",
        of_copy(target),
        force=force,
    )
    files = [{"job": job.id, "path": str(target)} for job, _ in found]
    context.answer(
        lambda: {"files": files, "refused": refused},
        lambda: context.say(f"{target}: {render.count(len(found), 'transcript')}"),
        as_json=as_json,
    )
    return int(bool(refused))


def _each(
    context: Context, jobs: Iterable[Job], act: Callable[[Job], T], refused: list[dict[str, str]]
) -> Iterator[tuple[Job, T]]:
    """What comes of each job; one that is not available is reported, and added to `refused`."""
    for job in jobs:
        try:
            found = act(job)
        except StoreUnavailableError:
            raise
        except DropscribeError as error:
            context.complain(error)
            refused.append({"job": job.id, "reason": str(error)})
        else:
            yield job, found


def _meant(context: Context, names: Sequence[str]) -> list[Job]:
    """The jobs that are named, and those of the folders, each once."""
    found = chain.from_iterable(map(partial(_named, context), names))
    return list({job.id: job for job in found}.values())


def _named(context: Context, name: str) -> Iterator[Job]:
    """The job, or the newest transcript of every recording in the folder, by path."""
    folder = Path(name)
    if not folder.expanduser().is_dir():
        try:
            meant = find(context.database, name)
        except JobNotFoundError:
            if not is_in_bucket(name):  # where nothing but the store tells a folder from a recording
                raise
        else:
            yield queries.job(context.database, meant)
            return
    newest_first = queries.list_jobs(context.database, states=TRANSCRIPT_STATES, folder=below(folder))
    newest = {job.source: job for job in reversed(newest_first)}
    if not newest:
        raise DropscribeError(
            f"no recording in {below(folder)} has a transcript", remedy="see `dropscribe jobs --folder`"
        )
    yield from (newest[source] for source in sorted(newest))


def _export(context: Context, job: Job, wanted: Wanted, taken: set[Path]) -> Path:
    """Raises OutputError where something else has the name, DropscribeError for a job without a transcript."""
    document = document_of(context.database, job)
    with copies(job, wanted.to) if wanted.to else destination(job, context.settings) as there:
        target = _target(context, job, wanted, there, taken)
        taken.add(target)
        _put(context, target, in_format(job, document, wanted.format, there.folder), job.id, there, force=wanted.force)
    return target


def _put(context: Context, target: Path, data: bytes, owner: str, place: Destination, *, force: bool) -> None:
    """Write a file unless it is there already. Raises OutputError where something else has its name."""
    there = placement.digest(place.at(target))
    if there == hashlib.sha256(data).hexdigest():
        return
    if there is not None and written_files.file_at(context.database, str(target)):
        raise OutputError(f"{target} is written only by workers", remedy="name another directory with --to")
    if there is not None and not force:
        raise OutputError(
            f"{target} exists and has other content", remedy="replace it with --force, or name a directory with --to"
        )
    doubt = context.doubt_of(target) if place.is_asked_for else withhold
    placement.write(place.at(target), data, owner, place.readers, replaces=force, doubt=doubt)


def _target(context: Context, job: Job, wanted: Wanted, there: Destination, taken: set[Path]) -> Path:
    """The first of the usual names that no other recording has: in this run, or by what the workers wrote."""
    *shorter, own = placement.candidates(Path(job.source), wanted.format, job.id, there.folder)
    return next((path for path in shorter if path not in taken and not _is_others(context, job, path)), own)


def _is_others(context: Context, job: Job, path: Path) -> bool:
    """Is the path one of another recording's transcript?"""
    recorded = written_files.file_at(context.database, str(path))
    return recorded is not None and not transcripts.same_recording(context.database, recorded.job_id, job.id)
