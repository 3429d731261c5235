"""`dropscribe plan`: what of VibeVoice-ASR fits on a card, and what `auto` takes there. Loads no model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import repeat
from typing import Any

from dropscribe.admin.context import Context
from dropscribe.admin.terminal import render
from dropscribe.admin.terminal.progress import busy
from dropscribe.core import gpus
from dropscribe.core.errors import UsageError
from dropscribe.models.gpu.allowance import allowance
from dropscribe.models.vibevoice import memory_plan
from dropscribe.models.vibevoice.dimensions import PUBLISHED, ModelDimensions
from dropscribe.models.vibevoice.memory_plan import MemoryPlan, Row
from dropscribe.models.vibevoice.settings import VibeVoiceSettings

SIZES = (6, 8, 12, 16, 24, 48, 80, 141)  # GB of common cards, shown side by side where there is no GPU to ask
COLUMNS = (
    "card",
    "precision",
    "weights",
    "longest chunk",
    *(f"slots of {seconds / 60:g} min" for seconds in memory_plan.COMPARED_CHUNKS),
    "auto",
)


@dataclass(frozen=True, slots=True)
class Card:
    """A GPU by its name, with its memory in bytes."""

    name: str
    memory: int


def show(context: Context, *, gigabytes: float | None, gpu: int | None, as_json: bool) -> None:
    """Print what fits on a card of that size, on that GPU, on this machine's GPUs, or on common cards.

    Raises UsageError when both are named, or a GPU that is not there, and ModelUnavailableError when the driver
    does not answer.
    """
    settings = context.settings
    own = settings.of(VibeVoiceSettings)
    with busy(context.err, "asking the driver"):
        cards = [shared(card, settings.gpu_share) for card in choose_cards(gigabytes, gpu)]
    seconds, slots = settings.chunk_seconds or memory_plan.MAX_CHUNK, settings.model_slots
    geometry = replace(PUBLISHED, quantized=own.quantize)
    plans = [memory_plan.choose(card.memory, geometry, seconds, slots) for card in cards]
    context.answer(
        lambda: {"quantized": own.quantize, "cards": [*map(_document, cards, plans, repeat(geometry))]},
        lambda: _show(context, cards, plans, geometry),
        as_json=as_json,
    )


def _show(context: Context, cards: Sequence[Card], plans: Sequence[MemoryPlan], geometry: ModelDimensions) -> None:
    """A table of all cards and precisions, and a sentence on the one that is asked for."""
    table = render.table(*COLUMNS, whole=("card", "precision"), right=COLUMNS[2:])
    for card, plan in zip(cards, plans, strict=True):
        for cells in rows(card, plan, geometry):
            table.add_row(*cells)
        table.add_section()
    context.out.print(table)
    breakdown = "`dropscribe plan --vram GB` breaks one card down." if len(cards) > 1 else _sentence(cards[0], plans[0])
    context.out.print(breakdown, soft_wrap=True)


def choose_cards(gigabytes: float | None, gpu: int | None) -> list[Card]:
    """The cards that are asked for."""
    if None not in (gigabytes, gpu):
        raise UsageError("--vram and --gpu exclude each other")
    if gigabytes is not None:
        return [of_size(gigabytes)]
    found = installed()
    if gpu is None:
        return [*(found.values() or map(of_size, SIZES))]
    if gpu not in found:
        there = ", ".join(map(str, found)) or "none"
        raise UsageError(f"there is no GPU {gpu}", remedy=f"nvidia-smi shows: {there}; or give its memory with --vram")
    return [found[gpu]]


def shared(card: Card, share: float) -> Card:
    """What one worker may take of a card, by the setting `gpu_share`."""
    if share == 1:
        return card
    return Card(f"{card.name}, {share:.0%} of it", allowance(card.memory, card.memory, share))


def of_size(gigabytes: float) -> Card:
    """A card by the size on its box, whose GB are 2**30 bytes.

    >>> of_size(24).memory
    25769803776
    """
    return Card(f"{gigabytes:g} GB", int(gigabytes * memory_plan.GIB))


def installed() -> dict[int, Card]:
    """The GPUs that this process may use, except those that share the machine's memory.

    Raises ModelUnavailableError.
    """
    return {gpu.index: Card(f"GPU {gpu.index}, {gpu.name}", gpu.memory) for gpu in gpus.look().gpus if gpu.memory}


def rows(card: Card, plan: MemoryPlan, geometry: ModelDimensions = PUBLISHED) -> Iterator[tuple[str, ...]]:
    """The table's cells for a card: a line a precision. `plan` is what `auto` takes."""
    for row in memory_plan.table(card.memory, geometry):
        taken = plan.fits and plan.precision is row.precision
        yield (
            card.name if row.precision is memory_plan.BEST_FIRST[0] else "",
            row.precision.value,
            f"{row.weights / 1e9:.1f} GB",
            f"{row.longest_chunk / 60:g} min" if row.longest_chunk else "does not fit",
            *(str(slots or "-") for slots in row.slots),
            _taken(plan) if taken else "",
        )


def _taken(plan: MemoryPlan) -> str:
    """How many chunks of which length are transcribed at once, and what is saved for that."""
    saving = f", {plan.saving.described}" if plan.saving else ""
    return f"{plan.slots} x {plan.chunk_seconds / 60:g} min{saving}"


def _sentence(card: Card, plan: MemoryPlan) -> str:
    """What the plan for a card means."""
    name = render.safe(card.name)
    return f"{name}: {'auto' if plan.fits else 'too small: even'} {plan.explain()}"


def _document(card: Card, plan: MemoryPlan, geometry: ModelDimensions) -> dict[str, Any]:
    """The plan of a card as docs/cli.md describes it."""
    return {
        "name": card.name,
        "vram": card.memory,
        "auto": {
            "fits": plan.fits,
            "precision": plan.precision,
            "chunk_seconds": plan.chunk_seconds,
            "slots": plan.slots,
            "saving": plan.saving.described,
            "total": plan.total,
            "parts": dict(plan.parts),
        },
        "precisions": [*map(_row_document, memory_plan.table(card.memory, geometry))],
    }


def _row_document(row: Row) -> dict[str, Any]:
    """One precision of a plan, likewise."""
    return {
        "precision": row.precision,
        "weights": row.weights,
        "longest_chunk": row.longest_chunk,
        "fitting": [
            {"chunk_seconds": seconds, "slots": slots}
            for seconds, slots in zip(memory_plan.COMPARED_CHUNKS, row.slots, strict=True)
        ],
    }
