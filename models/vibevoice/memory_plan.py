"""What fits on a card: the memory that VibeVoice-ASR takes, from the numbers of its config alone. Pure, no torch.

All sizes are bytes unless a name says otherwise. `plan` adds up one setting, `choose` is what `auto` means, and
`table` compares the precisions.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from itertools import product
from operator import attrgetter
from typing import TypeVar

from dropscribe.core.audio import SAMPLE_RATE
from dropscribe.models.gpu.allowance import CUDA_CONTEXT
from dropscribe.models.vibevoice.dimensions import PUBLISHED, ModelDimensions
from dropscribe.models.vibevoice.parts import ModelPart
from dropscribe.models.vibevoice.prompt import CONTEXT_TOKENS, FRAME_TOKENS
from dropscribe.models.vibevoice.runner.pages import PAGE

Number = TypeVar("Number", int, float)

GIB = 2**30  # what a vendor calls a GB of a card's memory
MAX_CHUNK = 1800.0  # s; longer ones were seen to drift or to collapse, whatever the memory
ENOUGH_CHUNK = 600.0  # s; for longer chunks than this, nothing is moved off a small card
MIN_CHUNK = 60.0  # s; with less, speakers are not recognized again
CHUNK_STEP = 30.0  # s; the grain in which chunk lengths are tried
MAX_SLOTS = 256  # more requests at once than this gain no speed
COMPARED_CHUNKS = (300.0, 900.0, 1800.0)  # s; the columns of the tables

MAX_NEW_TOKENS = 32_768  # of one answer, whatever the length
SPOKEN = 12.0  # tokens/s of audio of an answer: 10 were the most seen over half an hour
BURST = 3000  # tokens of an answer besides: the fastest exchanges take 23 a second, for some minutes

PREFILL_TOKENS = 1024  # prompt tokens read in one step: enough to fill a GPU, few enough not to stall the others
PIECES = (8.0, 5.0)  # s of audio of one recording that the encoders take at once
# Recordings side by side, and that piece of each: the weights, 1.4 GB, are read once for all of them.
ENCODED_AT_ONCE = ((4, PIECES[0]), (2, PIECES[0]), (1, PIECES[0]), (1, PIECES[1]))
PIECE_SHARE = 1 / 32  # of the card that these may take while they are encoded
GRAPH_STEP = 16  # requests by which the batch sizes with a CUDA graph of their own grow
GRAPH = 12_000_000  # what the driver keeps of one CUDA graph; vLLM reports 8 to 10 MB for models of this size
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


class Saving(IntEnum):
    """What is done to fit a small card, in the order of what it costs; each does what those before it do as well.

    The words' embeddings are looked up in the machine's memory, 1.09 GB less on the card, with the same numbers; the
    audio encoders lie there and are moved in part by part, 1.4 GB less, and round elsewhere, as none of their
    operations are joined; keys and values are kept in 8 bits.
    """

    NONE = 0
    EMBEDDINGS = 1
    ENCODERS = 2
    FP8_CACHE = 3

    @property
    def described(self) -> str:
        """For people; empty for none."""
        return _SAVINGS[self]


_SAVINGS = {
    Saving.NONE: "",
    Saving.EMBEDDINGS: "embeddings on the CPU",
    Saving.ENCODERS: "embeddings and encoders on the CPU",
    Saving.FP8_CACHE: "embeddings and encoders on the CPU, cache in fp8",
}
ENCODERS = frozenset({ModelPart.ACOUSTIC_ENCODER, ModelPart.SEMANTIC_ENCODER})


def savings(geometry: ModelDimensions) -> tuple[Saving, ...]:
    """Those that a model allows: encoders that are quantized stay where they are."""
    return tuple(Saving)[: Saving.ENCODERS] if ENCODERS & set(geometry.quantized) else tuple(Saving)


def weights(geometry: ModelDimensions, precision: Precision) -> int:
    """The model at rest; only the linears of the dimensions' `quantized` parts are.

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


def _on_card(geometry: ModelDimensions, precision: Precision, saving: Saving) -> int:
    """The weights that lie on the card, and room for the largest part of an encoder twice where these are moved in."""
    kept = weights(geometry, precision)
    if saving >= Saving.EMBEDDINGS:
        kept -= geometry.vocabulary * geometry.hidden * precision.width
    if saving >= Saving.ENCODERS:
        moved = 2 * max(map(attrgetter("largest_part"), geometry.encoders))
        kept -= (sum(map(attrgetter("parameters"), geometry.encoders)) - moved) * precision.width
    return kept


def cache_per_token(geometry: ModelDimensions, precision: Precision, saving: Saving = Saving.NONE) -> int:
    """Keys and values of one token in all layers: 57,344 bytes for the published shape in 16 bits, half in fp8."""
    width = 1 if saving >= Saving.FP8_CACHE else precision.width
    return 2 * geometry.layers * geometry.kv_heads * geometry.head_dim * width


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

    The engine's cache has room for `slot_tokens` in each slot, of which `audio_tokens` are a chunk's audio; it reads
    `prefill_tokens` of the prompts a step and encodes `piece_seconds` of audio of `encoder_rows` chunks at once.
    """

    vram: int
    precision: Precision
    chunk_seconds: float
    slots: int
    parts: Mapping[str, int]
    slot_tokens: int
    audio_tokens: int
    prefill_tokens: int
    piece_seconds: float
    encoder_rows: int
    saving: Saving = Saving.NONE

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
        saving = f", {self.saving.described}," if self.saving else ""
        return (
            f"{self.precision}{saving} with chunks of {self.chunk_seconds:g} s and slots: {self.slots} takes "
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
    paged: bool = False,
    saving: Saving = Saving.NONE,
) -> MemoryPlan:
    """Add up one setting.

    `vram` is what this process may take in all. The cache holds the longest request in each slot, so that none
    waits for another. Without `batching` a prompt is read in one step, and keys and values are repeated for all heads.
    With `paged` attention a kernel takes them from their pages, under CUDA graphs; otherwise they are copied first, as
    those in fp8 always are.
    """
    paged = paged and saving < Saving.FP8_CACHE
    each = slot_tokens(geometry, chunk_seconds)
    prompt = prompt_tokens(geometry, chunk_seconds)
    step = PREFILL_TOKENS if batching else prompt
    rows, piece = _encoded_at_once(vram, geometry, precision, slots)
    attention = _gathered if batching else _repeated
    parts = {
        "weights": _on_card(geometry, precision, saving),
        "cache": (slots * each + PAGE) * cache_per_token(geometry, precision, saving),
        "attention": _queries(geometry, precision, step) if paged else attention(geometry, precision, slots, each),
        "prefill": _prefill(geometry, precision, step, slots),
        "graphs": _graphs(geometry, precision, slots) if paged and batching else 0,
        "penalty": (slots + 1) * geometry.vocabulary if batching else 0,
        "encoder": rows * _encoding(geometry, precision, piece),
        "prompts": slots * prompt * geometry.hidden * precision.width,
        "reserve": CUDA_CONTEXT + int(HEADROOM * vram),
    }
    audio = geometry.audio_tokens(chunk_seconds)
    return MemoryPlan(
        vram=vram,
        precision=precision,
        chunk_seconds=chunk_seconds,
        slots=slots,
        parts=parts,
        slot_tokens=each,
        audio_tokens=audio,
        prefill_tokens=step,
        piece_seconds=piece,
        encoder_rows=rows,
        saving=saving,
    )


def _queries(geometry: ModelDimensions, precision: Precision, step: int) -> int:
    """One layer's queries, keys, values and output of a step; a kernel needs nothing else."""
    return step * 2 * (geometry.heads + geometry.kv_heads) * geometry.head_dim * precision.width


def _gathered(geometry: ModelDimensions, precision: Precision, slots: int, each: int) -> int:
    """Copies of one layer's keys and values for all requests, which PyTorch may copy once more, and a piece's mask."""
    copies = 2 * 2 * slots * each * geometry.kv_heads * geometry.head_dim * precision.width
    mask = PREFILL_TOKENS * each * (1 + precision.width)
    return _queries(geometry, precision, PREFILL_TOKENS) + copies + mask


def _repeated(geometry: ModelDimensions, precision: Precision, slots: int, each: int) -> int:
    """One layer's keys and values, repeated for all query heads, as `generate()` has them."""
    return precision.width * slots * each * (2 * geometry.heads + geometry.kv_heads) * geometry.head_dim


def graph_batches(slots: int) -> list[int]:
    """The batch sizes that have a CUDA graph, up to the slots; batches between them are padded."""
    return sorted({*(one for one in (1, 2, 4, 8) if one < slots), *range(GRAPH_STEP, slots, GRAPH_STEP), slots})


def _graphs(geometry: ModelDimensions, precision: Precision, slots: int) -> int:
    """The graphs, which share the memory of the largest one's step; int8 has none, as its shapes depend on the data."""
    if precision is Precision.INT8:
        return 0
    step = 3 * slots * geometry.intermediate * precision.width + 2 * 4 * slots * geometry.vocabulary
    return step + GRAPH * len(graph_batches(slots))


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
    """A piece of one recording; the encoders take turns."""
    samples = math.ceil(seconds * SAMPLE_RATE)
    return max(encoder.live(samples) for encoder in geometry.encoders) * precision.width


def _encoded_at_once(vram: int, geometry: ModelDimensions, precision: Precision, slots: int) -> tuple[int, float]:
    """Recordings side by side, at most one a slot, and seconds of each; with more, the embeddings are the same."""
    allowed = PIECE_SHARE * vram
    fitting = (
        (rows, piece)
        for rows, piece in ENCODED_AT_ONCE
        if rows * _encoding(geometry, precision, piece) <= allowed and rows <= max(slots, 1)
    )
    return next(fitting, ENCODED_AT_ONCE[-1])


def choose(
    vram: int,
    geometry: ModelDimensions,
    chunk_seconds: float = MAX_CHUNK,
    slots: int = 0,
    *,
    precisions: Sequence[Precision] = BEST_FIRST,
    batching: bool = True,
    paged: bool = False,
    on_gpu: bool = True,
) -> MemoryPlan:
    """What `auto` takes: the best precision that fits the wanted chunk and slots.

    With 0 slots, the best precision that fits one, and then as many slots as it leaves room for. Where none fits,
    slots are given up first, which costs only speed. Then the smallest precision is taken with as long a chunk as fits;
    if that is neither as wanted nor `ENOUGH_CHUNK`, with one saving after the other, which a GPU needs to save on, and
    `batching`. A plan that does not fit is the smallest of all: then the card is too small.
    """

    def of(precision: Precision, seconds: float, count: int, saving: Saving = Saving.NONE) -> MemoryPlan:
        return plan(vram, geometry, precision, seconds, count, batching=batching, paged=paged, saving=saving)

    if not slots:
        one = choose(
            vram, geometry, chunk_seconds, 1, precisions=precisions, batching=batching, paged=paged, on_gpu=on_gpu
        )
        counts = range(1, MAX_SLOTS + 1) if batching else ()
        room = _last(counts, lambda count: of(one.precision, one.chunk_seconds, count, one.saving).fits)
        return of(one.precision, one.chunk_seconds, room or 1, one.saving)

    for count, precision in product(range(slots, 0, -1), precisions):
        found = of(precision, chunk_seconds, count)
        if found.fits:
            return found
    allowed = savings(geometry) if on_gpu and batching else (Saving.NONE,)
    return _longest(lambda seconds, saving: of(precisions[-1], seconds, 1, saving), chunk_seconds, allowed)


def _longest(of: Callable[[float, Saving], MemoryPlan], wanted: float, allowed: Sequence[Saving]) -> MemoryPlan:
    """With the first saving that leaves room for enough of the wanted length, else the longest of all."""
    lengths = [*(seconds for seconds in chunk_lengths() if seconds < wanted), wanted]

    def longest(saving: Saving) -> MemoryPlan:
        fitting = _last(lengths, lambda seconds: of(seconds, saving).fits)
        return of(fitting or lengths[0], saving)

    tried = [*map(longest, allowed)]
    best = max(tried, key=lambda one: (one.fits, one.chunk_seconds, -one.total))
    enough = min(wanted, ENOUGH_CHUNK)
    return next((one for one in tried if one.fits and one.chunk_seconds >= enough), best)


def chunk_lengths() -> list[float]:
    """The chunk lengths that are tried, in seconds, the shortest first."""
    steps = round((MAX_CHUNK - MIN_CHUNK) / CHUNK_STEP)
    return [MIN_CHUNK + step * CHUNK_STEP for step in range(steps + 1)]


def longest_chunk(
    vram: int, geometry: ModelDimensions, precision: Precision, slots: int, *, paged: bool = False
) -> float:
    """The longest chunk in seconds that fits into so many slots at once; 0 where even the shortest does not."""
    return _last(chunk_lengths(), lambda one: plan(vram, geometry, precision, one, slots, paged=paged).fits)


def most_slots(
    vram: int, geometry: ModelDimensions, precision: Precision, seconds: float, *, paged: bool = False
) -> int:
    """How many chunks of that length fit at once; 0 where not even one does."""
    counts = range(1, MAX_SLOTS + 1)
    return _last(counts, lambda count: plan(vram, geometry, precision, seconds, count, paged=paged).fits)


def _last(values: Sequence[Number], fits: Callable[[Number], bool]) -> Number:
    """The last of growing values that fits, where all before it do; 0 where none does."""
    index = bisect_right(values, False, key=lambda value: not fits(value))
    return values[index - 1] if index else 0


@dataclass(frozen=True, slots=True)
class Row:
    """What one precision makes possible: the longest chunk in one slot, and the slots for `COMPARED_CHUNKS`."""

    precision: Precision
    weights: int
    longest_chunk: float
    slots: tuple[int, ...]


def table(vram: int, geometry: ModelDimensions = PUBLISHED, *, paged: bool = False) -> tuple[Row, ...]:
    """What fits on a card, by precision, the best first."""
    return tuple(
        Row(
            precision,
            weights(geometry, precision),
            longest_chunk(vram, geometry, precision, 1, paged=paged),
            tuple(most_slots(vram, geometry, precision, seconds, paged=paged) for seconds in COMPARED_CHUNKS),
        )
        for precision in BEST_FIRST
    )
