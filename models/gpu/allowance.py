"""Pure: how much of a card's memory a process may plan with."""

from __future__ import annotations

CUDA_CONTEXT = 600_000_000  # bytes: context, libraries and their workspaces


def allowance(free: int, total: int, share: float = 1.0, *, has_context: bool = False) -> int:
    """Bytes that a process may plan with on a card of `total` bytes: its share, but no more than is free.

    Every plan counts a CUDA context. That of this process has been taken from `free` already if it `has_context`.

    >>> allowance(10_000_000_000, 24_000_000_000, 0.5)
    10000000000
    """
    return min(int(share * total), free + (CUDA_CONTEXT if has_context else 0))
