"""What is known of the engine pocketsphinx without importing it."""

from __future__ import annotations

from dropscribe.models.engine_spec import EngineSpec

SPEC = EngineSpec(
    name="pocketsphinx",
    target="dropscribe.models.pocketsphinx.transcriber:PocketSphinx",
    extra="pocketsphinx",
    package="pocketsphinx",
    notice="pocketsphinx: a small English model that gets every second word wrong; use whisper for real transcripts",
)
