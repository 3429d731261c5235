"""VibeVoice-ASR by PyTorch: loading, quantization, memory plan, generation, and the parser of what it writes.

Offers `models.base.Transcriber`; nothing outside `models` imports more of it than its plans and parts.
"""
