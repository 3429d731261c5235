"""How long a chunk may be that an export reads in so much memory. Pure, no torch."""

from __future__ import annotations

from dropscribe.core.audio import SAMPLE_RATE
from dropscribe.core.errors import ModelDoesNotFitError
from dropscribe.models.gpu.allowance import CUDA_CONTEXT
from dropscribe.models.onnx.layout import Manifest
from dropscribe.models.vibevoice import memory_plan
from dropscribe.models.vibevoice.dimensions import ModelDimensions

PIECE_SECONDS = 60.0  # of audio encoded at once, as the published model does
PREFILL_TOKENS = 256  # of a prompt read at once; attention takes memory for each pair of these and all before
SCORES = 3  # copies of the attention's scores that live at once: before, after and in the softmax
WIDTH = 4  # bytes: ONNX Runtime computes in fp32 on a CPU, whatever the weights are


# What the weights take in memory, as a multiple of their files: on a CPU those in fp16 lie there in fp32 too.
ON_CPU = {"fp32": 1, "fp16": 3, "int4": 2}
ON_GPU = {"fp32": 1, "fp16": 1, "int4": 2}


def taken(
    geometry: ModelDimensions, manifest: Manifest, seconds: float, slots: int = 1, *, on_gpu: bool = False
) -> int:
    """Bytes that so many chunks at once take at their worst moment, with the weights, and on a GPU with its context.

    The cache is there twice while it grows by a token.
    """
    weights = manifest.weights * (ON_GPU if on_gpu else ON_CPU)[manifest.dtype] + (CUDA_CONTEXT if on_gpu else 0)
    tokens = memory_plan.slot_tokens(geometry, seconds)
    width = 2 if manifest.dtype == "fp16" else WIDTH
    cache = 2 * 2 * geometry.layers * geometry.kv_heads * geometry.head_dim * width * tokens
    scores = SCORES * WIDTH * geometry.heads * PREFILL_TOKENS * tokens
    samples = int(min(PIECE_SECONDS, seconds) * SAMPLE_RATE)
    encoder = WIDTH * max(one.live(samples) for one in geometry.encoders)
    return weights + slots * max(cache + scores, encoder)


def longest_chunk(
    geometry: ModelDimensions, manifest: Manifest, memory: int, wanted: float, slots: int = 1, *, on_gpu: bool = False
) -> float:
    """Seconds: `wanted` if it is not 0, else as much as fits, at most half an hour.

    Raises ModelDoesNotFitError with the numbers when that does not fit.
    """

    def need(seconds: float) -> int:
        """Bytes that chunks of so many seconds take."""
        return taken(geometry, manifest, seconds, slots, on_gpu=on_gpu)

    seconds = wanted or memory_plan.MAX_CHUNK
    while not wanted and seconds > memory_plan.MIN_CHUNK and need(seconds) > memory:
        seconds -= memory_plan.CHUNK_STEP
    if need(seconds) > memory:
        raise ModelDoesNotFitError(
            f"{slots} x {seconds:g} s take {need(seconds) / 1e9:.1f} GB and this worker may take {memory / 1e9:.1f} GB",
            remedy="lower DROPSCRIBE_CHUNK_SECONDS or DROPSCRIBE_MODEL_SLOTS, or export in int4",
        )
    return seconds
