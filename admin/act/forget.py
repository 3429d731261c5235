"""`dropscribe forget`: what was said in a recording goes from the store, and with `--outputs` its files go too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dropscribe.admin.context import Context
from dropscribe.admin.state.job_lookup import find, typed_paths
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
    if bool(names) == bool(states or older_than or folder):
        raise UsageError("name the jobs, or choose them by --state, --older-than and --folder")
    if names:
        chosen = _named(context, names)
    else:
        before = context.database.clock() - moments.span(older_than) if older_than else None
        under = str(folder.expanduser().resolve()) if folder else None
        found = queries.list_jobs(context.database, states=states, folder=under, ended_before=before)
        chosen = [job for job in found if job.state.is_final]
    deletions = [_deletion(context, job, outputs=outputs) for job in track(context.err, "looking", chosen)]
    if yes:
        _remove(context, deletions)
    _report(context, deletions, done=yes, as_json=as_json)


def _named(context: Context, names: Sequence[str]) -> list[Job]:
    chosen = {job.id: job for name in names for job in _meant(context, name)}
    for job in chosen.values():
        if not job.state.is_final:
            raise UsageError(f"{job.id} is {job.state}", remedy=f"`dropscribe cancel {job.id}` first, then forget it")
    return list(chosen.values())


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
        for path in (path for one in batch for path, action in one.actions.items() if action == REMOVED):
            Path(path).unlink(missing_ok=True)
        store_forget.forget(context.database, [one.job.id for one in batch])
    with busy(context.err, "overwriting what was removed"):
        gone = not deletions or store_forget.scrub(context.database)
    if not gone:
        context.remark("note", "somebody reads the store; its file is overwritten when they are done", "yellow")


def _report(context: Context, deletions: Sequence[Deletion], *, done: bool, as_json: bool) -> None:
    if as_json:
        render.write_json({"forgotten": done, "jobs": [deletion.to_json() for deletion in deletions]})
        return
    if not deletions:
        context.out.print("no such jobs")
        return
    context.out.print(_table(deletions))
    number = render.count(len(deletions), "job")
    context.out.print(f"{number} forgotten" if done else f"nothing was removed yet; --yes forgets {number}")


def _table(deletions: Sequence[Deletion]) -> Any:
    table = render.table("id", "state", "ended", "rows", "files", "recording", whole=("id", "state"), right=("rows",))
    for deletion in deletions:
        actions = list(deletion.actions.values())
        table.add_row(
            deletion.job.id,
            render.state(deletion.job.state),
            render.moment(deletion.job.finished_at),
            f"{deletion.rows:,}",
            ", ".join(f"{actions.count(action)} {action}" for action in dict.fromkeys(actions)),
            render.safe(deletion.job.source),
        )
    return table
