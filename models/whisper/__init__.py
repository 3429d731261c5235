"""Whisper and its descendants through faster-whisper and CTranslate2: a hundred languages, on a GPU or a CPU."""
