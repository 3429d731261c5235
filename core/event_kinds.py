"""The kinds of events in a job's audit trail."""

from __future__ import annotations

from enum import StrEnum


class EventKind(StrEnum):
    """What happened to a job or a chunk of it. A kind that is also a state of jobs means that the job came to it.

    A store may hold events of earlier versions under their old names (`dropscribe.core.old_names.EVENTS`).
    """

    ADMITTED = "admitted"
    RENAMED = "renamed"
    JOINED = "joined"  # to further files that its recorder wrote of the same recording
    FELL_APART = "fell_apart"  # those do not belong together: each is a recording by itself
    PREPARING = "preparing"
    PREPARED = "prepared"
    FOLLOWS = "follows"  # another job has the same content, and its transcript is waited for
    START_OVER = "start_over"  # that job has no transcript, or the transcript that it took over is gone
    TAKEN_OVER = "taken_over"  # its transcript lay beside it, and the store did not know it
    PREPARE_AGAIN = "prepare_again"  # decoded audio is gone from the spool
    ANOTHER_MODEL = "another_model"  # no worker has the model that began it: another transcribes it again
    TRANSCRIBING = "transcribing"
    TRANSCRIBED = "transcribed"
    FAILED_CHECKS = "failed_checks"
    SPLIT = "split"
    NOT_EMBEDDED = "not_embedded"  # the job does without the voices of a stretch
    FINISHING = "finishing"
    DONE = "done"
    SUSPECT = "suspect"
    DUPLICATE = "duplicate"
    FAILED = "failed"
    PARKED = "parked"
    CANCELLED = "cancelled"

    RETRY = "retry"  # a step failed and is tried again
    DEFERRED = "deferred"  # likewise, for what is not the recording's fault
    REFUSED = "refused"  # the recording itself is at fault: a retry cannot help
    RELEASED = "released"
    LOST = "lost"  # the worker that had it is gone
    CRASHED = "crashed"  # why a worker ended over its work

    PRIORITY = "priority"  # somebody gave it another one
    CANCEL_REQUESTED = "cancel_requested"
    RETRIED = "retried"  # somebody gave the job another chance
    RERUN = "rerun"
    SPEAKERS = "speakers"  # somebody named or merged them
    REVISED = "revised"  # somebody corrected its transcript, or took a correction back
    CORRECTIONS_REPLACED = (
        "corrections_replaced"  # somebody lets another transcript take the place of the corrected one
    )
    ARCHIVED = "archived"
    NOT_ARCHIVED = "not_archived"
    TEXT_REMOVED = "text_removed"  # what was said is gone from the store: see `dropscribe.store.forget`
    NOTIFIED = "notified"
    NOT_NOTIFIED = "not_notified"
