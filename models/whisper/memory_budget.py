"""Pure: the memory of a GPU that a Whisper takes in CTranslate2. Estimated from sizes; no card has been asked yet."""

from __future__ import annotations

from dropscribe.models.gpu.allowance import CUDA_CONTEXT

# CTranslate2's name for a precision on a GPU.
GPU_TYPES = {"auto": "float16", "fp16": "float16", "bf16": "bfloat16", "int8": "int8_float16", "fp32": "float32"}
WIDTHS = {"int8_float16": 0.5, "float16": 1.0, "bfloat16": 1.0, "float32": 2.0}  # by type; as a part of 16 bits
WORKING_SHARE = 0.3  # of the weights in 16 bits, for each chunk at once: five beams, keys and values of a window
SMALL_SHARE = 0.6  # of the memory; where 16 bits take more, `auto` takes int8, as a desktop may open a window meanwhile
WORKING_BYTES = 100_000_000  # besides: features and the encoder's activations


def taken(weights: int, kind: str, slots: int) -> int:
    """Bytes that so many chunks at once take, computed in `kind`, with weights of so many bytes in 16 bits."""
    return CUDA_CONTEXT + int(weights * WIDTHS[kind]) + slots * (int(weights * WORKING_SHARE) + WORKING_BYTES)


def auto_kind(weights: int, slots: int, room: int) -> str:
    """What `auto` computes in, given weights of so many bytes in 16 bits and room for so many bytes."""
    roomy = taken(weights, "float16", slots) <= SMALL_SHARE * room
    return "float16" if roomy else "int8_float16"
