"""`dropscribe rerun`: recordings that were admitted before get what their folder's settings say now."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

from dropscribe.admin.act.change import Bell
from dropscribe.admin.context import Context
from dropscribe.admin.state.job_lookup import find, typed_paths
from dropscribe.admin.terminal import render
from dropscribe.admin.terminal.progress import track
from dropscribe.core.folder_settings import Orders
from dropscribe.core.types import JobState
from dropscribe.scheduler.scanning.scan import Observation
from dropscribe.scheduler.watching import admission
from dropscribe.store import jobs, queries, rerun
from dropscribe.store.jobs import NewJob
from dropscribe.store.queries import Job
from dropscribe.store.speakers import WRITTEN

READ, WRITTEN_AGAIN, TRIED, LEFT = "read again", "written again", "tried again", "under way, left alone"


@dataclass(frozen=True, slots=True)
class Plan:
    """What becomes of a recording whose newest job is `job`: `wanted` is what its folder's settings make of it now."""

    job: Job
    wanted: NewJob
    fate: str


def run(context: Context, paths: Sequence[Path], *, yes: bool, as_json: bool) -> None:
    """Show what would be done; with `yes`, do it. Raises UsageError for a file without a job, and for bad settings."""
    newest = {job.source: job for path in paths for job in _meant(context, path)}

    @lru_cache
    def orders(root: str, folder: str) -> Orders:
        return admission.orders_above(context.settings, Path(root), f"{folder}/x".removeprefix("./"), {})

    def plan(job: Job) -> Plan:
        seen = Observation(job.size, job.mtime_ns)
        holds = orders(job.root, str(PurePosixPath(job.path).parent))
        wanted = admission.new_job(job.root, job.path, seen, holds)
        return Plan(job, wanted, fate(job, wanted))

    plans = [plan(job) for job in track(context.err, "looking", list(newest.values()))]
    if yes:
        bell = Bell(context)
        for one in track(context.err, "beginning", plans):
            _begin(context, bell, one)
    _tell(context, plans, done=yes, as_json=as_json)


def _meant(context: Context, path: Path) -> Iterator[Job]:
    """The newest job of the file, or of each recording that is still there below the folder."""
    if not path.is_dir():
        yield queries.job(context.database, find(context.database, str(path)))
        return
    told: set[str] = set()
    for job in queries.list_jobs(context.database, folder=str(typed_paths(str(path))[0])):
        if job.source not in told and Path(job.source).exists():
            yield job
        told.add(job.source)


def fate(job: Job, wanted: NewJob) -> str:
    """Read anew where other settings shape the transcript now; else its files are written anew."""
    if not job.state.is_final:
        return LEFT
    if job.settings_digest != wanted.settings_digest:
        return READ
    return WRITTEN_AGAIN if job.state in WRITTEN else TRIED


def _begin(context: Context, bell: Bell, plan: Plan) -> None:
    if plan.fate == LEFT:
        return
    if plan.fate == READ and (new := jobs.admit(context.database, [plan.wanted], again=True)):
        bell.ring(JobState.QUEUED, new[0])
        return
    # It may have been read with these very settings before.
    known = jobs.find_admitted(context.database, plan.wanted) if plan.fate == READ else None
    job_id = known or plan.job.id
    bell.ring(rerun.renew(context.database, job_id, plan.wanted), job_id)


def _tell(context: Context, plans: Sequence[Plan], *, done: bool, as_json: bool) -> None:
    if as_json:
        render.write_json({"begun": done, "recordings": [_document(plan) for plan in plans]})
        return
    if not plans:
        context.out.print("no recordings there that were admitted")
        return
    table = render.table("id", "state", "becomes", "recording", whole=("id", "state"))
    for plan in plans:
        table.add_row(plan.job.id, render.state(plan.job.state), plan.fate, render.safe(plan.job.source))
    context.out.print(table)
    counts = Counter(plan.fate for plan in plans)
    said = "; ".join(f"{render.count(number, 'recording')} {what}" for what, number in counts.items())
    context.out.print(said if done else f"{said}. Nothing was begun yet; --yes does so", soft_wrap=True)


def _document(plan: Plan) -> dict[str, Any]:
    return {"id": plan.job.id, "source": plan.job.source, "state": plan.job.state, "fate": plan.fate}
