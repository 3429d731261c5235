"""The settings of the engine scripted."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from dropscribe.core.engine_settings import EngineSettings


class ScriptedSettings(EngineSettings):
    """What the engine that invents words for tests is to say."""

    table: ClassVar[str] = "scripted"

    script: str = Field(
        "",
        description="its output and behaviour: JSON, or `@` and the path of a JSON file",
        json_schema_extra={"digest": "script"},
    )
