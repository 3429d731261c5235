"""What is known of the engine scripted without importing it."""

from __future__ import annotations

from dropscribe.models.engine_spec import EngineSpec

SPEC = EngineSpec(
    name="scripted",
    target="dropscribe.models.scripted.transcriber:Scripted",
    notice="scripted: invented words for tests; nothing of what was said is recognized",
)
