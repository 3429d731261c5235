"""`dropscribe retry`, `cancel`, `pause`, `resume` and `drain`: what people may change."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from dropscribe.admin.act.step_sender import StepSender
from dropscribe.admin.context import Context
from dropscribe.admin.state import fleet_status
from dropscribe.admin.state.job_lookup import find
from dropscribe.admin.terminal import render
from dropscribe.core.errors import DropscribeError, UsageError
from dropscribe.core.types import JobState
from dropscribe.store import commands, fleet, queries, switches

SCHEDULER = "scheduler"  # a role that has no work to finish
POLL_SECONDS = 0.5


def retry(context: Context, names: Sequence[str]) -> int:
    """Give these jobs another chance; returns the exit code."""
    sender = StepSender(context)

    def one(name: str) -> str:
        job_id = find(context.database, name)
        state = commands.retry(context.database, job_id)
        sender.send(state, job_id)
        return f"{job_id} is {state} again"

    return _each(context, names, one)


def retry_failed(context: Context, *, hopeless: bool) -> int:
    """Give failed and parked jobs another chance, also `hopeless` ones if wanted; returns the exit code."""
    over = queries.list_jobs(context.database, states=[JobState.FAILED, JobState.PARKED])
    if not over:
        context.out.print("no job is failed or parked")
    refused = set() if hopeless else queries.refused(context.database)
    code = retry(context, [job.id for job in over if job.id not in refused])
    if refused:
        context.out.print(
            f"{render.count(len(refused), 'job')} left as they are, for the recordings themselves are at fault "
            "(no audio, damaged, not a file, over a limit): see `dropscribe jobs --state failed`; "
            "`dropscribe retry --failed --all` tries them too",
            soft_wrap=True,
        )
    return code


def cancel(context: Context, names: Sequence[str]) -> int:
    """Cancel these jobs; returns the exit code."""
    sender = StepSender(context)

    def one(name: str) -> str:
        job_id = find(context.database, name)
        state, woken = commands.cancel(context.database, job_id)
        for follower in woken:
            sender.send(JobState.FINISHING, follower)
        if state == JobState.CANCELLED:
            return f"{job_id} is cancelled"
        return f"{job_id} is {state}; its worker stops within {context.settings.renew_seconds:g} s"

    return _each(context, names, one)


def _each(context: Context, names: Sequence[str], act: Callable[[str], str]) -> int:
    """Act on every name, whether or not it works for the others; a store out of reach ends it all."""
    code = 0
    for name in names:
        try:
            context.say(act(name))
        except DropscribeError as error:
            if error.retryable:
                raise
            context.complain(error)
            code = error.exit_code
    return code


def pause(context: Context) -> None:
    """Let no worker start anything new."""
    switches.pause(context.database)
    context.out.print("paused: what runs goes on, nothing new starts; `dropscribe resume` undoes it")


def resume(context: Context) -> None:
    """Let the workers go on."""
    switches.resume(context.database)
    context.out.print(f"resumed: work goes on within {context.settings.reconcile_seconds:g} s")


def drain(context: Context, names: Sequence[str], *, everyone: bool, wait: bool) -> int:
    """Have workers finish what they do and end; with `wait`, return when they have. Returns the exit code."""
    living = fleet.living_workers(context.database, context.settings.silence_seconds)
    there = [worker.id for worker in living if worker.role != SCHEDULER]
    draining: set[str] = set()

    def one(name: str) -> str:
        worker = _worker(name, there)
        if not fleet.drain(context.database, worker):
            raise UsageError(f"{worker} has just ended", remedy="`dropscribe workers` lists those that are there")
        draining.add(worker)
        return f"{worker} takes nothing new, and ends when what it does is done"

    code = _each(context, there if everyone else names, one)
    if everyone and not there:
        context.out.print("no workers")
    if wait:
        _await_ends(context, draining)
    return code


def _worker(name: str, there: Sequence[str]) -> str:
    """The worker that is meant by its name or the start of that. Raises UsageError."""
    meant = [name] if name in there else [worker for worker in there if worker.startswith(name)]
    if len(meant) != 1:
        raise UsageError(f"{name} means {' or '.join(meant) or 'no worker'}", remedy="`dropscribe workers` lists them")
    return meant[0]


def _await_ends(context: Context, draining: set[str]) -> None:
    silence = context.settings.silence_seconds
    shown: set[str] = set()
    while left := draining.intersection(fleet_status.draining(context.database, silence)):
        if left != shown:
            shown = left
            context.err.print(f"at work still: {render.safe(', '.join(sorted(left)))}", soft_wrap=True)
        time.sleep(POLL_SECONDS)
