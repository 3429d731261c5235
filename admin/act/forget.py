"""`dropscribe forget`: what was said in a recording goes from the store, and with `--outputs` its files go too."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
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
from dropscribe.core.errors import UsageError
from dropscribe.core.types import JobState
from dropscribe.store import forget as store_forget
from dropscribe.store import queries, transcripts
from dropscribe.store.queries import Job

AT_ONCE = 20  # jobs forgotten in one transaction, so that workers are not kept waiting
KEPT, REMOVED, EDITED, GONE = "kept", "removed", "kept: edited since", "not there"


@dataclass(frozen=True, slots=True)
class Deletion:
    """A job to forget: how many rows it has, and what is done with its files, by path."""

    job: Job
    rows: int
    actions: dict[str, str]

    def to_json(self) -> dict[str, Any]:
        """As docs/cli.md describes it."""
        return {
            "id": self.job.id,
            "source": self.job.source,
            "state": self.job.state,
            "finished_at": self.job.finished_at,
            "rows": self.rows,
            "files": [{"path": path, "fate": action} for path, action in self.actions.items()],
        }

    @property
    def to_remove(self) -> Iterator[Path]:
        """The files that go too."""
        return (Path(path) for path, action in self.actions.items() if action == REMOVED)


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
) -> None:
    """Show what would go; with `yes`, have it gone. Raises UsageError for jobs that are under way."""
    over = Over(states, older_than, folder)
    if bool(names) == over.is_limited:
        raise UsageError("name the jobs, or choose them by --state, --older-than and --folder")
    chosen = _named(context, names) if names else over.jobs(context)
    deletions = [_deletion(context, job, outputs=outputs) for job in track(context.err, "looking", chosen)]
    if yes:
        _remove(context, deletions)
    context.answer(
        lambda: {"forgotten": yes, "jobs": [*map(Deletion.to_json, deletions)]},
        lambda: _show(context, deletions, done=yes),
        as_json=as_json,
    )


@dataclass(frozen=True, slots=True)
class Over:
    """Jobs that are over, by what people say of them."""

    states: Sequence[JobState]
    older_than: str | None
    folder: Path | None

    @property
    def is_limited(self) -> bool:
        """True if anything is said of them."""
        return any((self.states, self.older_than, self.folder))

    def jobs(self, context: Context) -> list[Job]:
        """Those that the store has. Raises UsageError for no stretch of time."""
        before = context.database.clock() - moments.span(self.older_than) if self.older_than else None
        under = below(self.folder)
        found = queries.list_jobs(context.database, states=self.states, folder=under, ended_before=before)
        return [job for job in found if job.state.is_final]


def _named(context: Context, names: Sequence[str]) -> list[Job]:
    chosen = {job.id: job for job in chain.from_iterable(map(partial(_meant, context), names))}
    for job in chosen.values():
        _require_over(job)
    return [*chosen.values()]


def _require_over(job: Job) -> None:
    if not job.state.is_final:
        raise UsageError(f"{job.id} is {job.state}", remedy=f"`dropscribe cancel {job.id}` first, then forget it")


def _meant(context: Context, name: str) -> list[Job]:
    """A path means all jobs of that recording, an id one job."""
    for path in typed_paths(name):
        if of_path := queries.list_jobs(context.database, path=str(path)):
            return of_path
    return [queries.job(context.database, find(context.database, name))]


def _deletion(context: Context, job: Job, *, outputs: bool) -> Deletion:
    files = transcripts.files_of(context.database, job.id)
    actions = {file.path: _action_for(file) if outputs else KEPT for file in files}
    return Deletion(job, store_forget.rows_of(context.database, job.id), actions)


def _action_for(file: transcripts.WrittenFile) -> str:
    from dropscribe.worker.finishing import placement

    digest = placement.digest(Path(file.path))
    return GONE if digest is None else REMOVED if digest == file.sha256 else EDITED


def _remove(context: Context, deletions: Sequence[Deletion]) -> None:
    """Files go first: after a crash in between, the store still knows which they were."""
    batches = [deletions[first : first + AT_ONCE] for first in range(0, len(deletions), AT_ONCE)]
    for batch in track(context.err, "forgetting", batches):
        for path in chain.from_iterable(map(attrgetter("to_remove"), batch)):
            path.unlink(missing_ok=True)
        store_forget.forget(context.database, [*map(attrgetter("job.id"), batch)])
    if deletions:
        scrub(context)


def scrub(context: Context) -> None:
    """Overwrite what was removed from the store; say that it comes later, where somebody reads the store."""
    with busy(context.err, "overwriting what was removed"):
        gone = store_forget.scrub(context.database)
    if not gone:
        context.note("somebody reads the store; its file is overwritten when they are done")


def _show(context: Context, deletions: Sequence[Deletion], *, done: bool) -> None:
    if not deletions:
        context.out.print("no such jobs")
        return
    columns = ("id", "state", "ended", "rows", "files", "recording")
    context.out.print(render.table(*columns, rows=map(_row, deletions), whole=("id", "state"), right=("rows",)))
    number = render.count(len(deletions), "job")
    context.out.print(f"{number} forgotten" if done else f"nothing was removed yet; --yes forgets {number}")


def _row(deletion: Deletion) -> list[RenderableType]:
    actions = Counter(deletion.actions.values())
    return [
        deletion.job.id,
        render.state(deletion.job.state),
        render.moment(deletion.job.finished_at),
        f"{deletion.rows:,}",
        ", ".join(f"{number} {action}" for action, number in actions.items()),
        render.safe(deletion.job.source),
    ]
