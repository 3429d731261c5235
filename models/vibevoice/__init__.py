"""VibeVoice-ASR: loading, serving many requests at once, and reading its answers."""
