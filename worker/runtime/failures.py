"""What becomes of work that fails: given back, tried later, or failed for good with a reason."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dropscribe.core import routing
from dropscribe.core.bucket_names import is_in_bucket
from dropscribe.core.errors import (
    BucketAwayError,
    DecoderKilledError,
    DropscribeError,
    LeaseLostError,
    ModelFatalError,
    NoRoomError,
    OutputError,
    SourceError,
    SourceMissingError,
    StoreUnavailableError,
    UsageError,
)
from dropscribe.store import chunks, fleet, jobs, queries, recovery
from dropscribe.store.chunk_work import ChunkWork, StretchWork
from dropscribe.store.fleet import UNFIT
from dropscribe.store.leases import ChunkClaim, JobClaim
from dropscribe.store.roots import list_roots
from dropscribe.worker.runtime.context import WorkerContext
from dropscribe.worker.runtime.lease import StoppedError

log = logging.getLogger(__name__)

FIRST_DELAY = 10.0  # seconds before a failed step is tried again; each further wait is three times as long
NO_ROOM_DELAY = 60.0  # seconds before a step that found a full disk, or no bucket, is tried again, without end
FATAL_EXIT = 70  # EX_SOFTWARE of sysexits.h: the supervisor starts the process again

# The row is somebody else's or cannot be reached: nothing may or can be written, and the lease brings it back.
NOT_OURS_TO_MEND = (LeaseLostError, StoreUnavailableError)


@contextmanager
def of_job(context: WorkerContext, claim: JobClaim, failures: int) -> Iterator[None]:
    """Deal with whatever goes wrong in preparing or finishing a job that failed `failures` times before."""
    try:
        yield
    except NOT_OURS_TO_MEND:
        raise
    except StoppedError:
        context.ring(routing.FINISH, jobs.release(context.database, claim))
    except (NoRoomError, BucketAwayError) as error:  # a full disk, or a server, is not the recording's fault
        log.warning("%s", error)
        jobs.postpone(context.database, claim, str(error), delay=NO_ROOM_DELAY)
    except SourceError as error:
        log.info("failed: %s", error)
        context.ring(routing.FINISH, jobs.fail(context.database, claim, str(error)))
    except SourceMissingError as error:
        _missing(context, claim, error)
    except Exception as error:  # noqa: BLE001 (a defect of ours must not lose the job: it is tried again, then failed)
        reason = _advised(context, claim.job_id, failures, error)
        _retry(context, claim, reason, FIRST_DELAY * 3.0**failures)
        if not isinstance(error, DecoderKilledError):  # a recording can bring that about by itself
            _doubt_oneself(context, claim)
    else:
        context.fitness.succeeded()


def _advised(context: WorkerContext, job_id: str, failures: int, error: Exception) -> str:
    """The reason, and for a transcript that cannot be written what comes next: another try, or somebody's turn."""
    reason = _reason(error)
    if not isinstance(error, OutputError):
        return reason
    if failures + 1 < context.settings.failed_attempts:
        return f"{reason}; dropscribe tries again"
    return (
        f"{reason}, or set `results` to another folder, then `dropscribe retry {job_id}`; "
        f"`dropscribe transcript {job_id}` prints what was read"
    )


def _missing(context: WorkerContext, claim: JobClaim, error: SourceMissingError) -> None:
    """A file that is gone may be renamed or come back; where its whole folder is away, it waits for that."""
    job = queries.job(context.database, claim.id)
    reason = str(error)
    if _is_offline(context, job.root):
        log.info("waiting for %s: %s", job.root, reason)
        delay = context.settings.scan_seconds_network
        jobs.postpone(context.database, claim, f"{reason}; its folder is offline", delay=delay)
        return
    waits = max(1, context.settings.failed_attempts - 1)
    _retry(context, claim, reason, context.settings.missing_seconds / waits)


def _is_offline(context: WorkerContext, root: str) -> bool:
    """Is the folder of the recordings out of reach, by the scheduler's word or by our own look?"""
    offline = {folder.path for folder in list_roots(context.database) if not folder.online}
    return root in offline or not (is_in_bucket(root) or Path(root).is_dir())


def _retry(context: WorkerContext, claim: JobClaim, reason: str, delay: float) -> None:
    """Have the job tried again later, or fail where that was tried often enough."""
    limit = context.settings.failed_attempts
    context.ring(routing.FINISH, jobs.retry_later(context.database, claim, reason, delay=delay, limit=limit))


@contextmanager
def of_chunk(context: WorkerContext, work: ChunkWork | StretchWork) -> Iterator[None]:
    """Deal with whatever goes wrong in reading a window, or in embedding a stretch."""
    try:
        yield
    except NOT_OURS_TO_MEND:
        raise
    except StoppedError:
        chunks.release(context.database, work.claim)
    except (ModelFatalError, MemoryError) as error:
        _end_process(context, work.claim, error)
    except Exception as error:  # noqa: BLE001 (as above)
        reason = f"{_reason(error)} (at {work.span.start:.0f}-{work.span.end:.0f} s)"
        delay = FIRST_DELAY * 3.0**work.failures
        limit = 1 if isinstance(error, UsageError) else context.settings.failed_attempts  # a setting stays as it is
        woken = chunks.retry_later(context.database, work.claim, reason, delay=delay, limit=limit)
        context.ring(routing.FINISH, woken)
        _doubt_oneself(context, work.claim)
    else:
        context.fitness.succeeded()


def _end_process(context: WorkerContext, claim: ChunkClaim, error: Exception) -> None:
    """The lease is left to run out: a recording that breaks the model's process counts as one that killed it."""
    traceback.clear_frames(error.__traceback__)  # what they hold may be all the memory there is
    reason = "out of memory" if isinstance(error, MemoryError) else str(error)
    log.critical("the model cannot go on: %s", reason)
    try:
        recovery.note_crash_reason(context.database, claim, reason)
    finally:
        context.die(FATAL_EXIT)


def _doubt_oneself(context: WorkerContext, claim: JobClaim | ChunkClaim) -> None:
    """Where one recording after the other fails, the worker is more likely broken than all of them."""
    if context.fitness.failed(claim.job_id):
        log.critical(
            "%d different recordings failed here in a row; this worker shuts itself down", context.fitness.limit
        )
        fleet.heartbeat(context.database, context.owner, state=UNFIT)
        recovery.release_all(context.database, context.owner)  # what its other threads have is not to blame
        context.die(FATAL_EXIT)


def _reason(error: Exception) -> str:
    """Why a step failed, as the job keeps it; logged here, a defect of ours with its traceback."""
    if isinstance(error, DropscribeError):
        log.warning("%s", error)
        return str(error)
    log.error("internal error", exc_info=error)
    return f"internal error: {type(error).__name__}: {error}; please report it with the worker's log"
