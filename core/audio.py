"""How audio is held everywhere between a recording and a model: mono, at one rate."""

from __future__ import annotations

SAMPLE_RATE = 24_000  # Hz; what the spool holds and VibeVoice-ASR listens to
