"""A VibeVoice-ASR of three million parameters that reads synthetic speech, and what it takes to make it."""
