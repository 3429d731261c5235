"""`dropscribe rerun`: recordings that were admitted before get what their folder's settings say now."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from operator import attrgetter
from pathlib import Path, PurePosixPath

from rich.console import RenderableType

from dropscribe.admin.act.step_sender import StepSender
from dropscribe.admin.context import Context
from dropscribe.admin.state.accounts import own_account
from dropscribe.admin.state.exit_status import latest_jobs
from dropscribe.admin.state.job_lookup import find, typed_paths
from dropscribe.admin.terminal import render
from dropscribe.admin.terminal.progress import track
from dropscribe.core.bucket_names import is_in_bucket
from dropscribe.core.errors import DropscribeError
from dropscribe.core.folder_settings import EffectiveSettings
from dropscribe.core.routing import is_bound
from dropscribe.scheduler.scanning.scan import Observation
from dropscribe.scheduler.watching import admission
from dropscribe.store import commands, fleet, parts, queries, revisions
from dropscribe.store.jobs import NewJob
from dropscribe.store.queries import Job
from dropscribe.store.revisions import Revision

READ, WRITTEN_AGAIN, TRIED, LEFT = "read again", "written again", "tried again", "under way, left alone"
ANOTHER_MODEL = "read again by another model"
CORRECTED = "corrected by people, left alone"


@dataclass(frozen=True, slots=True)
class Rerun:
    """What is done with a recording: `job` is its newest job, `wanted` the job by the folder's current settings.

    `corrections` are what people corrected in any transcript of it, and another one would replace.
    """

    job: Job
    wanted: NewJob
    action: str
    corrections: Sequence[Revision] = ()

    @property
    def told(self) -> str:
        """What is done with it, and what that replaces."""
        replaces = self.corrections and self.action == READ
        return f"{self.action}, instead of {_count(self.corrections)}" if replaces else self.action


def run(context: Context, paths: Sequence[Path], *, yes: bool, as_json: bool, replaces: bool = False) -> None:
    """Show what would be done; with `yes`, do it. With `replaces`, also what replaces corrections.

    Raises UsageError for a file without a job, and for bad settings.
    """
    newest = {job.source: job for path in paths for job in _meant(context, path)}
    plan = _planner(context, replaces=replaces)
    reruns = [*map(plan, track(context.err, "looking", list(newest.values())))]
    if yes:
        sender = StepSender(context)
        by = own_account() if replaces else None
        reruns = [_begin(context, sender, one, by) for one in track(context.err, "beginning", reruns)]
    told = [
        {
            "id": one.job.id,
            "source": one.job.source,
            "state": one.job.state,
            "fate": one.action,
            "corrections": len(one.corrections),
        }
        for one in reruns
    ]
    context.answer(
        lambda: {"begun": yes, "recordings": told},
        lambda: _show(context, reruns, done=yes),
        as_json=as_json,
    )


def rerun_job(context: Context, job: Job, *, replaces: bool = False, who: str = "") -> str:
    """Re-apply the current settings to one recording; returns what is done with it.

    Raises DropscribeError, also where that would replace what people corrected, unless it `replaces` that for `who`.
    """
    planned = _planner(context, replaces=replaces)(job)
    one = _begin(context, StepSender(context), planned, who or own_account() if replaces else None)
    if one.action == CORRECTED:
        raise DropscribeError(
            f"it would be transcribed again, instead of {_count(one.corrections)}",
            remedy="say that the corrected transcript is to be replaced (`replace_corrections`)",
        )
    return one.action


def _count(corrections: Sequence[Revision]) -> str:
    """How many corrections, and whose."""
    people = ", ".join(dict.fromkeys(filter(None, map(attrgetter("who"), corrections))))
    return render.count(len(corrections), "correction") + (f" by {people}" if people else "")


def _planner(context: Context, *, replaces: bool) -> Callable[[Job], Rerun]:
    """Says what would be done with a recording; the settings of each folder are read once."""

    @lru_cache
    def orders(root: str, folder: str) -> EffectiveSettings:
        """What the folders above say, asked once for each folder."""
        return admission.orders_above(context.settings, Path(root), f"{folder}/x".removeprefix("./"), {})

    def plan(job: Job) -> Rerun:
        """What is to be done with a recording."""
        seen = Observation(job.size, job.mtime_ns)
        holds = orders(job.root, str(PurePosixPath(job.path).parent))
        wanted = replace(
            admission.new_job(job.root, job.path, seen, holds), parts=parts.of_job(context.database, job.id)
        )
        action = action_for(job, wanted, is_stranded=_is_stranded(context, job))
        corrected = revisions.live_at(context.database, job.source)
        is_kept = action == READ and corrected and not replaces
        return Rerun(job, wanted, CORRECTED if is_kept else action, corrected)

    return plan


def _meant(context: Context, path: Path) -> Iterator[Job]:
    """The newest job of the file, or of each recording that is still there below the folder."""
    if is_in_bucket(path) and (below := latest_jobs(context.database, [path])):
        yield from below
        return
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
    """Transcribe again if settings that shape the transcript have changed, an earlier store made it, or it is gone.

    Else only write the files again.

    What is under way is left alone, unless it is stranded: no worker has the model that began it.
    """
    if not (job.state.is_final or is_stranded):
        return LEFT
    is_here = job.text_removed_at is None and not job.is_taken_over
    if job.settings_digest != wanted.settings_digest or not is_here:
        return READ
    if is_stranded:
        return ANOTHER_MODEL
    return WRITTEN_AGAIN if job.state.has_transcript else TRIED


def _begin(context: Context, sender: StepSender, one: Rerun, replaces_by: str | None) -> Rerun:
    """Do with a recording what was planned, nothing with one that is left alone; returns what was done.

    One that somebody has corrected since is left alone, unless `replaces_by` is who replaces that.
    """
    if one.action == READ:
        return _read_again(context, sender, one, replaces_by)
    if begin := _BEGINNINGS.get(one.action):
        begin(context, sender, one)
    return one


def _change_model(context: Context, sender: StepSender, one: Rerun) -> None:
    """Let another model transcribe it from its beginning."""
    sender.send(commands.change_model(context.database, one.job.id), one.job.id)


def _read_again(context: Context, sender: StepSender, one: Rerun, replaces_by: str | None) -> Rerun:
    """Have it transcribed by the current settings; returns what was done."""
    steps = commands.transcribe_again(context.database, one.job.id, one.wanted, replaces_by)
    if steps is None:
        return replace(one, action=CORRECTED, corrections=revisions.live_at(context.database, one.job.source))
    for state, job_id in steps:
        sender.send(state, job_id)
    return one


def _write_again(context: Context, sender: StepSender, one: Rerun) -> None:
    """Write its files again, by the current settings."""
    sender.send(commands.rerun(context.database, one.job.id, one.wanted), one.job.id)


# What is left alone is not among them, nor what is transcribed again: see `_read_again`.
_BEGINNINGS = {
    ANOTHER_MODEL: _change_model,
    WRITTEN_AGAIN: _write_again,
    TRIED: _write_again,
}


def _show(context: Context, reruns: Sequence[Rerun], *, done: bool) -> None:
    """The recordings as a table, and how many become what."""
    if not reruns:
        context.out.print("no recordings were admitted there")
        return
    context.out.print(
        render.table("id", "state", "becomes", "recording", rows=map(_row, reruns), whole=("id", "state"))
    )
    counts = Counter(map(attrgetter("action"), reruns))
    said = "; ".join(f"{render.count(number, 'recording')} {what}" for what, number in counts.items())
    context.out.print(said if done else f"{said}. Nothing was begun yet; --yes does so", soft_wrap=True)
    if CORRECTED in counts:
        context.note("--replace-corrections replaces a transcript that people corrected")


def _row(one: Rerun) -> list[RenderableType]:
    """The cells of a recording, and what is done with it."""
    kept = f" ({_count(one.corrections)})" if one.action == CORRECTED else ""
    return [one.job.id, render.phase(one.job.phase), render.safe(one.told + kept), render.safe(one.job.source)]
