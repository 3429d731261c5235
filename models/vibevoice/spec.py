"""What is known of the engine vibevoice without importing it."""

from __future__ import annotations

from dropscribe.models.engine_spec import EngineSpec
from dropscribe.models.vibevoice import memory_plan
from dropscribe.models.vibevoice.dimensions import PUBLISHED

MODEL = "microsoft/VibeVoice-ASR-HF"  # on Hugging Face

SPEC = EngineSpec(
    name="vibevoice",
    target="dropscribe.models.vibevoice.transcriber:VibeVoice",
    extra="gpu",
    package="torch",
    computes_with="torch",
    imports=("torch", "transformers", "accelerate", "bitsandbytes", "flash_attn"),
    optional=("bitsandbytes", "flash_attn"),
    on_gpus=True,
    needs_gpu=True,
    model=MODEL,
)


def fits(card: int) -> bool:
    """Whether a card of so many bytes holds the published checkpoint, in the precision that `auto` would take."""
    return memory_plan.choose(card, PUBLISHED).fits
