"""Pure: what the settings file of a folder may say, and what it means for a recording below that folder.

Whoever may write to a share may write such a file. So values are held to the global declarations and to narrower
bounds where a worker could be kept busy for ever; no path leads out of the root, and nothing names a command.
"""

from __future__ import annotations

import difflib
import logging
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ValidationError

from dropscribe.core import reserved_names
from dropscribe.core.errors import SettingsError
from dropscribe.core.hotwords import bounded, context_text, read_file, read_hotwords
from dropscribe.core.job_overrides import ARCHIVE, JobOverrides
from dropscribe.core.safe_text import printable
from dropscribe.core.settings import Settings
from dropscribe.core.settings_errors import NEAR, faults, reason
from dropscribe.core.settings_loading import renamed
from dropscribe.core.types import Priority

log = logging.getLogger(__name__)

# Keys that are global settings too, and mean the same.
SHARED = (
    "context", "language", "outputs", "engine", "precision", "model", "chunk_seconds", "speakers", "channels", "tracks",
    "priority", "when_done", "status_page",
)  # fmt: skip
# What a job's row keeps of them, for the workers to merge over their own.
CARRIED = (
    "language", "outputs", "engine", "precision", "model", "chunk_seconds", "speakers", "channels", "tracks", "notify",
)  # fmt: skip

MIN_CHUNK = 30.0  # s; shorter ones would make thousands of a long recording
MAX_CHUNK = 86_400.0  # s

FolderSettings = Mapping[str, Any]  # settings by key, checked


@dataclass(frozen=True, slots=True)
class Results:
    """Where transcripts go: `folder`, absolute, mirrors what lies below `base`, a directory relative to the root."""

    folder: Path
    base: str

    def of(self, path: str) -> str:
        """The folder for the recording at `path` (relative to the root)."""
        return str(self.folder / PurePosixPath(path).parent.relative_to(self.base))


@dataclass(frozen=True, slots=True)
class SettingsFilePlace:
    """Where a settings file lies: its directory, relative to the root.

    `results` and `models` are the global settings `results` and `folder_models`.
    """

    root: Path
    directory: str = ""
    results: Path | None = None
    models: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class EffectiveSettings:
    """What jobs of recordings in one folder are admitted with; `overrides` stay in their rows."""

    settings_digest: str
    priority: Priority
    context: str
    overrides: JobOverrides = field(default_factory=JobOverrides)
    results: Results | None = None

    def overrides_at(self, path: str) -> JobOverrides:
        """Those of the recording at `path` (relative to the root), with the folder for its transcripts."""
        place = reserved_names.unshelved(path) if self.moves else path
        return replace(self.overrides, folder=self.results.of(place)) if self.results else self.overrides

    @property
    def moves(self) -> bool:
        """Are recordings archived when their job ended?"""
        return self.overrides.archives


def _terms(value: object) -> object:
    return value.split(",") if isinstance(value, str) else value


def _inside(value: str) -> str:
    if ".." in PurePosixPath(value).parts or printable(value) != value:
        raise ValueError("must be a folder within the watched one, without ..")
    return value


def _web_address(value: str) -> str:
    try:
        parts = urlsplit(value)
        fits = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        fits = False
    if value and (not fits or printable(value) != value or " " in value):
        raise ValueError("must be a web address that begins with https:// or http://")
    return value


def _readable(value: float) -> float:
    if value and not MIN_CHUNK <= value <= MAX_CHUNK:
        raise ValueError(f"must be 0 or from {MIN_CHUNK:.0f} to {MAX_CHUNK:.0f} seconds")
    return value


Short = Annotated[str, AfterValidator(lambda text: text.strip())]


class _Own(BaseModel):
    """Keys that mean something else than the global setting, or are held to narrower bounds."""

    hotwords: Annotated[tuple[str, ...], BeforeValidator(_terms)] = ()
    results: Annotated[Short, AfterValidator(_inside)] = ""
    notify: Annotated[Short, AfterValidator(_web_address)] = ""
    chunk_seconds: Annotated[float, AfterValidator(_readable)] = 0


KEYS = tuple(dict.fromkeys([*SHARED, *_Own.model_fields]))


def read(text: str, hotwords: str | None, place: SettingsFilePlace) -> FolderSettings:
    """The settings of one folder: its file's text, and that of the hotwords beside it if there are any.

    Raises SettingsError that names everything that is wrong, one line each.
    """
    try:
        said = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: also numbers of thousands of digits
        raise SettingsError(f"this is not TOML: {printable(str(error))}") from error
    remarks: list[str] = []
    given = dict(_checked(renamed(said, remarks), place))
    for remark in remarks:
        _warn(f"settings of the folder {printable(str(place.root / place.directory))}: {remark}")
    if hotwords is not None:
        given["hotwords"] = (*given.get("hotwords", ()), *read_hotwords(hotwords))
    if "results" in given:
        given["results"] = _results(given["results"], place)
    return given


@cache
def _warn(remark: str) -> None:
    """Once in a process."""
    log.warning("%s", remark)


def _checked(said: Mapping[str, object], place: SettingsFilePlace) -> FolderSettings:
    wrong = [_unknown(key) for key in said if key not in KEYS]
    if said.get("model") and said["model"] not in place.models:
        wrong.append(_explain("model", said["model"], _allowed(place.models)))
    if place.directory and "status_page" in said:
        wrong.append("status_page: it may only stand in the file at the top of the watched folder")
    shared, errors = _validated(Settings, said, SHARED)
    wrong += errors
    own, errors = _validated(_Own, said, _Own.model_fields)
    wrong += errors
    if wrong:
        raise SettingsError("\n".join(dict.fromkeys(wrong)))
    return shared | own


def _allowed(models: tuple[str, ...]) -> str:
    if models:
        return f"a folder may take {', '.join(models)}"
    return "no checkpoint may be named here; the administrator allows some with `folder_models`"


def _validated(model: type[BaseModel], said: Mapping[str, object], keys: Any) -> tuple[dict[str, Any], list[str]]:
    part = {key: value for key, value in said.items() if key in keys}
    try:
        return model.model_validate(part).model_dump(include=set(part)), []
    except ValidationError as error:
        return {}, [_explain(item["loc"][0], item["input"], reason(item)) for item in faults(error)]


def _explain(key: object, value: object, why: str) -> str:
    shown = f" = {printable(value)[:60]!r}" if isinstance(value, str) else ""
    return f"{key}{shown}: {why}"


def _unknown(key: str) -> str:
    nearest = difflib.get_close_matches(key, KEYS, n=1, cutoff=NEAR)
    hint = f"did you mean {nearest[0]}?" if nearest else f"a folder may set {', '.join(KEYS)}"
    return f"unknown key {printable(key)[:60]}; {hint}"


def _results(value: str, place: SettingsFilePlace) -> Results | None:
    """Raises SettingsError for a folder that is neither below the root nor below the global one for results."""
    if not value:
        return None
    folder = place.root / place.directory / value
    if not any(map(folder.is_relative_to, filter(None, (place.root, place.results)))):
        raise SettingsError(f"results = {value[:60]!r}: must lie within the watched folder")
    return Results(folder, place.directory)


def general(settings: Settings) -> FolderSettings:
    """What holds where no folder says otherwise. Raises SettingsError when the global hotwords cannot be read."""
    terms = read_file(settings.hotwords) if settings.hotwords else ()
    shared = {key: getattr(settings, key) for key in ("context", "priority", "when_done", "status_page")}
    return {**shared, "hotwords": terms}


def effective(settings: Settings, given: FolderSettings) -> EffectiveSettings:
    """What holds under `general` and what folders add to it. Raises SettingsError when the context is too long."""
    context = bounded(context_text(given["context"], given["hotwords"]))
    when_done = ARCHIVE if given["when_done"] == ARCHIVE else None
    overrides = JobOverrides(**{key: given[key] for key in CARRIED if key in given}, when_done=when_done)
    digest = settings.for_job(overrides).digest(context)
    return EffectiveSettings(digest, given["priority"], context, overrides, given.get("results"))
