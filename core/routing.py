"""Pure: the tasks and their queues. A chunk waits in that of every model worker, or of those with a certain model.

A folder may want an engine, a precision or a checkpoint: its recordings wait in a queue of the workers that have it. As
soon as a worker claims a chunk, the recording is bound to that worker's model. Its other chunks wait in the queue of
that model. So one engine, one checkpoint and one precision transcribe all of a recording.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cache
from itertools import product, starmap

from dropscribe.core.types import EngineInfo

# Names of the Celery tasks.
PREPARE = "prepare"
TRANSCRIBE = "transcribe"
EMBED = "embed"
FINISH = "finish"

CPU_QUEUE = "cpu"
MODEL_QUEUE = "model"
BOUND = f"{MODEL_QUEUE}="  # begins the queue of one model
AUTO = "auto"  # as a wish: whichever comes
MAX_QUEUE = 48  # characters of a queue's name, as the store holds it
MAX_NAME = 20  # characters of a checkpoint's name in that of a queue
DIGEST = 6  # hex digits: enough to tell the checkpoints of one fleet apart


@dataclass(frozen=True, slots=True)
class ResidentModel:
    """The model of a worker: engine, checkpoint and precision; `called` is the checkpoint's name in settings."""

    engine: str = ""
    checkpoint: str = ""
    precision: str = ""
    called: str = ""

    @classmethod
    def of(cls, info: EngineInfo, called: str = "") -> ResidentModel:
        """The model that says this of itself."""
        return cls(info.engine, info.model, info.precision, called)

    @property
    def own_queue(self) -> str:
        """The queue of recordings that are bound to this model."""
        digest = _digest(f"{self.engine} {self.precision} {self.checkpoint}")
        named = f"{BOUND}{self.engine}.{self.precision}.{_short(self.checkpoint)}"
        return f"{named[: MAX_QUEUE - DIGEST - 1]}~{digest}"

    @property
    def queues(self) -> tuple[str, ...]:
        """The queues that a worker with this model serves."""
        return _served(self)


@cache
def _served(model: ResidentModel) -> tuple[str, ...]:
    """`ResidentModel.queues`, which every chunk asks for."""
    wishes = product((AUTO, model.engine), (AUTO, model.precision), (AUTO, model.called or AUTO))
    return (*dict.fromkeys(starmap(model_queue, wishes)), model.own_queue)


ANY_MODEL = ResidentModel()


def model_queue(engine: str = AUTO, precision: str = AUTO, checkpoint: str = AUTO) -> str:
    """The queue of the workers that a recording with these wishes may go to.

    >>> model_queue(), model_queue("whisper", checkpoint="turbo")
    ('model', 'model.whisper.auto.turbo')
    """
    wishes = [engine, precision, checkpoint if checkpoint == AUTO else _fitting(checkpoint)]
    while wishes and wishes[-1] == AUTO:
        wishes.pop()
    return ".".join([MODEL_QUEUE, *wishes])


def is_bound(queue: str) -> bool:
    """Whether it is the queue of one model, to which its recordings are bound.

    >>> is_bound(model_queue())
    False
    """
    return queue.startswith(BOUND)


def wish_of(queue: str) -> str:
    """What the workers of a queue have in common, as a person says it; empty for the common queue.

    >>> wish_of(model_queue("whisper", "int8", "turbo")), wish_of(model_queue())
    ('the engine whisper and the checkpoint turbo in int8', '')
    """
    if is_bound(queue):
        engine, precision, checkpoint = [*queue.removeprefix(BOUND).split(".", 2), "", ""][:3]
        return f"the model {_shown(checkpoint)} in {precision} ({engine})"
    engine, precision, checkpoint = [*queue.split(".", 3)[1:], AUTO, AUTO, AUTO][:3]
    named = {"engine": engine, "checkpoint": _shown(checkpoint)}
    said = " and ".join(f"the {kind} {wish}" for kind, wish in named.items() if wish != AUTO)
    if precision == AUTO:
        return said
    return f"{said} in {precision}" if said else f"the precision {precision}"


def _fitting(checkpoint: str) -> str:
    """The name of a checkpoint as a queue may have it: as it is where that fits, else its end and a digest."""
    short = _short(checkpoint)
    return short if short == checkpoint else f"{short}~{_digest(checkpoint)}"


def _short(checkpoint: str) -> str:
    """The name at the end of a checkpoint's path or id, in characters that a queue may have.

    >>> _short("Systran/faster-whisper-base@ebe41f70")
    'faster-whisper-base'
    """
    named = checkpoint.partition("@")[0].rstrip("/").rpartition("/")[2]
    return re.sub(r"[^A-Za-z0-9._-]", "-", named)[:MAX_NAME]


def _shown(name: str) -> str:
    """The name of a checkpoint without the digest that tells it from others.

    >>> _shown("base~a1b2")
    'base'
    """
    return name.partition("~")[0]


def _digest(text: str) -> str:
    """Some digits that tell one name from another."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:DIGEST]
