"""`dropscribe forget`: what was said in a recording goes from the store, and with `--outputs` its files go too."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from operator import attrgetter
from pathlib import Path
from typing import Any

from rich.console import RenderableType

from dropscribe.admin.context import Context
from dropscribe.admin.state.job_lookup import below, find, typed_paths
from dropscribe.admin.terminal import moments, render
from dropscribe.admin.terminal.progress import busy, track
from dropscribe.core.bucket_names import is_in_bucket
from dropscribe.core.clock import with_moments
from dropscribe.core.errors import BucketAwayError, OtherFolderError, UsageError
from dropscribe.core.settings import Settings
from dropscribe.core.types import JobState
from dropscribe.store import forget as store_forget
from dropscribe.store import queries, scrubbing, written_files
from dropscribe.store.queries import Job

AT_ONCE = 20  # jobs forgotten in one transaction, so that workers are not kept waiting
KEPT, REMOVED, EDITED, GONE = "kept", "removed", "kept: edited since", "not there"
UNREACHABLE = "not reachable"  # its folder is gone, or another one: whether the file is there is not known


@dataclass(frozen=True, slots=True)
class Deletion:
    """A job to forget: how many rows it has, and what is done with its files, by path."""

    job: Job
    rows: int
    actions: dict[str, str]

    @property
    def is_possible(self) -> bool:
        """False where a file may be there that the store alone knows of."""
        return UNREACHABLE not in self.actions.values()

    def to_json(self) -> dict[str, Any]:
        """As docs/cli.md describes it."""
        told = {
            "id": self.job.id,
            "source": self.job.source,
            "state": self.job.state,
            "finished_at": self.job.finished_at,
            "rows": self.rows,
            "files": [{"path": path, "fate": action} for path, action in self.actions.items()],
        }
        return with_moments(told, "finished_at")

    def remove_files(self, settings: Settings) -> None:
        """Remove those that are to go. Raises OutputError."""
        from dropscribe.worker.finishing.bucket_place import remove_objects
        from dropscribe.worker.finishing.destination import written

        removed = [path for path, action in self.actions.items() if action == REMOVED]
        if is_in_bucket(self.job.root):
            remove_objects(self.job, settings, removed)
            return
        for path in removed:
            with written(self.job, Path(path), settings) as way:
                way.unlink(missing_ok=True)


def forget(
    context: Context,
    names: Sequence[str],
    *,
    states: Sequence[JobState],
    older_than: str | None,
    folder: Path | None,
    outputs: bool,
    yes: bool,
    as_json: bool,
) -> int:
    """Show what would go; with `yes`, have it gone; returns the exit code. Raises UsageError for jobs under way."""
    over = Over(states, older_than, folder)
    if bool(names) == any((states, older_than, folder)):
        raise UsageError("name the jobs, or choose them by --state, --older-than and --folder")
    chosen = _named(context, names) if names else over.jobs(context)
    deletions = [_deletion(context, job, outputs=outputs) for job in track(context.err, "looking", chosen)]
    possible = [one for one in deletions if one.is_possible]
    if yes:
        _remove(context, possible)
    context.answer(
        lambda: {"forgotten": yes, "jobs": [*map(Deletion.to_json, deletions)]},
        lambda: _show(context, deletions, len(possible), done=yes),
        as_json=as_json,
    )
    for one in deletions:
        _say_kept(context, one)
    return 1 if yes and len(possible) < len(deletions) else 0


def _say_kept(context: Context, deletion: Deletion) -> None:
    """Say why a job stays in the store, if it does."""
    if not deletion.is_possible:
        refusal = OtherFolderError(
            f"{deletion.job.id} stays in the store, because its transcript files cannot be reached",
            remedy="bring back the folder of its recording, or its bucket, or leave out --outputs",
        )
        context.complain(refusal)


@dataclass(frozen=True, slots=True)
class Over:
    """Jobs that are over, by what people say of them."""

    states: Sequence[JobState]
    older_than: str | None
    folder: Path | None

    def jobs(self, context: Context) -> list[Job]:
        """Those that the store has. Raises UsageError for no stretch of time."""
        before = context.database.clock() - moments.span(self.older_than) if self.older_than else None
        under = below(self.folder)
        found = queries.list_jobs(context.database, states=self.states, folder=under, ended_before=before)
        return [job for job in found if job.state.is_final]


def _named(context: Context, names: Sequence[str]) -> list[Job]:
    """The jobs that are named, each once. Raises UsageError for one that is not over."""
    chosen = {job.id: job for job in chain.from_iterable(map(partial(_meant, context), names))}
    for job in chosen.values():
        if not job.state.is_final:
            raise UsageError(f"{job.id} is {job.state}", remedy=f"`dropscribe cancel {job.id}` first, then forget it")
    return [*chosen.values()]


def _meant(context: Context, name: str) -> list[Job]:
    """A path or a name means all jobs of that recording, an id one job."""
    for path in typed_paths(name):
        if of_path := queries.list_jobs(context.database, path=str(path)):
            return of_path
    job = queries.job(context.database, find(context.database, name))
    return [job] if job.id.startswith(name.lower()) else queries.list_jobs(context.database, path=job.source)


def _deletion(context: Context, job: Job, *, outputs: bool) -> Deletion:
    """What forgetting a job would remove; with `outputs`, also what becomes of its files."""
    files = written_files.files_of(context.database, job.id)
    actions = {file.path: _action_for(context, job, file) if outputs else KEPT for file in files}
    return Deletion(job, store_forget.rows_of(context.database, job.id), actions)


def _action_for(context: Context, job: Job, file: written_files.WrittenFile) -> str:
    """What becomes of a file; one whose folder is another by now may be there, where that folder is."""
    from dropscribe.worker.finishing import placement
    from dropscribe.worker.finishing.bucket_place import BucketPlace
    from dropscribe.worker.finishing.destination import written

    try:
        if is_in_bucket(job.root):
            digest = BucketPlace(job, context.settings).digest(file.path)
        else:
            with written(job, Path(file.path), context.settings) as way:
                digest = placement.digest(way)
    except (OtherFolderError, BucketAwayError):
        return UNREACHABLE
    return GONE if digest is None else REMOVED if digest == file.sha256 else EDITED


def _remove(context: Context, deletions: Sequence[Deletion]) -> None:
    """Files go first: after a crash in between, the store still knows which they were."""
    batches = [deletions[first : first + AT_ONCE] for first in range(0, len(deletions), AT_ONCE)]
    for batch in track(context.err, "forgetting", batches):
        for deletion in batch:
            deletion.remove_files(context.settings)
        store_forget.forget(context.database, [*map(attrgetter("job.id"), batch)])
    if deletions:
        scrub(context)


def scrub(context: Context) -> None:
    """Overwrite what was removed from the store; say that it comes later, where somebody reads the store."""
    with busy(context.err, "overwriting removed data"):
        gone = scrubbing.scrub(context.database)
    if not gone:
        context.note("somebody reads the store; the scheduler overwrites the removed data later")


def _show(context: Context, deletions: Sequence[Deletion], possible: int, *, done: bool) -> None:
    """The jobs as a table, and what was done or would be."""
    if not deletions:
        context.out.print("no such jobs")
        return
    columns = ("id", "state", "ended", "rows", "files", "recording")
    context.out.print(render.table(*columns, rows=map(_row, deletions), whole=("id", "state"), right=("rows",)))
    number = render.count(possible, "job")
    context.out.print(f"{number} forgotten" if done else f"nothing was removed yet; --yes forgets {number}")


def _row(deletion: Deletion) -> list[RenderableType]:
    """The cells of a job that is to be forgotten, and what becomes of its files."""
    actions = Counter(deletion.actions.values())
    return [
        deletion.job.id,
        render.phase(deletion.job.phase),
        render.moment(deletion.job.finished_at),
        f"{deletion.rows:,}",
        ", ".join(f"{number} {action}" for action, number in actions.items()),
        render.safe(deletion.job.source),
    ]
