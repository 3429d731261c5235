"""What fits on a card: the memory that VibeVoice-ASR takes, from the numbers of its config alone. Pure, no torch.

All sizes are bytes unless a name says otherwise. `plan` adds up one setting, `choose` is what `auto` means, and
`table` compares the precisions.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import product
from typing import TypeVar

from dropscribe.core.audio import SAMPLE_RATE
from dropscribe.models.gpu.allowance import CUDA_CONTEXT
from dropscribe.models.vibevoice.dimensions import PUBLISHED, ModelDimensions
from dropscribe.models.vibevoice.prompt import CONTEXT_TOKENS, FRAME_TOKENS

Number = TypeVar("Number", int, float)

GIB = 2**30  # what a vendor calls a GB of a card's memory
MAX_CHUNK = 1800.0  # s; longer ones were seen to drift or to collapse, whatever the memory
MIN_CHUNK = 60.0  # s; with less, speakers are not recognized again
CHUNK_STEP = 30.0  # s; the grain in which chunk lengths are tried
MAX_SLOTS = 256  # more requests at once than this gain no speed
COMPARED_CHUNKS = (300.0, 900.0, 1800.0)  # s; the columns of the tables

MAX_NEW_TOKENS = 32_768  # of one answer, whatever the length
SPOKEN = 12.0  # tokens/s of audio of an answer: 10 were the most seen over half an hour
BURST = 3000  # tokens of an answer besides: the fastest exchanges take 23 a second, for some minutes

PAGE = 256  # tokens; the cache is handed out in pages of this size
PREFILL_TOKENS = 1024  # prompt tokens read in one step: enough to fill a GPU, few enough not to stall the others
PIECES = (60.0, 30.0, 15.0, 5.0)  # s of audio that an encoder takes at once
PIECE_SHARE = 1 / 32  # of the card that one piece may take while it is encoded
HEADROOM = 0.03  # of the card: what the driver keeps of the memory on the box, and what the allocator cannot reuse


class Precision(StrEnum):
    """Number formats of what is quantized, the language model's layers; all else is in 16 bits (32 with `fp32`)."""

    BF16 = "bf16"
    FP16 = "fp16"
    FP32 = "fp32"
    INT8 = "int8"
    NF4 = "nf4"

    @property
    def width(self) -> int:
        """Bytes of a number that is not quantized: the cache, activations, encoders, embeddings."""
        return 4 if self is Precision.FP32 else 2


BEST_FIRST = (Precision.BF16, Precision.INT8, Precision.NF4)


def weights(geometry: ModelDimensions, precision: Precision) -> int:
    """The model at rest; only the linears of the geometry's `quantized` parts are.

    int8 takes a byte and a 32-bit scale a row. nf4 takes half a byte, a byte of scale for 64 weights, and with
    double quantization a 32-bit scale for 256 of these.
    """
    linears, rows = map(sum, zip((0, 0), *map(geometry.linears, geometry.quantized), strict=True))
    width = precision.width
    rest = (geometry.parameters - linears) * width
    if precision is Precision.INT8:
        return rest + linears + 4 * rows
    if precision is Precision.NF4:
        return rest + linears // 2 + math.ceil(linears / 64) + 4 * math.ceil(linears / (64 * 256))
    return rest + linears * width


def cache_per_token(geometry: ModelDimensions, precision: Precision) -> int:
    """Keys and values of one token in all layers: 57,344 bytes for the published shape in 16 bits."""
    return 2 * geometry.layers * geometry.kv_heads * geometry.head_dim * precision.width


def answer_budget(seconds: float) -> int:
    """Tokens after which the answer to so much audio is cut off."""
    return min(MAX_NEW_TOKENS, math.ceil(SPOKEN * seconds) + BURST)


def slot_tokens(geometry: ModelDimensions, seconds: float) -> int:
    """Tokens of the longest request on so much audio, in whole pages: all of its context, all of its budget."""
    tokens = prompt_tokens(geometry, seconds) + answer_budget(seconds)
    return -(-tokens // PAGE) * PAGE


def prompt_tokens(geometry: ModelDimensions, seconds: float) -> int:
    """Tokens of the longest prompt: audio, the request around it, and all the context that is allowed."""
    return geometry.audio_tokens(seconds) + FRAME_TOKENS + CONTEXT_TOKENS


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """One setting on a card of `vram` bytes. `parts` are bytes by name.

    The engine's cache has room for `slot_tokens` in each slot, its table of audio tokens `audio_rows`; it reads
    `prefill_tokens` of the prompts a step and encodes `piece_seconds` of audio at once.
    """

    vram: int
    precision: Precision
    chunk_seconds: float
    slots: int
    parts: Mapping[str, int]
    slot_tokens: int
    audio_rows: int
    prefill_tokens: int
    piece_seconds: float

    @property
    def total(self) -> int:
        """Bytes at the worst moment."""
        return sum(self.parts.values())

    @property
    def fits(self) -> bool:
        """Is the card large enough?"""
        return self.total <= self.vram

    def explain(self) -> str:
        """The numbers in one sentence, in decimal GB."""
        parts = ", ".join(f"{name} {size / 1e9:.2f}" for name, size in self.parts.items())
        return (
            f"{self.precision} with chunks of {self.chunk_seconds:g} s and slots: {self.slots} takes "
            f"{self.total / 1e9:.2f} GB ({parts}) of {self.vram / 1e9:.2f} GB"
        )


def plan(
    vram: int,
    geometry: ModelDimensions,
    precision: Precision,
    chunk_seconds: float,
    slots: int,
    *,
    batching: bool = True,
    flash: bool = False,
) -> MemoryPlan:
    """Add up one setting.

    `vram` is what this process may take in all. The cache holds the longest request in each slot, so that none
    waits for another. Without `batching` a prompt is read in one step. Without `flash` attention, batching needs
    a mask over the whole cache, and keys and values are repeated for all heads.
    """
    each = slot_tokens(geometry, chunk_seconds)
    tokens = slots * each
    rows = slots * geometry.audio_tokens(chunk_seconds)
    step = PREFILL_TOKENS if batching else prompt_tokens(geometry, chunk_seconds)
    piece = _piece(vram, geometry, precision)
    parts = {
        "weights": weights(geometry, precision),
        "cache": tokens * cache_per_token(geometry, precision),
        "attention": _attention(geometry, precision, tokens, mask=step if batching and not flash else 0, flash=flash),
        "prefill": _prefill(geometry, precision, step, slots),
        "encoder": _encoding(geometry, precision, piece),
        "audio": rows * geometry.hidden * precision.width,
        "reserve": CUDA_CONTEXT + int(HEADROOM * vram),
    }
    return MemoryPlan(vram, precision, chunk_seconds, slots, parts, each, rows, step, piece)


def _attention(geometry: ModelDimensions, precision: Precision, tokens: int, *, mask: int, flash: bool) -> int:
    """One layer's keys and values as attention reads them, and a mask of `mask` rows over all tokens."""
    heads = 2 * geometry.kv_heads if flash else 2 * geometry.heads + geometry.kv_heads
    return precision.width * (tokens * heads * geometry.head_dim + mask * (tokens + mask))


def _prefill(geometry: ModelDimensions, precision: Precision, step: int, slots: int) -> int:
    """The feed-forward part of one layer has three tensors alive; then the logits, one row a slot, in 32 bits.

    int8 adds its 32-bit products. nf4 unpacks one matrix at a time.
    """
    wide = step * geometry.intermediate
    products = 4 * wide if precision is Precision.INT8 else 0
    unpacked = geometry.hidden * geometry.intermediate * precision.width if precision is Precision.NF4 else 0
    logits = 3 * 4 * slots * geometry.vocabulary
    return 3 * wide * precision.width + products + unpacked + logits


def _encoding(geometry: ModelDimensions, precision: Precision, seconds: float) -> int:
    """The encoders take turns, and one recording at a time."""
    samples = math.ceil(seconds * SAMPLE_RATE)
    return max(encoder.live(samples) for encoder in geometry.encoders) * precision.width


def _piece(vram: int, geometry: ModelDimensions, precision: Precision) -> float:
    """Larger pieces encode a little faster; the embeddings are the same."""
    allowed = PIECE_SHARE * vram
    return next((piece for piece in PIECES if _encoding(geometry, precision, piece) <= allowed), PIECES[-1])


def choose(
    vram: int,
    geometry: ModelDimensions,
    chunk_seconds: float = MAX_CHUNK,
    slots: int = 0,
    *,
    precisions: Sequence[Precision] = BEST_FIRST,
    batching: bool = True,
    flash: bool = False,
) -> MemoryPlan:
    """What `auto` takes: the best precision that fits the wanted chunk and slots.

    With 0 slots, the best precision that fits one, and then as many slots as it leaves room for. Where none fits,
    slots are given up first, which costs only speed, and then length. A plan that does not fit is the smallest of
    all: then the card is too small.
    """
    if not slots:
        one = choose(vram, geometry, chunk_seconds, 1, precisions=precisions, batching=batching, flash=flash)
        room = most_slots(vram, geometry, one.precision, one.chunk_seconds, flash=flash) if batching else 1
        return plan(vram, geometry, one.precision, one.chunk_seconds, max(1, room), batching=batching, flash=flash)

    def of(precision: Precision, seconds: float, count: int) -> MemoryPlan:
        return plan(vram, geometry, precision, seconds, count, batching=batching, flash=flash)

    for count, precision in product(range(slots, 0, -1), precisions):
        found = of(precision, chunk_seconds, count)
        if found.fits:
            return found
    lengths = [seconds for seconds in chunk_lengths() if seconds < chunk_seconds] or [chunk_seconds]
    smallest = precisions[-1]
    fitting = _last(lengths, lambda seconds: of(smallest, seconds, 1).fits)
    return of(smallest, fitting or lengths[0], 1)


def chunk_lengths() -> list[float]:
    """The chunk lengths that are tried, in seconds, the shortest first."""
    steps = round((MAX_CHUNK - MIN_CHUNK) / CHUNK_STEP)
    return [MIN_CHUNK + step * CHUNK_STEP for step in range(steps + 1)]


def longest_chunk(
    vram: int, geometry: ModelDimensions, precision: Precision, slots: int, *, flash: bool = False
) -> float:
    """The longest chunk in seconds that fits into so many slots at once; 0 where even the shortest does not."""
    return _last(chunk_lengths(), lambda one: plan(vram, geometry, precision, one, slots, flash=flash).fits) or 0.0


def most_slots(
    vram: int, geometry: ModelDimensions, precision: Precision, seconds: float, *, flash: bool = False
) -> int:
    """How many chunks of that length fit at once; 0 where not even one does."""
    counts = range(1, MAX_SLOTS + 1)
    return _last(counts, lambda count: plan(vram, geometry, precision, seconds, count, flash=flash).fits) or 0


def _last(values: Sequence[Number], fits: Callable[[Number], bool]) -> Number | None:
    """The last of growing values that fits, where all before it do."""
    index = bisect_right(values, False, key=lambda value: not fits(value))
    return values[index - 1] if index else None


@dataclass(frozen=True, slots=True)
class Row:
    """What one precision makes possible: the longest chunk in one slot, and the slots for `COMPARED_CHUNKS`."""

    precision: Precision
    weights: int
    longest_chunk: float
    slots: tuple[int, ...]


def table(vram: int, geometry: ModelDimensions = PUBLISHED, *, flash: bool = False) -> tuple[Row, ...]:
    """What fits on a card, by precision, the best first."""
    return tuple(
        Row(
            precision,
            weights(geometry, precision),
            longest_chunk(vram, geometry, precision, 1, flash=flash),
            tuple(most_slots(vram, geometry, precision, seconds, flash=flash) for seconds in COMPARED_CHUNKS),
        )
        for precision in BEST_FIRST
    )
