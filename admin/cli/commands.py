"""What the commands that ask, change and check take; the modules that answer are imported when one is called."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from dropscribe.admin.cli import complete
from dropscribe.core import start_up
from dropscribe.core.errors import UsageError
from dropscribe.core.types import JobPhase, JobState, Priority


class Format(StrEnum):
    """The formats a transcript can be printed in."""

    TXT = "txt"
    SRT = "srt"
    VTT = "vtt"
    JSON = "json"
    TSV = "tsv"
    HTML = "html"
    MD = "md"
    DOCX = "docx"
    RTTM = "rttm"


class Process(StrEnum):
    """The kinds of processes that a fleet has."""

    SCHEDULER = "scheduler"
    CPU = "cpu"
    MODEL = "model"


Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
SHOWN_STATES = (
    f"Only jobs in this state; repeatable. States: {', '.join(JobPhase)}; and queued, which waits to be prepared."
)
STATES = f"Only jobs in this state; repeatable. States: {', '.join(JobState)}."
JobName = Annotated[
    str,
    typer.Argument(
        metavar="JOB", help="A job's id, the start of it, or a recording's path or name.", autocompletion=complete.job
    ),
]
_NAMES = typer.Argument(
    metavar="JOB", help="Ids, starts of ids, or recordings' paths or names.", autocompletion=complete.job
)
ReplaceCorrections = Annotated[
    bool,
    typer.Option("--replace-corrections", help="Replace transcripts that people corrected, too."),
]
JobNames = Annotated[list[str], _NAMES]
SomeJobs = Annotated[list[str] | None, _NAMES]


class ShownState(StrEnum):
    """The states as commands print them, which are the phases of jobs; and one that the store knows besides."""

    WAITING = JobPhase.WAITING.value
    QUEUED = JobState.QUEUED.value
    PREPARING = JobPhase.PREPARING.value
    TRANSCRIBING = JobPhase.TRANSCRIBING.value
    FINISHING = JobPhase.FINISHING.value
    DONE = JobPhase.DONE.value
    SUSPECT = JobPhase.SUSPECT.value
    DUPLICATE = JobPhase.DUPLICATE.value
    FAILED = JobPhase.FAILED.value
    PARKED = JobPhase.PARKED.value
    CANCELLED = JobPhase.CANCELLED.value


def status(
    ctx: typer.Context,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Keep the screen up to date, until q or Ctrl-C.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show what waits, who works, how fast it goes, and what is wrong.

    With --watch it also shows the progress of each chunk, and the last recordings that failed or are suspect. If the
    output is not a terminal, --watch prints a line every ten seconds if something changed.
    """
    if watch and as_json:
        raise UsageError("--watch and --json exclude each other")
    if watch:
        from dropscribe.admin.ask.live_status import watch as follow

        follow(ctx.obj)
        return
    with start_up.without_collection():
        from dropscribe.admin.ask import status as answer

    answer.show(ctx.obj, as_json=as_json)


def jobs(
    ctx: typer.Context,
    state: Annotated[list[ShownState] | None, typer.Option("--state", "-s", metavar="STATE", help=SHOWN_STATES)] = None,
    folder: Annotated[Path | None, typer.Option(help="Only recordings below this folder.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=0, help="How many, the newest first; 0: all.")] = 50,
    as_json: Json = False,
) -> None:
    """List jobs, the newest first."""
    with start_up.without_collection():
        from dropscribe.admin.ask import jobs as answer

    answer.listing(ctx.obj, named=state or [], folder=folder, limit=limit, as_json=as_json)


def show(ctx: typer.Context, job: JobName, as_json: Json = False) -> None:
    """Show everything about one job: the recording, its files, every attempt at it, and where the time went."""
    with start_up.without_collection():
        from dropscribe.admin.ask import show as answer

    answer.show(ctx.obj, job, as_json=as_json)


def transcript(
    ctx: typer.Context,
    job: JobName,
    fmt: Annotated[Format, typer.Option("--format", "-f", help="The format.")] = Format.TXT,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write it to this file; an existing file is kept."),
    ] = None,
) -> None:
    """Print a transcript, or write it to a file."""
    from dropscribe.admin.ask import transcript as answer

    answer.transcript(ctx.obj, job, fmt, output)


def export(
    ctx: typer.Context,
    names: Annotated[list[str], typer.Argument(metavar="JOB|FOLDER", help="Jobs, or folders: all their recordings.")],
    fmt: Annotated[Format | None, typer.Option("--format", "-f", help="What to write.")] = None,
    combined: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write all of them into this one JSON file instead.")
    ] = None,
    to: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write below this directory, in the same folders as the recordings."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that are there and differ.")] = False,
    as_json: Json = False,
) -> None:
    """Write finished transcripts in a format, beside their recordings or elsewhere.

    These files are yours: dropscribe does not update them, and `forget --outputs` does not remove them.
    """
    from dropscribe.admin.ask import export as answer

    if combined and (to or fmt not in {None, Format.JSON}):
        raise UsageError("--combined writes one JSON file, and excludes --to and other formats")
    if combined:
        target = combined.expanduser().absolute()
        raise typer.Exit(answer.combine(ctx.obj, names, target, force=force, as_json=as_json))
    if fmt is None:
        raise UsageError("what is to be written?", remedy="name it by --format, or one file for all by --combined")
    wanted = answer.Wanted(fmt, to.expanduser().absolute() if to else None, force)
    raise typer.Exit(answer.run(ctx.obj, names, wanted, as_json=as_json))


def logs(
    ctx: typer.Context,
    job: JobName,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job is over, or Ctrl-C.")] = False,
    as_json: Json = False,
) -> None:
    """Show what was logged about a job on this machine, between the job's events.

    It reads the logs of `up`, in `logs` of the state directory, as JSON (`log_format`). On a fleet it shows the events
    only: the processes log to their journals. With --follow, --json prints one object a line.
    """
    from dropscribe.admin.ask import logs as answer

    answer.logs(ctx.obj, job, follow=follow, as_json=as_json)


def search(
    ctx: typer.Context,
    words: Annotated[list[str], typer.Argument(metavar="WORD", help="What was said.")],
    *,
    speaker: Annotated[str, typer.Option(help="Only lines by this speaker (full name or a part of it).")] = "",
    since: Annotated[str | None, typer.Option(metavar="WHEN", help="Only recordings after this time.")] = None,
    until: Annotated[str | None, typer.Option(metavar="WHEN", help="Only recordings before this time.")] = None,
    folder: Annotated[Path | None, typer.Option(help="Only recordings below this folder.")] = None,
    around: Annotated[int, typer.Option("--around", "-a", min=0, help="Lines to show before and after each hit.")] = 0,
    limit: Annotated[int, typer.Option("--limit", "-n", min=0, help="How many, the newest first; 0: all.")] = 50,
    as_json: Json = False,
) -> None:
    """Find where something was said, in all transcripts.

    All words must occur in one turn of one speaker, in any order; case and accents do not matter. Words in quotes
    must stand side by side, and word* finds words that begin so. WHEN is compared with the time of the recording's
    file: a date such as 2026-11-20, a date and a time in quotes, or 7d for a week ago.
    """
    from dropscribe.admin.ask import search as answer

    answer.search(
        ctx.obj,
        words,
        speaker=speaker,
        since=since,
        until=until,
        folder=folder,
        around=around,
        limit=limit,
        as_json=as_json,
    )


def workers(ctx: typer.Context, as_json: Json = False) -> None:
    """List the processes of the fleet and what each is doing."""
    from dropscribe.admin.ask import status as answer

    answer.workers(ctx.obj, as_json=as_json)


def speakers(
    ctx: typer.Context,
    job: JobName,
    name: Annotated[
        list[str] | None,
        typer.Option("--name", "-n", metavar="NUMBER=NAME", help="Set a speaker's name; an empty name removes it."),
    ] = None,
    merge: Annotated[
        list[str] | None,
        typer.Option(
            "--merge", "-m", metavar="NUMBER=NUMBER", help="Merge the first speaker into the second; 3=3 undoes it."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show who speaks in a recording; name and merge speakers, and write the transcript again.

    Give a speaker's number or current name. `--name 0=` removes a name, also one that was recognized by the voice.
    `--merge 3=3` undoes a merge.
    """
    from dropscribe.admin.act import speakers as answer

    answer.run(ctx.obj, job, names=name or [], merges=merge or [], as_json=as_json)


def retry(
    ctx: typer.Context,
    jobs: SomeJobs = None,
    failed: Annotated[bool, typer.Option("--failed", help="All failed and parked jobs that a retry can help.")] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="With --failed: also those that a retry cannot help.")
    ] = False,
    replace_corrections: ReplaceCorrections = False,
    as_json: Json = False,
) -> None:
    """Give failed, parked, cancelled or suspect jobs another chance."""
    from dropscribe.admin.act import change

    if bool(jobs) == failed or everything > failed:
        raise UsageError("name the jobs, or give --failed for the failed and parked ones (with --all: for all of them)")
    if failed:
        raise typer.Exit(change.retry_failed(ctx.obj, hopeless=everything, as_json=as_json))
    raise typer.Exit(change.retry(ctx.obj, jobs or [], replaces=replace_corrections, as_json=as_json))


def cancel(ctx: typer.Context, jobs: JobNames, as_json: Json = False) -> None:
    """Cancel jobs: at once if they wait, within seconds if a worker transcribes them."""
    from dropscribe.admin.act import change

    raise typer.Exit(change.cancel(ctx.obj, jobs, as_json=as_json))


def priority(
    ctx: typer.Context,
    jobs: JobNames,
    urgency: Annotated[Priority, typer.Argument(metavar="PRIORITY", help="high, normal or low.")],
    as_json: Json = False,
) -> None:
    """Change the priority of waiting jobs.

    High goes before normal, normal before low. Within a priority, folders take turns, so that one recording does not
    wait for a thousand in another folder.
    """
    from dropscribe.admin.act import change

    raise typer.Exit(change.prioritize(ctx.obj, jobs, urgency, as_json=as_json))


def rerun(
    ctx: typer.Context,
    paths: Annotated[list[Path], typer.Argument(metavar="PATH", help="Folders, or recordings.")],
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Do it; without this, only show what would be done.")
    ] = False,
    replace_corrections: ReplaceCorrections = False,
    as_json: Json = False,
) -> None:
    """Re-apply the current settings to recordings already admitted.

    A changed setting applies to later recordings. This command applies it to earlier ones: it transcribes them again if
    the setting shapes the transcript (context, engine, chunk length), and otherwise writes their files again. It leaves
    jobs alone that are under way or that people corrected. Files that were written before stay.
    """
    from dropscribe.admin.act import rerun as answer

    answer.run(ctx.obj, paths, yes=yes, as_json=as_json, replaces=replace_corrections)


def forget(
    ctx: typer.Context,
    jobs: SomeJobs = None,
    *,
    state: Annotated[list[JobState] | None, typer.Option("--state", "-s", metavar="STATE", help=STATES)] = None,
    older_than: Annotated[
        str | None, typer.Option(metavar="TIME", help="Only jobs that ended at least this long ago, such as 90d.")
    ] = None,
    folder: Annotated[Path | None, typer.Option(help="Only recordings below this folder.")] = None,
    outputs: Annotated[bool, typer.Option("--outputs", help="Remove their transcript files too.")] = False,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Do it; without this, only show what would be removed.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Remove finished jobs from the database: transcript, search index, events.

    A recording's path or name means all of its jobs. The recording itself is never touched. It is not transcribed again
    while it stays as it is, unless you submit it. --outputs removes transcript files that workers wrote and nobody
    edited; files of `export` are yours. A job whose files cannot be reached is kept. Voices that were enrolled from a
    recording stay: `dropscribe voices forget` removes them.
    """
    from dropscribe.admin.act import forget as answer

    code = answer.forget(
        ctx.obj,
        jobs or [],
        states=state or [],
        older_than=older_than,
        folder=folder,
        outputs=outputs,
        yes=yes,
        as_json=as_json,
    )
    raise typer.Exit(code)


def pause(ctx: typer.Context, as_json: Json = False) -> None:
    """Pause the fleet: no worker starts anything new; running work goes on."""
    from dropscribe.admin.act import change

    change.pause(ctx.obj, as_json=as_json)


def resume(ctx: typer.Context, as_json: Json = False) -> None:
    """End a pause."""
    from dropscribe.admin.act import change

    change.resume(ctx.obj, as_json=as_json)


def drain(
    ctx: typer.Context,
    workers: Annotated[
        list[str] | None,
        typer.Argument(metavar="WORKER", help="Names, or starts of them.", autocompletion=complete.worker),
    ] = None,
    everyone: Annotated[bool, typer.Option("--all", help="Every worker of the fleet.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Return when they have ended.")] = False,
    as_json: Json = False,
) -> None:
    """Let workers finish their work and end, before you take their machine down; other workers do the rest.

    A worker sees the request with its next heartbeat, takes nothing new, and ends with status 0 when its work is done.
    """
    from dropscribe.admin.act import change

    if bool(workers) == everyone:
        raise UsageError("name the workers, or give --all for every one")
    raise typer.Exit(change.drain(ctx.obj, workers or [], everyone=everyone, wait=wait, as_json=as_json))


def import_store(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file dropscribe.db of another home, or a copy.")],
) -> None:
    """Import the database of another machine's `up` into the database of the settings, which must be empty.

    That is: jobs, transcripts, names of speakers, enrolled voices, and which files dropscribe wrote. Recordings at the
    same paths are not transcribed again. Stop the other `up` first; its file is only read.
    """
    from dropscribe.admin.act import import_store as answer

    answer.import_store(ctx.obj, file)


def backup(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A new file.")],
    as_json: Json = False,
) -> None:
    """Write the whole database (jobs, transcripts, names, voices) to one file, while dropscribe runs.

    It uses SQLite's own backup, or pg_dump for PostgreSQL. Do not copy dropscribe.db yourself: the latest changes may
    still be in dropscribe.db-wal beside it.
    """
    from dropscribe.admin.act import backup as answer

    answer.backup(ctx.obj, file, as_json=as_json)


def restore(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file that `dropscribe backup` wrote.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do it; without this, only show what would go.")] = False,
    as_json: Json = False,
) -> None:
    """Replace the database by a backup; stop dropscribe first.

    It says how many recordings are newer than the backup. Those with a JSON transcript beside them are taken over from
    it; others are transcribed again. An SQLite database that was there is kept under another name.
    """
    from dropscribe.admin.act import backup as answer

    answer.restore(ctx.obj, file, yes=yes, as_json=as_json)


def doctor(ctx: typer.Context, as_json: Json = False) -> None:
    """Check everything that dropscribe needs, and say what to do where something is missing."""
    from dropscribe.admin.check import doctor as answer

    raise typer.Exit(answer.doctor(ctx.obj, as_json=as_json))


def health(
    ctx: typer.Context,
    role: Annotated[Process | None, typer.Option(help="Only this role; otherwise all that run on this host.")] = None,
    as_json: Json = False,
) -> None:
    """Say whether this host's processes are alive and ready, for checks of containers and monitors: exit 0 or 1."""
    from dropscribe.admin.check import health as answer

    raise typer.Exit(answer.health(ctx.obj, role=role, as_json=as_json))


def plan(
    ctx: typer.Context,
    vram: Annotated[float | None, typer.Option(metavar="GB", min=1, help="Memory of a card, as on its box.")] = None,
    gpu: Annotated[int | None, typer.Option(metavar="N", min=0, help="One of the GPUs that it may use.")] = None,
    as_json: Json = False,
) -> None:
    """Show what fits on a card for VibeVoice-ASR: precisions, chunk lengths, slots, and what `auto` chooses.

    Without options it shows this machine's GPUs; if there are none, common sizes.
    """
    from dropscribe.admin.ask import plan as answer

    answer.show(ctx.obj, gigabytes=vram, gpu=gpu, as_json=as_json)


def config(ctx: typer.Context, as_json: Json = False) -> None:
    """List every setting: its value, where that came from, and its environment variable."""
    from dropscribe.admin.ask import config as answer

    answer.show(ctx.obj, as_json=as_json)
