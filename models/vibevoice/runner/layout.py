"""How the tokens of a step lie behind each other, as arrays on the host. NumPy, no torch.

With two requests that decode at positions 40 and 7, and a piece of three tokens of a prompt of which 5 are cached:

    counts      1   1   3
    edges     0   1   2       5
    positions   40  7   5 6 7
    ends        41  8   8
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from dropscribe.models.vibevoice.runner.scheduler import StepBatch

Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Lengths:
    """What attention must know on the host: how many requests decode, which come first; `queries` and `ends`, the
    keys, of each of the others; and the `longest` queries and keys of any request."""

    decoding: int
    longest: tuple[int, int]
    queries: tuple[int, ...] = ()
    ends: tuple[int, ...] = ()


@dataclass(frozen=True)
class StepLayout:
    """For each request of a step, those that decode first: its `rows`, `starts` (tokens in the cache), `counts`
    (tokens of this step), and whether the step `chooses` its next token."""

    batch: StepBatch
    rows: Integers
    starts: Integers
    counts: Integers
    chooses: NDArray[np.bool_]

    @classmethod
    def of(cls, batch: StepBatch) -> StepLayout:
        """The layout of a batch."""
        decoding = [(one.row, one.cached, 1, True) for one in batch.decoding]
        pieces = [(one.request.row, one.request.cached, one.count, one.completes) for one in batch.pieces]
        rows, starts, counts, chooses = np.array([*decoding, *pieces], dtype=np.int64).T
        return cls(batch, rows, starts, counts, chooses.astype(bool))

    @cached_property
    def edges(self) -> Integers:
        """Where each request's tokens begin, and the end: (requests + 1,)."""
        return np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(self.counts)])

    @property
    def positions(self) -> Integers:
        """The position of each token in its request: (tokens,)."""
        return np.arange(self.edges[-1]) + self.by_token(self.starts - self.edges[:-1])

    @property
    def ends(self) -> Integers:
        """The tokens that each request has in the cache after the step: (requests,)."""
        return self.starts + self.counts

    def by_token(self, values: Integers) -> Integers:
        """The value of its request for each token: from (requests,) to (tokens,)."""
        return np.repeat(values, self.counts)

    def lengths(self) -> Lengths:
        """The same as Python's integers, for attention."""
        decoding, ends = len(self.batch.decoding), self.ends
        longest = int(self.counts.max()), int(ends.max())
        return Lengths(decoding, longest, tuple(self.counts[decoding:].tolist()), tuple(ends[decoding:].tolist()))
