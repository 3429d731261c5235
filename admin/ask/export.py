"""`dropscribe export`: finished transcripts in any format, from the store; what the workers wrote is left alone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from rich.progress import track

from dropscribe.admin.context import Context
from dropscribe.admin.state.job_lookup import find
from dropscribe.admin.state.transcript_documents import document_of, in_format
from dropscribe.admin.terminal import render
from dropscribe.core.errors import DropscribeError, OutputError, StoreUnavailableError
from dropscribe.core.types import TRANSCRIPT_STATES
from dropscribe.store import queries, transcripts
from dropscribe.store.queries import Job
from dropscribe.worker.finishing import placement

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
    return 1 if refused else 0


def combine(context: Context, names: Sequence[str], target: Path, *, force: bool, as_json: bool) -> int:
    """Write the transcripts that are meant into one JSON file, by path; returns the exit code.

    Raises OutputError where something else has the file's name, DropscribeError where there is no transcript at all.
    """
    refused: list[dict[str, str]] = []
    found = list(_each(context, _meant(context, names), lambda job: document_of(context.database, job), refused))
    if not found:
        raise DropscribeError("none of these has a transcript", remedy="see `dropscribe jobs`")
    together = {"schema": COMBINED, "transcripts": [json.loads(document) for _, document in found]}
    _put(context, target, (json.dumps(together, ensure_ascii=False, indent=1) + "\n").encode(), "combined", force=force)
    files = [{"job": job.id, "path": str(target)} for job, _ in found]
    context.answer(
        lambda: {"files": files, "refused": refused},
        lambda: context.say(f"{target}: {render.count(len(found), 'transcript')}"),
        as_json=as_json,
    )
    return 1 if refused else 0


def _each(
    context: Context, jobs: Iterable[Job], act: Callable[[Job], T], refused: list[dict[str, str]]
) -> Iterator[tuple[Job, T]]:
    """What comes of each job; one that cannot be had is said, and added to `refused`."""
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
    found = (job for name in names for job in _named(context, name))
    return list({job.id: job for job in found}.values())


def _named(context: Context, name: str) -> Iterator[Job]:
    """The job, or the newest transcript of every recording in the folder, by path."""
    folder = Path(name).expanduser()
    if not folder.is_dir():
        yield queries.job(context.database, find(context.database, name))
        return
    newest_first = queries.list_jobs(context.database, states=TRANSCRIPT_STATES, folder=str(folder.resolve()))
    newest = {job.source: job for job in reversed(newest_first)}
    if not newest:
        raise DropscribeError(f"no recording in {folder} has a transcript", remedy="see `dropscribe jobs --folder`")
    yield from (newest[source] for source in sorted(newest))


def _export(context: Context, job: Job, wanted: Wanted, taken: set[Path]) -> Path:
    """Raises OutputError where something else has the name, DropscribeError for a job without a transcript."""
    document = document_of(context.database, job)
    target = _target(context, job, wanted, taken)
    taken.add(target)
    _put(context, target, in_format(job, document, wanted.format, target.parent), job.id, force=wanted.force)
    return target


def _put(context: Context, target: Path, data: bytes, owner: str, *, force: bool) -> None:
    """Write a file unless it is there already. Raises OutputError where something else has its name."""
    there = placement.digest(target)
    if there == hashlib.sha256(data).hexdigest():
        return
    if there is not None and transcripts.file_at(context.database, str(target)):
        raise OutputError(f"{target} is the workers' own to write", remedy="name another directory with --to")
    if there is not None and not force:
        raise OutputError(
            f"{target} exists and is something else", remedy="replace it with --force, or name a directory with --to"
        )
    placement.write(target, data, owner, replaces=force)


def _target(context: Context, job: Job, wanted: Wanted, taken: set[Path]) -> Path:
    """The first of the usual names that no other recording has: in this run, or by what the workers wrote."""
    folder = placement.mirrored(job, wanted.to) if wanted.to else placement.folder_of(job, context.settings.results)
    *shorter, own = placement.candidates(Path(job.source), wanted.format, job.id, folder)
    return next((path for path in shorter if path not in taken and not _is_others(context, job, path)), own)


def _is_others(context: Context, job: Job, path: Path) -> bool:
    recorded = transcripts.file_at(context.database, str(path))
    return recorded is not None and not transcripts.same_recording(context.database, recorded.job_id, job.id)
