"""What holds of audio everywhere between a recording and a transcript: it is mono, at one rate."""

from __future__ import annotations

MIN_SPEECH = 0.5  # s; in less is hardly a word, so that nobody needs to know that it is missing
SAMPLE_RATE = 24_000  # Hz; what the spool holds and VibeVoice-ASR listens to
