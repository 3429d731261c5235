"""What is known of the engine onnx without importing it."""

from __future__ import annotations

from dropscribe.models.engine_spec import EngineSpec

SPEC = EngineSpec(
    name="onnx",
    target="dropscribe.models.onnx.transcriber:Onnx",
    extra="onnx",
    package="onnxruntime",
    computes_with="onnxruntime",
    imports=("onnxruntime", "tokenizers"),
    on_gpus=True,
)
