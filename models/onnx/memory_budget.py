"""How long a chunk may be that an export reads in so much memory. Pure, no torch."""

from __future__ import annotations

from dropscribe.core.audio import SAMPLE_RATE
from dropscribe.core.errors import ModelUnavailableError
from dropscribe.models.onnx.layout import Manifest
from dropscribe.models.vibevoice import memory_plan
from dropscribe.models.vibevoice.dimensions import ModelDimensions

PIECE_SECONDS = 60.0  # of audio encoded at once, as the published model does
PREFILL_TOKENS = 256  # of a prompt read at once; attention takes memory for each pair of these and all before
SCORES = 3  # copies of the attention's scores that live at once: before, after and in the softmax
WIDTH = 4  # bytes: ONNX Runtime computes in fp32 on a CPU, whatever the weights are


def taken(geometry: ModelDimensions, manifest: Manifest, seconds: float, slots: int = 1) -> int:
    """Bytes that so many chunks at once take at their worst moment, with the weights.

    Weights in fp16 lie in memory a second time, in fp32. The cache is there twice while it grows by a token.
    """
    weights = manifest.weights * (1 if manifest.dtype == "fp32" else 3 if manifest.dtype == "fp16" else 2)
    tokens = memory_plan.slot_tokens(geometry, seconds)
    width = 2 if manifest.dtype == "fp16" else WIDTH
    cache = 2 * 2 * geometry.layers * geometry.kv_heads * geometry.head_dim * width * tokens
    scores = SCORES * WIDTH * geometry.heads * PREFILL_TOKENS * tokens
    samples = int(min(PIECE_SECONDS, seconds) * SAMPLE_RATE)
    encoder = WIDTH * max(one.live(samples) for one in geometry.encoders)
    return weights + slots * max(cache + scores, encoder)


def longest_chunk(geometry: ModelDimensions, manifest: Manifest, memory: int, wanted: float, slots: int = 1) -> float:
    """Seconds: `wanted` if it is not 0, else as much as fits, at most half an hour.

    Raises ModelUnavailableError with the numbers when that does not fit.
    """
    seconds = wanted or memory_plan.MAX_CHUNK
    while not wanted and seconds > memory_plan.MIN_CHUNK and taken(geometry, manifest, seconds, slots) > memory:
        seconds -= memory_plan.CHUNK_STEP
    if (need := taken(geometry, manifest, seconds, slots)) > memory:
        raise ModelUnavailableError(
            f"{slots} x {seconds:g} s take {need / 1e9:.1f} GB and this machine has {memory / 1e9:.1f} GB",
            remedy="lower DROPSCRIBE_CHUNK_SECONDS or DROPSCRIBE_MODEL_SLOTS, or export in int4",
        )
    return seconds
