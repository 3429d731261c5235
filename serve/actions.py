"""What a caller changes: by the functions of the command line, and only in the caller's folders."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dropscribe.admin.act import change, enroll, rerun, speakers, submit, voices
from dropscribe.admin.act import correct as corrections
from dropscribe.admin.act.step_sender import StepSender
from dropscribe.admin.state.accounts import own_account
from dropscribe.core.corrections import Edit
from dropscribe.core.errors import TooManyError
from dropscribe.core.folder_settings import EffectiveSettings
from dropscribe.core.types import Priority
from dropscribe.scheduler.scanning.scan import observed
from dropscribe.scheduler.watching import admission, submission
from dropscribe.serve.uploads import Upload, UploadPlace
from dropscribe.serve.visible import VisibleStore
from dropscribe.store import commands, switches
from dropscribe.store.queries import Job

_ENROLLING = threading.Lock()  # it takes a model and seconds of a core


def require_room(visible: VisibleStore) -> None:
    """Raise TooManyError where so much waits in the caller's folders that no more may be uploaded."""
    most = visible.context.settings.serve_waiting
    if not visible.caller.is_operator and visible.waiting() >= most:
        raise TooManyError(f"{most} recordings wait in your folders already", remedy="try again when some are done")


def wishes(
    visible: VisibleStore, own: Mapping[str, Any], priority: Priority | None, topic: str | None
) -> dict[str, Any]:
    """What is wanted for a recording that is sent, checked as `dropscribe submit` does. Raises SettingsError."""
    return submission.wishes(visible.context.settings, own, priority=priority, topic=topic)


def orders(visible: VisibleStore, place: UploadPlace, given: dict[str, Any]) -> EffectiveSettings:
    """What holds for a recording at that place; `given` wins over its folder's settings. Raises SettingsError."""
    return admission.orders_above(visible.context.settings, Path(place.root), place.path, given)


def admit(
    visible: VisibleStore, place: UploadPlace, sent: Upload, ordered: EffectiveSettings, priority: Priority | None
) -> str:
    """Give a recording that is whole its name, and make a job of it, or do neither. Returns the id of the job.

    Raises NameTakenError, SpoolError, StoreError.
    """
    seen = sent.put()
    try:
        wanted = admission.new_job(place.root, place.path, observed(seen), ordered)
        return submit.admit(visible.context, wanted, priority)
    except BaseException:
        sent.take_back()
        raise


def retry(visible: VisibleStore, job: Job, *, replaces: bool) -> Job:
    """Give the job another chance, also where that `replaces` what people corrected; returns it as it is then."""
    by = who(visible) if replaces else None
    change.retry_job(StepSender(visible.context), job.id, replaces_by=by)
    return visible.job(job.id)


def cancel(visible: VisibleStore, job: Job) -> Job:
    """Cancel the job; returns it as it is then."""
    change.cancel_job(StepSender(visible.context), job.id)
    return visible.job(job.id)


def prioritize(visible: VisibleStore, job: Job, priority: Priority) -> Job:
    """Let the job go before or after others; returns it as it is then."""
    commands.set_priority(visible.context.database, job.id, priority)
    return visible.job(job.id)


def rerun_job(visible: VisibleStore, job: Job, *, replaces: bool) -> str:
    """Re-apply the current settings, also where that `replaces` what people corrected; returns what is done with it."""
    return rerun.rerun_job(visible.context, job, replaces=replaces, who=who(visible))


def who(visible: VisibleStore) -> str:
    """Who asks, as the store keeps it: the name of the token, or the account of the operator."""
    return visible.caller.name or own_account()


def name_speakers(
    visible: VisibleStore, job: Job, names: dict[str, str], merges: dict[str, str], seen: int | None
) -> tuple[dict[str, Any], int]:
    """Name and merge speakers, who are meant by number or by name; returns who speaks then, and the revision's number.

    Raises EditConflictError where the revision that was `seen` is not the last.
    """
    number = speakers.say(visible.context, job, names.items(), merges.items(), who=who(visible), expected=seen)
    speakers.when_written(visible.context, job)
    return visible.speakers(visible.job(job.id)), number


def correct(visible: VisibleStore, job: Job, edits: Sequence[Edit], seen: int | None) -> int:
    """Correct the transcript as it was `seen`; returns the number of the revision. Raises EditConflictError."""
    return corrections.correct(visible.context, job, edits, who(visible), expected=seen)


def undo(visible: VisibleStore, job: Job, seen: int | None) -> int:
    """Take the last correction back; returns the number of the revision. Raises EditConflictError."""
    return corrections.undo(visible.context, job, who(visible), expected=seen)


def go_back(visible: VisibleStore, job: Job, back_to: int, seen: int | None) -> int:
    """Have the transcript of an earlier revision; returns the number of the new one. Raises EditConflictError."""
    return corrections.go_back(visible.context, job, back_to, who(visible), expected=seen)


def pause(visible: VisibleStore, *, paused: bool) -> None:
    """Let the fleet start nothing new, or go on. Raises ForbiddenError for a caller who is limited to folders."""
    visible.caller.require_everywhere()
    change_switch = switches.pause if paused else switches.resume
    change_switch(visible.context.database)


def enroll_voice(visible: VisibleStore, job: Job, speaker: str, name: str) -> dict[str, Any]:
    """Keep the voice of a speaker under a name, one at a time; returns the voice as it is kept then.

    Raises TooManyError while another is enrolled, and as `enroll.enrolled` does.
    """
    if not _ENROLLING.acquire(blocking=False):
        raise TooManyError("another voice is being enrolled", remedy="try again when it is done")
    try:
        return enroll.enrolled(visible.context, job, speaker, name).document
    finally:
        _ENROLLING.release()


def forget_voice(visible: VisibleStore, name: str) -> None:
    """Remove a known voice. Raises UsageError where there is none of that name, ForbiddenError as `pause` does."""
    visible.caller.require_everywhere()
    voices.remove(visible.context, [name])
