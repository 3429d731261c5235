"""The settings of the engine openai."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from dropscribe.core.engine_settings import EngineSettings
from dropscribe.core.errors import ModelUnavailableError
from dropscribe.core.settings import variable

ResponseFormat = Literal["verbose_json", "json", "diarized_json"]


def _address(given: str) -> str:
    """The address of a server, or nothing. Raises ValueError.

    >>> _address("http://localhost:8000/v1")
    'http://localhost:8000/v1'
    """
    parts = urlsplit(given)
    if given and not (parts.scheme in {"http", "https"} and parts.hostname):
        raise ValueError("input should be the address of a server, such as http://localhost:8000/v1")
    return given


class OpenAISettings(EngineSettings):
    """Which server transcribes, and how it is asked."""

    table: ClassVar[str] = "openai"

    base_url: Annotated[str, AfterValidator(_address)] = Field(
        "",
        description="address of the API, such as http://localhost:8000/v1; recordings are sent there",
        json_schema_extra={"secret": True, "digest": "openai.base_url", "added": True},
    )
    api_key: str = Field("", description="key that the server asks for", json_schema_extra={"secret": "whole"})
    api_key_file: Path | None = Field(None, description="file that holds the key, instead of openai.api_key")
    protocol: Literal["transcriptions", "chat"] = Field(
        "transcriptions",
        description="what the server offers; chat: VibeVoice-ASR on vLLM, which offers only chat completions",
        json_schema_extra={"digest": "openai.protocol", "added": True},
    )
    response_format: ResponseFormat = Field(
        "verbose_json",
        description="kind of output: with times and words, as plain text (json), or with speakers (diarized_json)",
        json_schema_extra={"digest": "openai.response_format", "added": True},
    )
    timeout_seconds: float = Field(
        600, gt=0, description="longest wait for the output of one chunk, repeated requests included"
    )
    retries: int = Field(
        8,
        ge=0,
        le=100,
        description="how often a request is repeated after an overload or a lost connection; 8: a minute",
    )

    def require(self) -> None:
        """Raise ModelUnavailableError without the address of a server: there is none by default."""
        if not self.base_url:
            raise ModelUnavailableError(
                "the engine openai does not know which server to ask",
                remedy=f"set {variable('openai.base_url')}, for example to http://localhost:8000/v1",
            )
