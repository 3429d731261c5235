"""How fast each model is on a host and GPU: kept when its worker ends, so that time left is known from the start."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from dropscribe.core.routing import is_bound
from dropscribe.store import sql
from dropscribe.store.session import Ask, insert_ignoring

MIN_SAMPLE = 10.0  # seconds of audio; of less, the first words and the start of a model would decide the speed
HALF_LIFE = 600.0  # seconds of work after which a measurement counts half
FORGET_SECONDS = 90 * 86_400.0  # a model that did nothing for longer is forgotten; containers have a new host each time


class Place(NamedTuple):
    """A model on one GPU of a host, or on its CPU (`gpu` is empty); `model_queue` is the queue of this very model."""

    host: str
    gpu: str
    model_queue: str

    @classmethod
    def of(cls, host: str, gpu: str, queues: Sequence[str]) -> Place:
        """That of a worker which serves these queues."""
        return cls(host, gpu, next(filter(is_bound, queues), ""))


class Measured(NamedTuple):
    """Seconds of audio, and the seconds that transcribing them took; chunks side by side count one by one."""

    audio: float = 0.0
    busy: float = 0.0


def note(connection: sql.Connection, place: Place, new: Measured) -> None:
    """Add what was measured; the more of it there is, the less what was measured before counts."""
    fading = 0.5 ** (new.busy / HALF_LIFE)
    this = (
        sql.speeds.c.host == place.host,
        sql.speeds.c.gpu == place.gpu,
        sql.speeds.c.model_queue == place.model_queue,
    )
    none = {"audio_seconds": 0.0, "busy_seconds": 0.0, "measured_at": sql.now()}
    connection.execute(insert_ignoring(connection, sql.speeds).values(**place._asdict(), **none))
    added = {
        "audio_seconds": sql.speeds.c.audio_seconds * fading + new.audio,
        "busy_seconds": sql.speeds.c.busy_seconds * fading + new.busy,
        "measured_at": sql.now(),
    }
    connection.execute(sql.update(sql.speeds).where(*this).values(**added))


def forget_old(connection: sql.Connection) -> None:
    """Forget what was not measured for long."""
    connection.execute(sql.delete(sql.speeds).where(sql.speeds.c.measured_at < sql.now() - FORGET_SECONDS))


def kept(ask: Ask) -> Mapping[Place, Measured]:
    """All that is known."""
    return {Place(*row[:3]): Measured(*row[3:]) for row in ask(_kept)}


@sql.statement
def _kept() -> Any:
    """All rows."""
    known = sql.speeds.c
    return sql.select(known.host, known.gpu, known.model_queue, known.audio_seconds, known.busy_seconds)


def nearest(known: Mapping[Place, Measured], place: Place) -> Measured:
    """What was measured there, if that is enough; else what all GPUs measured of this model, or for a CPU all CPUs."""
    own = known.get(place, Measured())
    if own.audio >= MIN_SAMPLE:
        return own
    alike = [
        measured
        for other, measured in known.items()
        if other.model_queue == place.model_queue and bool(other.gpu) == bool(place.gpu)
    ]
    return Measured(*map(sum, zip(*alike, strict=True)))
