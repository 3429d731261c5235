"""Pure: the tasks and their queues. A chunk waits in that of every model worker, or of one engine or precision."""

from __future__ import annotations

# Names of the Celery tasks.
PREPARE = "prepare"
TRANSCRIBE = "transcribe"
EMBED = "embed"
FINISH = "finish"

CPU_QUEUE = "cpu"
MODEL_QUEUE = "model"
AUTO = "auto"  # as a wish: whichever comes


def model_queue(engine: str = AUTO, precision: str = AUTO) -> str:
    """The queue of the workers that a recording with these wishes may go to."""
    wishes = [engine, precision] if precision != AUTO else [engine] if engine != AUTO else []
    return ".".join([MODEL_QUEUE, *wishes])


def served(engine: str, precision: str) -> tuple[str, ...]:
    """The queues that a worker with this model serves."""
    wishes = ((AUTO, AUTO), (engine, AUTO), (AUTO, precision), (engine, precision))
    return tuple(dict.fromkeys(model_queue(*wish) for wish in wishes))


def wish_of(queue: str) -> str:
    """What the workers of a queue have in common, as a person says it; empty for the common queue."""
    _, *named = queue.split(".")
    match named:
        case [engine]:
            return f"the engine {engine}"
        case ["auto", precision]:
            return f"the precision {precision}"
        case [engine, precision]:
            return f"the engine {engine} in {precision}"
    return ""
