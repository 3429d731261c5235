"""VibeVoice-ASR as ONNX graphs: written from a checkpoint, and served by ONNX Runtime.

`export` and what it uses need torch; the engine (`transcriber`, `runtime`, `layout`, `memory_budget`) needs neither
torch nor transformers.
"""
