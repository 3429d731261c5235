"""Pure: what the settings file of a folder may say, and what it means for a recording below that folder.

Anyone who may write to a share may write such a file. So values are held to the global declarations and to narrower
bounds where a worker could be kept busy for ever; no path leads out of the root, and nothing names a command.
"""

from __future__ import annotations

import logging
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ValidationError

from dropscribe.core import engines, mail_settings, on_done, reserved_names, retention
from dropscribe.core.errors import SettingsError
from dropscribe.core.hotwords import bounded, context_text, read_file, read_hotwords
from dropscribe.core.job_overrides import ARCHIVE, JobOverrides
from dropscribe.core.mail_settings import Mail
from dropscribe.core.retention import Retention
from dropscribe.core.safe_text import printable
from dropscribe.core.settings import Settings, web_address
from dropscribe.core.settings_errors import alike, faults, guess, reason
from dropscribe.core.settings_loading import renamed
from dropscribe.core.types import Priority

log = logging.getLogger(__name__)

# Keys that are global settings too, and mean the same.
SHARED = (
    "context", "language", "outputs", "engine", "precision", "model", "chunk_seconds", "speakers", "channels", "tracks",
    "task", "priority", "when_done", "status_page", "join_parts",
)  # fmt: skip
# What a job's row keeps of them, for the workers to merge over their own.
CARRIED = (
    "language", "outputs", "engine", "precision", "model", "chunk_seconds", "speakers", "channels", "tracks", "task",
    "notify",
)  # fmt: skip

# Of all keys, those that shape the text. Who may write to a share may set them; the others are the operator's.
OF_THE_TEXT = (
    "context", "hotwords", "language", "task", "outputs", "speakers", "channels", "tracks", "chunk_seconds",
    "join_parts",
)  # fmt: skip
# What tables of the operator alone may say, each checked by its own declaration: no file on the share can.
OF_TABLES: dict[str, Callable[[str, Mapping[str, Any]], object]] = {
    Retention.table: retention.of_folder,
    Mail.table: mail_settings.of_folder,
    on_done.KEY: on_done.of_folder,
}
ALLOW = "allow"  # in a table of the operator: what files on the share may set besides

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

    `results` and `models` are the global settings `results` and `folder_models`; `allowed` are the keys that count,
    None for all of them.
    """

    root: Path
    directory: str = ""
    results: Path | None = None
    models: tuple[str, ...] = ()
    allowed: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class EffectiveSettings:
    """What jobs of recordings in one folder are admitted with; `overrides` stay in their rows.

    `joins_parts` says that files may be parts of one recording.
    """

    settings_digest: str
    priority: Priority
    context: str
    overrides: JobOverrides = field(default_factory=JobOverrides)
    results: Results | None = None
    joins_parts: bool = False

    def overrides_at(self, path: str) -> JobOverrides:
        """Those of the recording at `path` (relative to the root), with the folder for its transcripts."""
        place = reserved_names.unshelved(path) if self.moves else path
        return replace(self.overrides, folder=self.results.of(place)) if self.results else self.overrides

    @property
    def moves(self) -> bool:
        """Are recordings archived when their job ended?"""
        return self.overrides.archives


def _terms(value: object) -> object:
    """Terms in one line as a list; pydantic says what is wrong with everything else.

    >>> _terms("Ada, ENIAC")
    ['Ada', ' ENIAC']
    """
    return value.split(",") if isinstance(value, str) else value


def _inside(value: str) -> str:
    """The path, if it names a folder within the watched one. Raises ValueError.

    >>> _inside("texts/2026")
    'texts/2026'
    """
    if ".." in PurePosixPath(value).parts or printable(value) != value:
        raise ValueError("must be a folder within the watched one, without ..")
    return value


def _readable(value: float) -> float:
    """Seconds of a chunk, if a model can use that many; 0 for as many as fit. Raises ValueError."""
    if value and not MIN_CHUNK <= value <= MAX_CHUNK:
        raise ValueError(f"must be 0 or from {MIN_CHUNK:.0f} to {MAX_CHUNK:.0f} seconds")
    return value


Short = Annotated[str, AfterValidator(lambda text: text.strip())]


class _Own(BaseModel):
    """Keys that mean something else than the global setting, or are held to narrower bounds."""

    hotwords: Annotated[tuple[str, ...], BeforeValidator(_terms)] = ()
    results: Annotated[Short, AfterValidator(_inside)] = ""
    notify: Annotated[Short, AfterValidator(web_address)] = ""
    chunk_seconds: Annotated[float, AfterValidator(_readable)] = 0


KEYS = tuple(dict.fromkeys([*SHARED, *_Own.model_fields]))


def read(text: str, hotwords: str | None, place: SettingsFilePlace) -> FolderSettings:
    """The settings of one folder: its file's text, and that of the hotwords beside it if there are any.

    Keys that are not allowed are left out; see `refused`. Raises SettingsError that names everything that is wrong,
    one line each.
    """
    remarks: list[str] = []
    said = _parsed(text, remarks)
    for remark in remarks:
        _warn(f"settings of the folder {printable(str(place.root / place.directory))}: {remark}")
    given = dict(_given({key: said[key] for key in said.keys() - _not_allowed(said, place)}, place))
    if hotwords is not None:
        given["hotwords"] = (*given.get("hotwords", ()), *read_hotwords(hotwords))
    return given


def refused(text: str, place: SettingsFilePlace) -> tuple[str, ...]:
    """The keys of a file that the operator alone may set there, in order. Raises SettingsError."""
    return tuple(sorted(_not_allowed(_parsed(text, []), place)))


def _parsed(text: str, remarks: list[str]) -> dict[str, Any]:
    """The TOML of a settings file, with the current names. Raises SettingsError."""
    try:
        return renamed(tomllib.loads(text), remarks)
    except (ValueError, RecursionError) as error:  # ValueError: also numbers of thousands of digits
        raise SettingsError(f"this is not TOML: {printable(str(error))}") from error


def _not_allowed(said: Mapping[str, Any], place: SettingsFilePlace) -> frozenset[str]:
    """The keys that the file says and may not say; none where the operator wrote it."""
    return frozenset() if place.allowed is None else frozenset(KEYS).intersection(said) - place.allowed


def _given(said: Mapping[str, Any], place: SettingsFilePlace) -> FolderSettings:
    """The settings of a file, with the folder for results as a place. Raises SettingsError."""
    given = dict(_checked(said, place))
    return given | {"results": _results(given["results"], place)} if "results" in given else given


@dataclass(frozen=True, slots=True)
class FolderTable:
    """What the operator says of a folder, and what files on the share may set there and below besides."""

    given: FolderSettings
    allow: frozenset[str]


def tables(settings: Settings, root: Path) -> dict[str, FolderTable]:
    """What the operator's tables say of a root and the folders in it, by directory relative to it.

    A table of a folder above the root holds for the root. Raises SettingsError that names the table.
    """
    found: dict[str, FolderTable] = {}
    for path in sorted(settings.folders, key=lambda path: len(Path(path).parts)):
        if directory := _directory(Path(path), root):
            above = found.get(directory, FolderTable({}, frozenset()))
            place = SettingsFilePlace(root, directory.removeprefix("./"), settings.results, settings.folder_models)
            own = _table(path, dict(settings.folders[path]), place)
            found[directory] = FolderTable({**above.given, **own.given}, above.allow | own.allow)
    return {directory.removeprefix("./"): table for directory, table in found.items()}


def _directory(folder: Path, root: Path) -> str:
    """`./` and the directory, with a slash at its end; empty for a folder beside the root."""
    if root.is_relative_to(folder):
        return "./"
    return f"./{folder.relative_to(root)}/" if folder.is_relative_to(root) else ""


def _table(path: str, said: dict[str, Any], place: SettingsFilePlace) -> FolderTable:
    """What the operator's table says of a folder, and what it allows there. Raises SettingsError."""
    try:
        allow = _allow(said.pop(ALLOW, []))
        for key, of_folder in OF_TABLES.items():
            of_folder(path, {key: said.pop(key)} if key in said else {})
        return FolderTable(_given(renamed(said, []), place), allow)
    except SettingsError as error:
        raise SettingsError(f'[folders."{path}"]: {error.problem}', remedy="fix dropscribe.toml") from error


def _allow(said: object) -> frozenset[str]:
    """The keys in `allow` of a table for a folder. Raises SettingsError if it is not a list of such keys."""
    if not isinstance(said, list) or not {*KEYS}.issuperset(map(str, said)):
        raise SettingsError(f"{ALLOW} is a list of keys that a folder may set: {', '.join(KEYS)}")
    return frozenset(said)


@cache
def _warn(remark: str) -> None:
    """Once in a process."""
    log.warning("%s", remark)


def _checked(said: Mapping[str, object], place: SettingsFilePlace) -> FolderSettings:
    """What a settings file says, as settings. Raises SettingsError with a line for each mistake in it."""
    wrong = [_unknown(key) for key in said if key not in KEYS]
    wrong += filter(None, [model_refusal(said.get("model"), place.models)])
    if place.directory and "status_page" in said:
        wrong.append("status_page: it may only stand in the file at the top of the watched folder")
    shared, errors = _validated(Settings, said, SHARED)
    wrong += errors
    own, errors = _validated(_Own, said, _Own.model_fields)
    wrong += errors
    if wrong:
        raise SettingsError("\n".join(dict.fromkeys(wrong)))
    return shared | own


def model_refusal(model: object, models: Sequence[str]) -> str:
    """Why a folder or a recording may not wish for that checkpoint; empty if it may.

    `models` are those of the setting `folder_models`.

    >>> model_refusal("turbo", ["turbo", "base"])
    ''
    """
    return "" if not model or model in models else _explain("model", model, _allowed(models))


def _allowed(models: Sequence[str]) -> str:
    """What to say of a model that a folder may not name."""
    if models:
        return f"it may be one of {', '.join(models)}"
    return "no checkpoint may be named here; the administrator allows some with `folder_models`"


def _validated(model: type[BaseModel], said: Mapping[str, object], keys: Any) -> tuple[dict[str, Any], list[str]]:
    """Those of the `keys` that the file says, as `model` understands them; and a sentence for each mistake."""
    part = {key: value for key, value in said.items() if key in keys}
    if not part:
        return {}, []
    try:
        return model.model_validate(part).model_dump(include=set(part)), []
    except ValidationError as error:
        return {}, [_explain(item["loc"][0], item["input"], reason(item)) for item in faults(error)]


def _explain(key: object, value: object, why: str) -> str:
    """One mistake: the key, the value as far as it fits into a line, and what is wrong.

    >>> _explain("speakers", "many", "must be a number")
    "speakers = 'many': must be a number"
    """
    shown = f" = {printable(value)[:60]!r}" if isinstance(value, str) else ""
    return f"{key}{shown}: {why}"


@lru_cache(64)  # thousands of files may have the same mistake
def _unknown(key: str) -> str:
    """One mistake: a key that there is not, and the one that was probably meant."""
    hint = guess(alike(key, KEYS), f"a folder may set {', '.join(KEYS)}")
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
    shared = {key: getattr(settings, key) for key in ("context", "priority", "when_done", "status_page", "join_parts")}
    return {**shared, "hotwords": terms}


def effective(settings: Settings, given: FolderSettings) -> EffectiveSettings:
    """What holds under `general` and what folders add to it.

    Raises SettingsError when the context is too long, or the engine that is named cannot translate.
    """
    engines.require_task(given.get("engine", settings.engine), given.get("task", settings.task))
    context = bounded(context_text(given["context"], given["hotwords"]))
    when_done = ARCHIVE if given["when_done"] == ARCHIVE else None
    overrides = JobOverrides(**{key: given[key] for key in CARRIED if key in given}, when_done=when_done)
    digest = settings.for_job(overrides).digest(context)
    return EffectiveSettings(
        settings_digest=digest,
        priority=given["priority"],
        context=context,
        overrides=overrides,
        results=given.get("results"),
        joins_parts=given["join_parts"],
    )
