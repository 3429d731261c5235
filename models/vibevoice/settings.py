"""The settings of the engine vibevoice."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field

from dropscribe.core.engine_settings import EngineSettings
from dropscribe.core.settings import OPTION
from dropscribe.core.settings_groups import split_commas
from dropscribe.models.vibevoice.parts import SAFE_PARTS, ModelPart


class VibeVoiceSettings(EngineSettings):
    """How VibeVoice-ASR is loaded and computed by PyTorch."""

    table: ClassVar[str] = "vibevoice"

    quantize: Annotated[tuple[ModelPart, ...], BeforeValidator(split_commas)] = Field(
        SAFE_PARTS,
        min_length=1,
        description="parts that int8 and nf4 quantize; more than the default is unsafe",
        json_schema_extra={"digest": "quantize"},
    )
    attention: Literal["auto", "flash", "varlen", "sdpa"] = Field(
        "auto",
        description="how attention is computed; auto: flash-attn or PyTorch's varlen where they run, else sdpa",
        json_schema_extra=OPTION,
    )
    batching: bool = Field(
        True,
        description="transcribe several chunks at once; off: one at a time, the reference",
        json_schema_extra=OPTION,
    )
