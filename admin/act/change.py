"""`dropscribe retry`, `cancel`, `priority`, `pause`, `resume` and `drain`: what people may change."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from dropscribe.admin.act.step_sender import StepSender
from dropscribe.admin.context import Context
from dropscribe.admin.state import fleet_status
from dropscribe.admin.state.accounts import own_account
from dropscribe.admin.state.job_lookup import find
from dropscribe.admin.terminal import render
from dropscribe.core.errors import DropscribeError, UsageError
from dropscribe.core.types import JobState, Priority
from dropscribe.store import commands, fleet, queries, switches

SCHEDULER = "scheduler"  # a role that has no work to finish
POLL_SECONDS = 0.5


@dataclass
class Changes:
    """What becomes of many things that a command changes one by one; said at once, or printed as one document."""

    context: Context
    as_json: bool
    done: list[dict[str, Any]] = field(default_factory=list)
    errors: list[dict[str, str]] = field(default_factory=list)
    exit_code: int = 0
    cut_off: bool = False  # the store is out of reach: nothing more is tried

    def each(self, names: Sequence[str], act: Callable[[str], tuple[dict[str, Any], str]]) -> None:
        """Act on every name, whether or not it works for the others; a store out of reach ends it all.

        `act` returns what it did, as a document and as a sentence.
        """
        for name in names:
            with self.noting(name):
                document, sentence = act(name)
                self.done.append(document)
                self.say(sentence)
            if self.cut_off:
                return

    @contextmanager
    def noting(self, name: str) -> Iterator[None]:
        """Say an error and keep it, by what was given, beside what was done before."""
        try:
            yield
        except DropscribeError as error:
            self.exit_code, self.cut_off = error.exit_code, error.retryable
            self.errors.append({"name": name} | error.document)
            if not self.as_json:
                self.context.complain(error)

    def say(self, sentence: str) -> None:
        """Say it to people; programs get the document."""
        if not self.as_json:
            self.context.say(sentence)

    def end(self, what: str, **more: Any) -> int:
        """Print the document, in which the changed things are called `what`; returns the exit code."""
        if self.as_json:
            render.write_json({what: self.done, "errors": self.errors} | more)
        return self.exit_code


def retry(context: Context, names: Sequence[str], *, replaces: bool = False, as_json: bool = False) -> int:
    """Give these jobs another chance, with `replaces` also where that replaces corrections; returns the exit code."""
    changes = Changes(context, as_json)
    changes.each(names, _retrying(context, own_account() if replaces else None))
    return changes.end("jobs")


def _retrying(context: Context, replaces_by: str | None = None) -> Callable[[str], tuple[dict[str, Any], str]]:
    """What gives one job another chance."""
    sender = StepSender(context)

    def one(name: str) -> tuple[dict[str, Any], str]:
        """Retry one job, and send its next step to the workers."""
        job_id = find(context.database, name)
        state = retry_job(sender, job_id, replaces_by=replaces_by)
        return {"id": job_id, "state": state}, f"{job_id} is {state} again"

    return one


def retry_job(sender: StepSender, job_id: str, *, replaces_by: str | None = None) -> JobState:
    """Give the job another chance; returns the state that it starts from.

    Raises DropscribeError, also where that would replace what people corrected, unless somebody does so: `replaces_by`.
    """
    state = commands.retry(sender.database, job_id, replaces_by=replaces_by)
    sender.send(state, job_id)
    return state


def cancel_job(sender: StepSender, job_id: str) -> JobState:
    """Cancel the job, and wake those that follow it; returns the state that it is in now. Raises DropscribeError."""
    state, woken = commands.cancel(sender.database, job_id)
    for follower in woken:
        sender.send(JobState.FINISHING, follower)
    return state


def retry_failed(context: Context, *, hopeless: bool, as_json: bool = False) -> int:
    """Give failed and parked jobs another chance, also `hopeless` ones if wanted; returns the exit code."""
    changes = Changes(context, as_json)
    over = queries.list_jobs(context.database, states=[JobState.FAILED, JobState.PARKED])
    if not over:
        changes.say("no job is failed or parked")
    refused = set() if hopeless else queries.refused(context.database)
    changes.each([job.id for job in over if job.id not in refused], _retrying(context))
    if refused:
        changes.say(
            f"{render.count(len(refused), 'job')} not retried, because the recordings themselves are at fault "
            "(no audio, damaged, not a file, over a limit): see `dropscribe jobs --state failed`; "
            "`dropscribe retry --failed --all` tries them too"
        )
    return changes.end("jobs", left=sorted(refused))


def cancel(context: Context, names: Sequence[str], *, as_json: bool = False) -> int:
    """Cancel these jobs; returns the exit code."""
    sender, changes = StepSender(context), Changes(context, as_json)

    def one(name: str) -> tuple[dict[str, Any], str]:
        """Cancel one job, and wake those that waited for its transcript."""
        job_id = find(context.database, name)
        state = cancel_job(sender, job_id)
        later = f"{state}; its worker stops within {context.settings.renew_seconds:g} s"
        return {"id": job_id, "state": state}, f"{job_id} is {state if state == JobState.CANCELLED else later}"

    changes.each(names, one)
    return changes.end("jobs")


def prioritize(context: Context, names: Sequence[str], priority: Priority, *, as_json: bool = False) -> int:
    """Let these jobs go before or after others; returns the exit code."""
    changes = Changes(context, as_json)

    def one(name: str) -> tuple[dict[str, Any], str]:
        """Ask one worker to end. Raises UsageError where it has ended by itself."""
        job_id = find(context.database, name)
        state = commands.set_priority(context.database, job_id, priority)
        return {"id": job_id, "state": state, "priority": priority}, f"{job_id} has priority {priority} now"

    changes.each(names, one)
    return changes.end("jobs")


def pause(context: Context, *, as_json: bool = False) -> None:
    """Let no worker start anything new."""
    switches.pause(context.database)
    said = "paused: what runs goes on, nothing new starts; `dropscribe resume` undoes it"
    context.answer(lambda: {"paused": True}, lambda: context.say(said), as_json=as_json)


def resume(context: Context, *, as_json: bool = False) -> None:
    """Let the workers go on."""
    switches.resume(context.database)
    said = f"resumed: work goes on within {context.settings.reconcile_seconds:g} s"
    context.answer(lambda: {"paused": False}, lambda: context.say(said), as_json=as_json)


def drain(context: Context, names: Sequence[str], *, everyone: bool, wait: bool, as_json: bool = False) -> int:
    """Have workers finish what they do and end; with `wait`, return when they have. Returns the exit code."""
    living = fleet.living_workers(context.database, context.settings.silence_seconds)
    there = [worker.id for worker in living if worker.role != SCHEDULER]
    changes = Changes(context, as_json)

    def one(name: str) -> tuple[dict[str, Any], str]:
        """Ask one worker to end. Raises UsageError where it has ended by itself."""
        worker = _worker(name, there)
        if not fleet.drain(context.database, worker):
            raise UsageError(f"{worker} has just ended", remedy="`dropscribe workers` lists those that are there")
        return {"id": worker}, f"{worker} takes no new work, and ends when its work is done"

    changes.each(there if everyone else names, one)
    if everyone and not there:
        changes.say("no workers")
    ended = False
    if wait and not changes.cut_off:
        with changes.noting("--wait"):
            _await_ends(context, {document["id"] for document in changes.done})
            ended = True
    return changes.end("workers", ended=ended)


def _worker(name: str, there: Sequence[str]) -> str:
    """The worker that is meant by its name or the start of that. Raises UsageError.

    >>> _worker("gpu-3", ["gpu-3", "gpu-31"]), _worker("cpu", ["cpu-1", "gpu-1"])
    ('gpu-3', 'cpu-1')
    """
    meant = [name] if name in there else [worker for worker in there if worker.startswith(name)]
    if len(meant) != 1:
        raise UsageError(f"{name} means {' or '.join(meant) or 'no worker'}", remedy="`dropscribe workers` lists them")
    return meant[0]


def _await_ends(context: Context, draining: set[str]) -> None:
    """Wait until these workers have ended; say who is still at work whenever that changes."""
    silence = context.settings.silence_seconds
    shown: set[str] = set()
    while left := draining.intersection(fleet_status.draining(context.database, silence)):
        if left != shown:
            shown = left
            context.err.print(f"still working: {render.safe(', '.join(sorted(left)))}", soft_wrap=True)
        time.sleep(POLL_SECONDS)
