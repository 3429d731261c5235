"""Whisper and its descendants through faster-whisper: a hundred languages, on a GPU or a CPU, one speaker."""
