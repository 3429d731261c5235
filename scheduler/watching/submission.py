"""One file that somebody submits by name becomes a job, under the settings of the watched folder that it lies in."""

from __future__ import annotations

import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from dropscribe.core.errors import UsageError
from dropscribe.core.folder_settings import FolderSettings
from dropscribe.core.hotwords import read_file
from dropscribe.core.mappings import said
from dropscribe.core.settings import Settings
from dropscribe.core.settings_errors import validated
from dropscribe.core.types import Priority
from dropscribe.scheduler.scanning.scan import Observation, observed
from dropscribe.scheduler.watching import admission
from dropscribe.store import jobs
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
    """
    checked = validated(Settings, own)
    over: dict[str, object] = {"priority": priority, "context": topic} | {name: getattr(checked, name) for name in own}
    if hotwords:
        over["hotwords"] = read_file(hotwords)
        settings = settings.model_copy(update={"hotwords": None})
    given = said(over)
    return [recording(database, settings, file, given) for file in files]


def recording(database: Database, settings: Settings, file: Path, given: FolderSettings) -> NewJob:
    """The file as a job, under the watched folder that it lies in, else under its own; `given` wins over settings.

    Raises UsageError.
    """
    path = file.expanduser().parent.resolve() / file.name
    seen = _observed(file, path)
    watched = [Path(root.path) for root in list_roots(database)]
    root = next((folder for folder in watched if path.is_relative_to(folder)), path.parent)
    if root not in watched:  # nobody is there to put it away
        given = {**given, "when_done": "keep"}
    below = str(path.relative_to(root))
    return admission.new_job(str(root), below, seen, admission.orders_above(settings, root, below, given))


def _observed(file: Path, path: Path) -> Observation:
    """The file at `path`, which somebody called `file`: whatever its name. Raises UsageError if it is no file."""
    try:
        found = path.lstat()
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}", remedy="name an existing recording") from error
    if not stat.S_ISREG(found.st_mode):
        raise UsageError(f"{file} is not a regular file", remedy="name the recording itself")
    return observed(found)


def enter(database: Database, wanted: NewJob) -> tuple[str, bool]:
    """Insert the job, or find the one that is there already; returns its id, and whether it is a new one."""
    if admitted := jobs.admit(database, [wanted], again=True):
        return admitted[0], True
    job_id = jobs.find_admitted(database, wanted)
    if job_id is None:
        raise UsageError(f"{wanted.source} could not be admitted just now", remedy="try again")
    return job_id, False
