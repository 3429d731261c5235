"""Who speaks: the encoder that turns a stretch of speech into numbers, close together where the speaker is the same.

No torch, and no onnx: the encoder runs in sherpa-onnx, and its graph is written here as bytes.
"""
