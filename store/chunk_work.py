"""What a worker needs to know of the window or stretch that it claimed."""

from __future__ import annotations

from dataclasses import dataclass, field

from dropscribe.core.job_overrides import JobOverrides
from dropscribe.core.routing import MODEL_QUEUE
from dropscribe.core.types import Chunk, Span
from dropscribe.store.leases import ChunkClaim


@dataclass(frozen=True, slots=True)
class ChunkWork:
    """What a worker needs to know of the window it claimed; times in seconds of the recording.

    `depth` is how often the chunk was halved. `queue` is its job's, and so are `overrides`, the settings of its folder.
    `waited_in` is the queue in which it waited until now, before the claim bound its job to the worker's model.
    """

    claim: ChunkClaim
    chunk: Chunk
    context: str
    failures: int
    depth: int
    speech: tuple[Span, ...]
    queue: str = MODEL_QUEUE
    overrides: JobOverrides = field(default_factory=JobOverrides)
    waited_in: str = MODEL_QUEUE

    @property
    def span(self) -> Span:
        """Which part of the recording it is."""
        return Span(self.chunk.start, self.chunk.end)


@dataclass(frozen=True, slots=True)
class StretchWork:
    """What a worker needs to know of the stretch it claimed; times in seconds of the recording.

    `speech` is where in it somebody speaks; `overrides` are the settings of its job's folder.
    """

    claim: ChunkClaim
    span: Span
    failures: int
    speech: tuple[Span, ...]
    overrides: JobOverrides = field(default_factory=JobOverrides)
