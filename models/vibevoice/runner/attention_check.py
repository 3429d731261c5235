"""Does an attention kernel compute what it should on this card? Asked once, before a recording depends on it.

PyTorch's paged kernel was seen to leave out rows, without an error, when it divides long keys among thread blocks
(pytorch #194167).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from dropscribe.core.errors import ModelUnavailableError
from dropscribe.models import engine_errors
from dropscribe.models.vibevoice.runner.attention import PagedAttention, PagedBatch, gathered
from dropscribe.models.vibevoice.runner.attention_choice import SETTING
from dropscribe.models.vibevoice.runner.layout import Lengths
from dropscribe.models.vibevoice.runner.pages import PAGE, pages_for

# Queries and keys of each request: some that decode after short and long prompts, alone and beside pieces of prompts.
STEPS = (((1, 1), (1, PAGE), (1, 17 * PAGE + 3)), ((1, 3), (1, 17 * PAGE + 3), (40, 40), (300, 9 * PAGE + 1)))
TOLERANCE = 0.02  # of the outputs' size; in bf16 three digits are kept


def problem(attend: PagedAttention, heads: int, kv_heads: int, size: int, like: Tensor) -> str:
    """Why a kernel must not be used, by comparing it with PyTorch's sdpa; empty where it may be.

    Numbers are random, of the type and on the device of `like`. Raises ModelUnavailableError if the GPU's context is
    lost with it, as nothing else can be tried then.
    """
    for lengths in STEPS:
        query, batch = random_batch(lengths, (heads, kv_heads, size), like)
        try:
            error = _error(attend, query, batch)
        except (RuntimeError, TypeError, ImportError) as cause:  # of another card, PyTorch, or build of flash-attn
            why = f"the attention kernel cannot run here: {str(cause).partition(chr(10))[0]}"
            if engine_errors.is_sticky(cause):
                raise ModelUnavailableError(why, remedy=f"set {SETTING}=sdpa") from cause
            return why
        if not error <= TOLERANCE:  # NaN does not agree either
            return f"the attention kernel computes wrong numbers on this card (off by {error:.1%})"
    return ""


def _error(attend: PagedAttention, query: Tensor, batch: PagedBatch) -> float:
    """How far the outputs are from those of sdpa, relative to their size."""
    keys, values = batch.cache[0]
    expected, found = (one(query, keys, values, batch, query.shape[2] ** -0.5).float() for one in (gathered, attend))
    return float((found - expected).norm() / expected.norm())


def random_batch(
    lengths: tuple[tuple[int, int], ...], shape: tuple[int, int, int], like: Tensor
) -> tuple[Tensor, PagedBatch]:
    """Random queries (tokens, heads, size), and a batch with keys and values on pages in random order.

    `lengths` are queries and keys of each request, those with one query first; `shape` is heads, kv heads, size.
    """
    heads, kv_heads, size = shape
    queries, ends = zip(*lengths, strict=True)
    needed = [*map(pages_for, ends)]
    cache = torch.randn(1, 2, sum(needed), PAGE, kv_heads, size).to(like)
    table = torch.zeros(len(lengths), max(needed), dtype=torch.int32)
    for row, pages in zip(table, torch.split(torch.randperm(sum(needed)), needed), strict=True):
        row[: len(pages)] = pages
    used = torch.tensor(ends, dtype=torch.int32)
    edges = [pad(torch.tensor(counts).cumsum(0, dtype=torch.int32), (1, 0)) for counts in (queries, ends)]
    ones = queries.count(1)
    batch = PagedBatch(
        cache,
        slots=torch.zeros(0, dtype=torch.long),
        table=table.to(like.device),
        q_edges=edges[0].to(like.device),
        k_edges=edges[1].to(like.device),
        used=used.to(like.device),
        lengths=Lengths(ones, (max(queries), max(ends)), queries[ones:], ends[ones:]),
        attend=gathered,
    )
    return torch.randn(sum(queries), heads, size).to(like), batch
