"""What is known of the engine vibevoice without importing it."""

from __future__ import annotations

from dropscribe.core.settings import VIBEVOICE
from dropscribe.models.engine_spec import EngineSpec
from dropscribe.models.vibevoice import memory_plan
from dropscribe.models.vibevoice.dimensions import PUBLISHED

SPEC = EngineSpec(
    name="vibevoice",
    target="dropscribe.models.vibevoice.transcriber:VibeVoice",
    extra="gpu",
    package="torch",
    on_gpus=True,
    model=VIBEVOICE,
)


def fits(card: int) -> bool:
    """Whether a card of so many bytes holds the published checkpoint, in the precision that `auto` would take."""
    return memory_plan.choose(card, PUBLISHED).fits
