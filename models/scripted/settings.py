"""The settings of the engine scripted."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from dropscribe.core.engine_settings import EngineSettings


class ScriptedSettings(EngineSettings):
    """What the engine that invents words for tests is to say."""

    engine: ClassVar[str] = "scripted"

    script: str = Field(
        "",
        description="what it says and how it behaves: JSON, or `@` and the path of a JSON file",
        json_schema_extra={"digest": "script"},
    )
