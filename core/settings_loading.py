"""Reads settings: options over environment over `dropscribe.toml` over default, and where each value came from.

Plain pydantic rather than pydantic-settings: the latter doubles the start-up time of `dropscribe status`, and
where a value came from has to be known anyway.

A place that names one model (`engine`, `model`) sets aside the list `engines` of a place below it.

A setting of a group is called `table.name` here: `attention` in the file's table `[vibevoice]` is
`vibevoice.attention`, and its variable `DROPSCRIBE_VIBEVOICE_ATTENTION`.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from dropscribe.core import engines, old_names, passwords, settings_file
from dropscribe.core.bucket_names import is_in_bucket
from dropscribe.core.engine_settings import groups
from dropscribe.core.error_translation import explained
from dropscribe.core.errors import SettingsError
from dropscribe.core.mappings import said
from dropscribe.core.passwords import HIDDEN, mask
from dropscribe.core.settings import Settings, fields, variable
from dropscribe.core.settings_errors import secrets, unknown, validated
from dropscribe.core.settings_file import CONFIG_VARIABLE, NO_FILE
from dropscribe.core.settings_groups import SettingsGroup
from dropscribe.core.store_settings import PREFIX, default_home

FILE_ENDING = "_FILE"  # of the variable that names a file with a secret in it
ONE_MODEL, SEVERAL = frozenset(("engine", "model")), "engines"
OLD_NAMES = old_names.SETTINGS  # old -> new; both are accepted until `old_names.UNTIL`


@dataclass(frozen=True, slots=True)
class Origin:
    """One setting as `dropscribe config` shows it."""

    name: str
    variable: str
    value: str
    source: str
    help: str


@dataclass(frozen=True, slots=True)
class _Given:
    """What each place says, by current names; `file` is the one that was read, if any."""

    from_file: Mapping[str, Any]
    from_environment: Mapping[str, Any]
    options: Mapping[str, Any]
    file: Path | None
    folders: Mapping[str, Any]

    @property
    def values(self) -> dict[str, Any]:
        """What holds."""
        return {**self.from_file, **self.from_environment, **self.options}

    def called(self, name: str) -> str:
        """What a setting is called in the place that it came from."""
        if name in self.from_environment:
            return variable(name)
        return f"{name} in {self.file}" if name in self.from_file else name

    def source(self, name: str) -> str:
        """The place that a setting came from, except options."""
        if name in self.from_environment:
            return "environment"
        return str(self.file) if name in self.from_file else "default"


def load(
    environ: Mapping[str, str] = os.environ,
    *,
    overrides: Mapping[str, Any] = MappingProxyType({}),
    watched: Iterable[Path] = (),
) -> Settings:
    """Read all settings. `overrides` are command-line options and win over everything.

    No file in a `watched` folder is read unless it is named; these are absolute paths without links. Raises
    SettingsError for an unknown key (naming the nearest known one) or a value that does not fit.
    """
    remarks: list[str] = []
    given = _gather(environ, overrides, remarks, watched)
    return _build(given).remember(remarks, given.file.absolute() if given.file else None)


def origins(settings: Settings, environ: Mapping[str, str] = os.environ) -> list[Origin]:
    """Every setting with its value and where it came from; secrets are masked."""
    given, files = _gather(environ, {}, []), _secret_files(environ)
    return [_origin(name, settings, files.get(name) or given.source(name)) for name in fields()]


def as_environment(
    settings: Settings, environ: Mapping[str, str] = os.environ, *, overrides: Mapping[str, Any]
) -> dict[str, str]:
    """The variables by which another process, wherever it starts, gets the `settings` that were loaded from these.

    A file stays one: it is named, so that what is changed in it counts at the next start.
    """
    file = {CONFIG_VARIABLE: str(settings.file)} if settings.file else {}
    given, files = _gather({**environ, CONFIG_VARIABLE: NO_FILE, **file}, overrides, []), _secret_files(environ)
    said = {"home", *given.from_environment, *given.options} & fields().keys()
    found = {variable(name): _shown(settings.value(name)) for name in sorted(said - files.keys())}
    secret = {variable(name) + FILE_ENDING: str(Path(path).absolute()) for name, path in files.items()}
    return found | secret | file


def _origin(name: str, settings: Settings, source: str) -> Origin:
    """A setting with its value as it may be shown, and where it came from."""
    field = fields()[name]
    shown = _MASKS[secrets(fields()).get(name)](_shown(settings.value(name)))
    return Origin(
        name=name,
        variable=variable(name),
        value=shown,
        source=source,
        help=field.description or "",
    )


# What is shown of a value, by what its declaration says of its secrecy.
_MASKS: dict[Any, Callable[[str], str]] = {None: str, True: mask, "whole": lambda shown: shown and HIDDEN}


def _shown(value: Any) -> str:
    """A value as it stands in an environment variable.

    >>> _shown(("json", "srt")), _shown(None), _shown(2)
    ('json,srt', '', '2')
    """
    if isinstance(value, tuple):
        return ",".join(value)
    return "" if value is None else str(value)


def _gather(
    environ: Mapping[str, str],
    overrides: Mapping[str, Any],
    remarks: list[str],
    watched: Iterable[Path] = (),
) -> _Given:
    """What each place says; `remarks` are added to for old names."""
    from_environment = renamed(_from_environment(environ), remarks, variable)
    home = Path(from_environment.get("home") or default_home()).expanduser()
    file = settings_file.find(environ, home, watched, remarks)
    in_file, folders = _from_file(file) if file else ({}, {})
    from_file = renamed(in_file, remarks, lambda name: f"{name} in {file}")
    options = renamed(said(overrides), remarks)
    from_environment = _without_list(from_environment, options)
    from_file = _without_list(from_file, options.keys() | from_environment.keys())
    return _Given(
        from_file=from_file,
        from_environment=from_environment,
        options=options,
        file=file,
        folders=folders,
    )


def _without_list(values: Mapping[str, Any], above: Collection[str]) -> dict[str, Any]:
    """What a place says, without its `engines` where one model is named `above` it, which is to run alone."""
    is_lost = SEVERAL not in above and not ONE_MODEL.isdisjoint(above)
    return {name: value for name, value in values.items() if not (is_lost and name == SEVERAL)}


def renamed(given: Mapping[str, Any], remarks: list[str], where: Callable[[str], str] = str) -> dict[str, Any]:
    """Settings under the current names and with the current values; of two names for one setting, the new one wins.

    Adds a sentence for each old one to `remarks`; `where` says what a name is called in the place that it came from.
    """
    found = {name: old_names.current_value(name, value) for name, value in given.items() if name not in OLD_NAMES}
    for name, value in found.items():
        if value is not given[name]:
            remarks.append(_remark(f"{where(name)} = {given[name]!r}", repr(value)))
    for old, new in OLD_NAMES.items():
        if old in given:
            ignored = f", which is set too: {where(old)} is ignored" if new in given else ""
            remarks.append(_remark(where(old), where(new)) + ignored)
            found.setdefault(new, given[old])
    return found


def _remark(old: str, new: str) -> str:
    """That an old name was said."""
    return f"{old} is the old name, accepted until version {old_names.UNTIL}; say {new}"


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    """What the environment says, by the names of settings; secrets are read from the files named there.

    Raises SettingsError for a variable of ours that means no setting.
    """
    known = {variable(name): name for name in (*fields(), *OLD_NAMES)}
    others = {CONFIG_VARIABLE, *in_files().values()}
    found = {}
    for called, value in environ.items():
        if not called.startswith(PREFIX) or called in others:
            continue
        if called not in known:
            names = [*map(variable, fields()), CONFIG_VARIABLE]
            raise SettingsError(unknown("environment variable", called, names))
        if value != "":  # an empty variable is how compose files spell "not set"
            found[known[called]] = value
    return found | {name: _secret_in(name, Path(path), found) for name, path in _secret_files(environ).items()}


def in_files() -> dict[str, str]:
    """The variables that name files with secrets in them, by the settings that these are.

    An engine may have a setting of that name, which it then reads itself.
    """
    known = fields()
    return {name: variable(name) + FILE_ENDING for name in secrets(known) if f"{name}_file" not in known}


def _secret_files(environ: Mapping[str, str]) -> dict[str, str]:
    """The files that secrets are in, by the names of these settings: as containers and systemd hand them over."""
    return {name: environ[called] for name, called in in_files().items() if environ.get(called)}


def _secret_in(name: str, path: Path, found: Mapping[str, Any]) -> str:
    """A secret, from the file that the environment names for it. Raises SettingsError."""
    called = variable(name)
    if name in found:
        raise SettingsError(f"both {called} and {called}{FILE_ENDING} are set", remedy="unset one of them")
    with explained(
        (OSError, UnicodeDecodeError),
        SettingsError,
        f"{called}{FILE_ENDING} names {path}",
        remedy="correct or unset it",
    ):
        return path.expanduser().read_text(encoding="utf-8").rstrip("\r\n")


def _from_file(path: Path) -> tuple[dict[str, Any], Mapping[str, Any]]:
    """The settings of a file, and its tables for folders by their paths. Raises SettingsError."""
    with explained((OSError, ValueError), SettingsError, f"cannot read settings from {path}", remedy="fix the file"):
        said = tomllib.loads(path.read_text(encoding="utf-8"))
    folders = said.pop("folders", {})
    if not (isinstance(folders, dict) and all(map(_is_table_of_folder, folders.items()))):
        raise SettingsError(
            f"{path}: folders must hold only tables of folders",
            remedy='write each as [folders."/srv/recordings/hr"], with the whole path',
        )
    known, values = fields(), dict(_flat(said))
    if strange := sorted(values.keys() - known.keys() - OLD_NAMES.keys()):
        raise SettingsError(f"{path}: " + unknown("setting", strange[0], known))
    return values, folders


def _is_table_of_folder(entry: tuple[str, Any]) -> bool:
    """Is it a table for a folder, by its whole path?"""
    return (Path(entry[0]).is_absolute() or is_in_bucket(entry[0])) and isinstance(entry[1], dict)


def _flat(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The file's settings, those in the table of an engine or another group as `table.name`."""
    for name, value in values.items():
        if name in {*engines.names(), *groups()} and isinstance(value, dict):
            yield from ((f"{name}.{key}", inner) for key, inner in value.items())
        else:
            yield name, value


def _build(given: _Given) -> Settings:
    """The settings of what was said in all places, with absolute paths. Raises SettingsError."""
    _remember_secrets(given.values)
    general = {name: value for name, value in given.values.items() if name.partition(".")[0] not in groups()}
    settings = validated(Settings, general | {"folders": given.folders}, given.called)
    paths = {name: getattr(settings, name) for name in ("home", "results", "spool", "hotwords")}
    absolute = {name: path.expanduser().absolute() for name, path in paths.items() if path}
    return settings.model_copy(update=absolute).having(*(_group(table, given) for table in groups()))


def _remember_secrets(values: Mapping[str, Any]) -> None:
    """Have every password struck from what this process says."""
    for name, kind in secrets(fields()).items():
        value = str(values.get(name) or "")
        for password in [value] if kind == "whole" else passwords.of_address(value):
            passwords.remember(password, shown="" if kind == "whole" else mask(value))


def _group(table: str, given: _Given) -> SettingsGroup:
    """The settings of one table, of what was said in all places. Raises SettingsError."""
    own = f"{table}."
    values = {name.removeprefix(own): value for name, value in given.values.items() if name.startswith(own)}
    return validated(groups()[table], values, lambda name: given.called(own + name))
