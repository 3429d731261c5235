"""One file that somebody submits by name becomes a job, under the settings of the watched folder that it lies in."""

from __future__ import annotations

import stat
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from dropscribe.core.bucket_names import as_stored, is_in_bucket
from dropscribe.core.error_translation import explained
from dropscribe.core.errors import SettingsError, UsageError
from dropscribe.core.folder_settings import FolderSettings, model_refusal
from dropscribe.core.hotwords import read_file
from dropscribe.core.mappings import said
from dropscribe.core.settings import Settings
from dropscribe.core.settings_errors import validated
from dropscribe.core.types import Priority
from dropscribe.scheduler.scanning.scan import Observation, observed
from dropscribe.scheduler.watching import admission
from dropscribe.store import commands, jobs, parts, queries
from dropscribe.store.jobs import NewJob
from dropscribe.store.roots import list_roots
from dropscribe.store.session import Database


def recordings(
    database: Database,
    settings: Settings,
    files: Sequence[Path],
    *,
    priority: Priority | None,
    topic: str | None,
    hotwords: Path | None,
    own: Mapping[str, Any] = MappingProxyType({}),
) -> list[NewJob]:
    """The files as jobs; what is given wins over the settings. Raises UsageError, or SettingsError for `own`.

    `own` are settings of a job (`dropscribe.core.settings.job_options`), in text as a person types it or as they are.
    Its checkpoint has to be one of those that folders may ask for: no other worker would ever take it.
    """
    given = wishes(settings, own, priority=priority, topic=topic)
    if hotwords:
        given["hotwords"] = read_file(hotwords)
        settings = settings.model_copy(update={"hotwords": None})
    return [recording(database, settings, file, given) for file in files]


def wishes(
    settings: Settings, own: Mapping[str, Any], *, priority: Priority | None, topic: str | None
) -> dict[str, Any]:
    """What somebody wants for a recording, checked: it wins over its folder's settings. Raises SettingsError."""
    checked = validated(Settings, own)
    if refusal := model_refusal(own.get("model"), settings.folder_models):
        raise SettingsError(refusal)
    return said({"priority": priority, "context": topic} | {name: getattr(checked, name) for name in own})


def recording(database: Database, settings: Settings, file: Path, given: FolderSettings) -> NewJob:
    """The file as a job, under the watched folder that it lies in, else under its own; `given` wins over settings.

    The first file of a recording in parts means all of them. Raises UsageError.
    """
    if is_in_bucket(file):
        raise UsageError(
            f"{as_stored(file)} lies in a bucket", remedy="watch its folder: dropscribe up s3://BUCKET/FOLDER"
        )
    path = file.expanduser().parent.resolve() / file.name
    seen = _observed(file, path)
    watched = [Path(root.path) for root in list_roots(database)]
    root = next((folder for folder in watched if path.is_relative_to(folder)), path.parent)
    found = submitted(settings, root, str(path.relative_to(root)), seen, given, is_watched=root in watched)
    return replace(found, parts=parts.of_file(database, found.root, found.path, seen))


def submitted(
    settings: Settings, root: Path, below: str, seen: Observation, given: FolderSettings, *, is_watched: bool
) -> NewJob:
    """The file `below` the root as a job; `given` wins over settings. Raises SettingsError."""
    if not is_watched:  # nobody is there to put it away
        given = {**given, "when_done": "keep"}
    orders = admission.orders_above(settings, root, below, given)
    return replace(admission.new_job(str(root), below, seen, orders), submitted=True)


def _observed(file: Path, path: Path) -> Observation:
    """The file at `path`, which somebody called `file`: whatever its name. Raises UsageError if it is not a file."""
    with explained(OSError, UsageError, str(file), remedy="name an existing recording"):
        found = path.lstat()
    if not stat.S_ISREG(found.st_mode):
        raise UsageError(f"{file} is not a regular file", remedy="name the recording itself")
    return observed(found)


def enter(database: Database, wanted: NewJob, priority: Priority | None = None) -> tuple[str, bool]:
    """Insert the job, or find the one that is there already; returns its id, and whether it is a new one.

    One that is there and not over gets the `priority` that somebody asks for.
    """
    if admitted := jobs.admit(database, [wanted], again=True):
        return admitted[0], True
    job_id = jobs.find_admitted(database, wanted)
    if job_id is None:
        raise UsageError(f"{wanted.source} could not be admitted just now", remedy="try again")
    if priority and queries.active_among(database, {job_id}):
        commands.set_priority(database, job_id, priority)
    return job_id, False
