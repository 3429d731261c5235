"""What is known of the engine openai without importing it."""

from __future__ import annotations

from dropscribe.models.engine_spec import EngineSpec

SPEC = EngineSpec(
    name="openai",
    target="dropscribe.models.openai.transcriber:OpenAIServer",
    extra="openai",
    package="openai",
    imports=("openai", "soundfile"),
    remote=True,
    notice="openai: recordings are sent to the server of the setting openai.base_url",
)
