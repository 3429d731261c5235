"""Known voices: whom people enrolled, with the embedding by which they are recognized. Biometric data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, insert, select

from dropscribe.store.scrubbing import to_scrub
from dropscribe.store.session import Database
from dropscribe.store.tables import now, voices


@dataclass(frozen=True, slots=True)
class KnownVoice:
    """An enrolled voice: its embedding of length 1 by that encoder, made of so many seconds of speech."""

    name: str
    encoder: str
    embedding: tuple[float, ...]
    seconds: float
    enrolled_at: float = 0.0


def enroll(database: Database, voice: KnownVoice) -> None:
    """Keep the voice; it replaces one with this name."""
    values = {
        "name": voice.name,
        "encoder": voice.encoder,
        "embedding": list(voice.embedding),
        "seconds": voice.seconds,
        "enrolled_at": now(),
    }
    with database.begin() as connection:
        connection.execute(delete(voices).where(voices.c.name == voice.name))
        connection.execute(insert(voices).values(**values))


def known(database: Database, *, encoder: str | None = None) -> list[KnownVoice]:
    """All enrolled voices, or those by one encoder, by name."""
    query = select(voices).order_by(voices.c.name)
    if encoder is not None:
        query = query.where(voices.c.encoder == encoder)
    with database.read() as connection:
        return [*map(_voice, connection.execute(query))]


def _voice(row: Any) -> KnownVoice:
    """A voice by its row."""
    return KnownVoice(
        name=row.name,
        encoder=row.encoder,
        embedding=tuple(row.embedding),
        seconds=row.seconds,
        enrolled_at=row.enrolled_at,
    )


def forget(database: Database, names: Sequence[str]) -> None:
    """Remove these voices."""
    with database.begin() as connection:
        connection.execute(delete(voices).where(voices.c.name.in_(names)))
        to_scrub(connection)
