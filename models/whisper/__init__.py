"""Whisper and its descendants through faster-whisper and CTranslate2: a hundred languages, on a GPU or a CPU.

faster-whisper is imported only where a model is loaded. Shares nothing with VibeVoice-ASR but the protocol.
"""
