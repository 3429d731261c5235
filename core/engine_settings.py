"""The settings that belong to one engine: a group that is declared beside the engine and found by its name."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from dropscribe.core import engines


class EngineSettings(BaseModel):
    """The settings of one engine; each engine that has some declares a subclass.

    A field whose `json_schema_extra` has `digest` shapes transcripts: it is part of `Settings.digest` by that key.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    engine: ClassVar[str]

    def shaping(self) -> dict[str, Any]:
        """The values that shape a transcript, by their keys in a digest."""
        found = {}
        for name, field in type(self).model_fields.items():
            if isinstance(field.json_schema_extra, dict) and (key := field.json_schema_extra.get("digest")):
                value = getattr(self, name)
                found[str(key)] = sorted(value) if isinstance(value, tuple) else value
        return found


@cache
def groups() -> dict[str, type[EngineSettings]]:
    """The engines that have settings of their own, each with their declaration. Imports those."""
    places = {engine: engines.settings_of(engine).partition(":") for engine in engines.names()}
    return {engine: getattr(import_module(module), name) for engine, (module, _, name) in places.items() if module}
