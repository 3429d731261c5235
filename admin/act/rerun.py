"""`dropscribe rerun`: recordings that were admitted before get what their folder's settings say now."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import attrgetter
from pathlib import Path, PurePosixPath
from typing import Any

from rich.console import RenderableType

from dropscribe.admin.act.step_sender import StepSender
from dropscribe.admin.context import Context
from dropscribe.admin.state.exit_status import latest_jobs
from dropscribe.admin.state.job_lookup import find, typed_paths
from dropscribe.admin.terminal import render
from dropscribe.admin.terminal.progress import track
from dropscribe.core.folder_settings import EffectiveSettings
from dropscribe.core.routing import is_bound
from dropscribe.core.types import JobState
from dropscribe.scheduler.scanning.scan import Observation
from dropscribe.scheduler.watching import admission
from dropscribe.store import commands, fleet, jobs, queries
from dropscribe.store.jobs import NewJob
from dropscribe.store.queries import Job

READ, WRITTEN_AGAIN, TRIED, LEFT = "read again", "written again", "tried again", "under way, left alone"
ANOTHER_MODEL = "read again by another model"


@dataclass(frozen=True, slots=True)
class Rerun:
    """What is done with a recording: `job` is its newest job, `wanted` the job by the folder's current settings."""

    job: Job
    wanted: NewJob
    action: str


def run(context: Context, paths: Sequence[Path], *, yes: bool, as_json: bool) -> None:
    """Show what would be done; with `yes`, do it. Raises UsageError for a file without a job, and for bad settings."""
    newest = {job.source: job for path in paths for job in _meant(context, path)}

    @lru_cache
    def orders(root: str, folder: str) -> EffectiveSettings:
        return admission.orders_above(context.settings, Path(root), f"{folder}/x".removeprefix("./"), {})

    def plan(job: Job) -> Rerun:
        seen = Observation(job.size, job.mtime_ns)
        holds = orders(job.root, str(PurePosixPath(job.path).parent))
        wanted = admission.new_job(job.root, job.path, seen, holds)
        return Rerun(job, wanted, action_for(job, wanted, is_stranded=_is_stranded(context, job)))

    reruns = [*map(plan, track(context.err, "looking", list(newest.values())))]
    if yes:
        sender = StepSender(context)
        for one in track(context.err, "beginning", reruns):
            _begin(context, sender, one)
    context.answer(
        lambda: {"begun": yes, "recordings": [*map(_document, reruns)]},
        lambda: _show(context, reruns, done=yes),
        as_json=as_json,
    )


def _meant(context: Context, path: Path) -> Iterator[Job]:
    """The newest job of the file, or of each recording that is still there below the folder."""
    if not path.is_dir():
        yield queries.job(context.database, find(context.database, str(path)))
        return
    yield from latest_jobs(context.database, [typed_paths(str(path))[0]])


def _is_stranded(context: Context, job: Job) -> bool:
    """A model began it and has not read it all, and of the model workers that live, none has that model.

    Where none lives at all, the one that began it may be the first to come back.
    """
    if not is_bound(job.model_queue) or not queries.has_unread_windows(context.database, job.id):
        return False
    living = fleet.model_workers(context.database, context.settings.silence_seconds)
    return bool(living) and not fleet.capacity_of(living, job.model_queue).workers


def action_for(job: Job, wanted: NewJob, *, is_stranded: bool = False) -> str:
    """Transcribe again if settings that shape the transcript have changed, or if an earlier store made it.

    Else only write the files again.

    What is under way is left alone, unless it is stranded: no worker has the model that began it.
    """
    if not (job.state.is_final or is_stranded):
        return LEFT
    if job.settings_digest != wanted.settings_digest or job.is_taken_over:
        return READ
    if is_stranded:
        return ANOTHER_MODEL
    return WRITTEN_AGAIN if job.state.has_transcript else TRIED


def _begin(context: Context, sender: StepSender, one: Rerun) -> None:
    if begin := _BEGINNINGS.get(one.action):
        begin(context, sender, one)


def _change_model(context: Context, sender: StepSender, one: Rerun) -> None:
    sender.send(commands.change_model(context.database, one.job.id), one.job.id)


def _read_again(context: Context, sender: StepSender, one: Rerun) -> None:
    """By a new job, or by that which had these very settings before."""
    if not one.job.state.is_final:
        for follower in commands.cancel(context.database, one.job.id)[1]:
            sender.send(JobState.FINISHING, follower)
    if new := jobs.admit(context.database, [one.wanted], again=True):
        sender.send(JobState.QUEUED, new[0])
    else:
        before = jobs.find_admitted(context.database, one.wanted) or one.job.id
        sender.send(commands.rerun(context.database, before, one.wanted), before)


def _write_again(context: Context, sender: StepSender, one: Rerun) -> None:
    sender.send(commands.rerun(context.database, one.job.id, one.wanted), one.job.id)


# What is left alone is not among them.
_BEGINNINGS = {
    ANOTHER_MODEL: _change_model,
    READ: _read_again,
    WRITTEN_AGAIN: _write_again,
    TRIED: _write_again,
}


def _show(context: Context, reruns: Sequence[Rerun], *, done: bool) -> None:
    if not reruns:
        context.out.print("no recordings there that were admitted")
        return
    context.out.print(
        render.table("id", "state", "becomes", "recording", rows=map(_row, reruns), whole=("id", "state"))
    )
    counts = Counter(map(attrgetter("action"), reruns))
    said = "; ".join(f"{render.count(number, 'recording')} {what}" for what, number in counts.items())
    context.out.print(said if done else f"{said}. Nothing was begun yet; --yes does so", soft_wrap=True)


def _row(one: Rerun) -> list[RenderableType]:
    return [one.job.id, render.state(one.job.state), one.action, render.safe(one.job.source)]


def _document(one: Rerun) -> dict[str, Any]:
    return {"id": one.job.id, "source": one.job.source, "state": one.job.state, "fate": one.action}
