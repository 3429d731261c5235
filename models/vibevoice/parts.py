"""The parts of VibeVoice-ASR by name: where they are, and what speaks against quantizing them. Pure, no torch."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from dropscribe.core.errors import UsageError


class ModelPart(StrEnum):
    """Parts of VibeVoice-ASR, as people name them."""

    LANGUAGE_MODEL = "language-model"
    ACOUSTIC_ENCODER = "acoustic-encoder"
    SEMANTIC_ENCODER = "semantic-encoder"
    PROJECTOR = "projector"
    HEAD = "head"


SAFE_PARTS = (ModelPart.LANGUAGE_MODEL,)  # those that can be quantized without harm
PARTS = tuple(ModelPart)
FORBIDDEN = frozenset(
    {ModelPart.ACOUSTIC_ENCODER, ModelPart.SEMANTIC_ENCODER, ModelPart.PROJECTOR}
)  # unless asked for by name


@dataclass(frozen=True, slots=True)
class _About:
    """`prefix` is the full name from the model's root: a shorter one matches nothing in a skip list, silently."""

    prefix: str
    risk: str = ""


_MISHEARS = "with quantized encoders, transcripts were seen to become gibberish"
_ABOUT: dict[ModelPart, _About] = {
    ModelPart.LANGUAGE_MODEL: _About("model.language_model.layers"),
    ModelPart.ACOUSTIC_ENCODER: _About("model.acoustic_tokenizer_encoder", _MISHEARS),
    ModelPart.SEMANTIC_ENCODER: _About("model.semantic_tokenizer_encoder", _MISHEARS),
    ModelPart.PROJECTOR: _About(
        "model.multi_modal_projector", "with it quantized, all speakers were seen to become one"
    ),
    ModelPart.HEAD: _About("lm_head", "it decides every word, and no later part corrects its errors"),
}


def choose(only: Collection[ModelPart], skip: Collection[ModelPart]) -> tuple[ModelPart, ...]:
    """The parts to quantize: those named, else the safe ones, without those to skip.

    Raises UsageError when none is left.
    """
    wanted = set(only or SAFE_PARTS) - set(skip)
    if not wanted:
        raise UsageError("nothing is left to quantize", remedy=f"name with --only what should be: {', '.join(PARTS)}")
    return in_order(wanted)


def in_order(parts: Iterable[ModelPart | None]) -> tuple[ModelPart, ...]:
    """Each of the parts once, in the order in which they are listed; None is not a part."""
    wanted = set(parts)
    return tuple(part for part in PARTS if part in wanted)


def part_of(module: str) -> ModelPart | None:
    """The part that a module, or one of its tensors, belongs to, by its full name."""
    return next((part for part in PARTS if f"{module}.".startswith(f"{_ABOUT[part].prefix}.")), None)


def skipped(chosen: Collection[ModelPart]) -> list[str]:
    """Full names of the parts that are not to be quantized.

    They go into a skip list whole: any list drops the library's default exception of the head.
    """
    return [_ABOUT[part].prefix for part in PARTS if part not in chosen]


def without_root(skip_list: Iterable[str]) -> list[str]:
    """The names in a skip list that match nothing because they lack `model.`, as those of several published copies."""
    return [name for name in skip_list if part_of(name) is None and part_of(f"model.{name}")]


def doubts(chosen: Collection[ModelPart]) -> Iterator[str]:
    """What speaks against quantizing each of these parts, a sentence each; nothing against the safe ones."""
    for part in PARTS:
        if part in chosen and _ABOUT[part].risk:
            yield f"quantizing {part} is unsafe: {_ABOUT[part].risk}"
