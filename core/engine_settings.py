"""The settings that belong to one engine: a group that is declared beside the engine and found by its name."""

from __future__ import annotations

from functools import cache
from importlib import import_module

from dropscribe.core import engines
from dropscribe.core.mail_settings import Mail
from dropscribe.core.retention import Retention
from dropscribe.core.s3_settings import S3
from dropscribe.core.settings_groups import SettingsGroup


class EngineSettings(SettingsGroup):
    """The settings of one engine, whose name is that of the `table`; each engine that has some declares a subclass."""

    def require(self) -> None:
        """Raise ModelUnavailableError where the engine cannot run with these. By default it can."""


@cache
def engine_groups() -> dict[str, type[EngineSettings]]:
    """The engines that have settings of their own, each with their declaration. Imports those."""
    places = {engine: engines.settings_of(engine).partition(":") for engine in engines.names()}
    return {engine: getattr(import_module(module), name) for engine, (module, _, name) in places.items() if module}


@cache
def groups() -> dict[str, type[SettingsGroup]]:
    """All groups of settings by the names of their tables: the general ones, then those of engines."""
    return {Retention.table: Retention, Mail.table: Mail, S3.table: S3, **engine_groups()}
