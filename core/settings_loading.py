"""Reads settings: options over environment over `dropscribe.toml` over default, and where each value came from.

Plain pydantic rather than pydantic-settings: the latter doubles the start-up time of `dropscribe status`, and
where a value came from has to be told anyway.

A place that names one model (`engine`, `model`) sets aside the list `engines` of a place below it.

A setting of one engine is called `engine.name` here: `attention` in the file's table `[vibevoice]` is
`vibevoice.attention`, and its variable `DROPSCRIBE_VIBEVOICE_ATTENTION`.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dropscribe.core import engines, old_names
from dropscribe.core.engine_settings import EngineSettings, groups
from dropscribe.core.errors import SettingsError
from dropscribe.core.mappings import said
from dropscribe.core.safe_text import mask
from dropscribe.core.settings import Settings, default_home, fields, variable
from dropscribe.core.settings_errors import PREFIX, unknown, validated

CONFIG_VARIABLE = "DROPSCRIBE_CONFIG"  # names the file, so it cannot stand in it
CONFIG_NAME = "dropscribe.toml"
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
    """What each place says, by names of now; `file` is the one that was read, if any."""

    from_file: Mapping[str, Any]
    from_environment: Mapping[str, Any]
    options: Mapping[str, Any]
    file: Path | None

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
        """The place that a setting came from, but for options."""
        if name in self.from_environment:
            return "environment"
        return str(self.file) if name in self.from_file else "default"


def load(environ: Mapping[str, str] | None = None, *, overrides: Mapping[str, Any] | None = None) -> Settings:
    """Read all settings. `overrides` are command-line options and win over everything.

    Raises SettingsError for an unknown key (naming the nearest known one) or a value that does not fit.
    """
    remarks: list[str] = []
    return _build(_gather(environ, overrides or {}, remarks)).remember(remarks)


def origins(settings: Settings, environ: Mapping[str, str] | None = None) -> list[Origin]:
    """Every setting with its value and where it came from; secrets are masked."""
    given = _gather(environ, {}, [])
    return [_origin(name, settings, given.source(name)) for name in fields()]


def as_environment(
    settings: Settings, environ: Mapping[str, str] | None = None, *, overrides: Mapping[str, Any]
) -> dict[str, str]:
    """The variables by which another process, wherever it starts, gets the `settings` that were loaded from these.

    A settings file stays one: it is named, so that what is changed in it counts at the next start.
    """
    given = _gather(environ, overrides, [])
    named = (name for name in fields() if name == "home" or name in given.from_environment or name in given.options)
    found = {variable(name): _shown(settings.value(name)) for name in named}
    return found | ({CONFIG_VARIABLE: str(given.file.absolute())} if given.file else {})


def _origin(name: str, settings: Settings, source: str) -> Origin:
    field = fields()[name]
    extra = field.json_schema_extra
    secret = extra.get("secret") if isinstance(extra, dict) else None
    shown = _MASKS[secret](_shown(settings.value(name)))
    return Origin(name, variable(name), shown, source, field.description or "")


# What is shown of a value, by what its declaration says of its secrecy.
_MASKS: dict[Any, Callable[[str], str]] = {None: str, True: mask, "whole": lambda shown: shown and "***"}


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(value)
    return "" if value is None else str(value)


def _gather(environ: Mapping[str, str] | None, overrides: Mapping[str, Any], remarks: list[str]) -> _Given:
    """What each place says; `remarks` are added to for old names."""
    environ = os.environ if environ is None else environ
    from_environment = renamed(_from_environment(environ), remarks, variable)
    file = _find_file(environ, from_environment)
    from_file = renamed(_from_file(file), remarks, lambda name: f"{name} in {file}") if file else {}
    options = renamed(said(overrides), remarks)
    from_environment = _without_list(from_environment, options)
    from_file = _without_list(from_file, options.keys() | from_environment.keys())
    return _Given(from_file, from_environment, options, file)


def _without_list(values: Mapping[str, Any], above: Collection[str]) -> dict[str, Any]:
    """What a place says, without its `engines` where one model is named `above` it, which is to run alone."""
    is_lost = SEVERAL not in above and not ONE_MODEL.isdisjoint(above)
    return {name: value for name, value in values.items() if not (is_lost and name == SEVERAL)}


def renamed(given: Mapping[str, Any], remarks: list[str], where: Callable[[str], str] = str) -> dict[str, Any]:
    """Settings under the names and with the values of now; of two names for one setting, the new one wins.

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
    return f"{old} is the old name, known until version {old_names.UNTIL}; say {new}"


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    known = {variable(name): name for name in (*fields(), *OLD_NAMES)}
    found = {}
    for called, value in environ.items():
        if not called.startswith(PREFIX) or called == CONFIG_VARIABLE:
            continue
        if called not in known:
            names = [*map(variable, fields()), CONFIG_VARIABLE]
            raise SettingsError(unknown("environment variable", called, names))
        if value != "":  # an empty variable is how compose files spell "not set"
            found[known[called]] = value
    return found


def _find_file(environ: Mapping[str, str], from_environment: Mapping[str, Any]) -> Path | None:
    if named := environ.get(CONFIG_VARIABLE):
        path = Path(named).expanduser()
        if not path.is_file():
            raise SettingsError(f"{CONFIG_VARIABLE} names {path}, which is not a file", remedy="correct or unset it")
        return path
    home = Path(from_environment.get("home") or default_home()).expanduser()
    return next((path for path in (Path(CONFIG_NAME), home / CONFIG_NAME) if path.is_file()), None)


def _from_file(path: Path) -> dict[str, Any]:
    try:
        values = dict(_flat(tomllib.loads(path.read_text(encoding="utf-8"))))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"cannot read settings from {path}: {error}", remedy="mend the file") from error
    known = fields()
    for name in values:
        if name not in known and name not in OLD_NAMES:
            raise SettingsError(f"{path}: " + unknown("setting", name, known))
    return values


def _flat(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The file's settings, those in the table of an engine as `engine.name`."""
    for name, value in values.items():
        if name in engines.names() and isinstance(value, dict):
            yield from ((f"{name}.{key}", inner) for key, inner in value.items())
        else:
            yield name, value


def _build(given: _Given) -> Settings:
    general = {name: value for name, value in given.values.items() if not _is_own(name)}
    settings = validated(Settings, general, given.called)
    paths = {name: getattr(settings, name) for name in ("home", "results", "spool", "hotwords")}
    absolute = {name: path.expanduser().absolute() for name, path in paths.items() if path}
    return settings.model_copy(update=absolute).having(*(_group(engine, given) for engine in groups()))


def _is_own(name: str) -> bool:
    """Is it a setting of one engine?"""
    return name.partition(".")[0] in groups()


def _group(engine: str, given: _Given) -> EngineSettings:
    own = f"{engine}."
    values = {name.removeprefix(own): value for name, value in given.values.items() if name.startswith(own)}
    return validated(groups()[engine], values, lambda name: given.called(own + name))
