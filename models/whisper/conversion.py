"""Writes a Whisper checkpoint in the layout that CTranslate2 reads. Imports torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ctranslate2.converters import TransformersConverter


def convert(folder: Path, target: Path, kept: str) -> None:
    """Write the model, its tokenizer and its features into the folder `target`, the weights in the type `kept`.

    Raises ImportError without transformers or torch, ValueError when weights are missing, and what these raise.
    """
    _Converter(str(folder)).convert(str(target), quantization=kept, force=True)
    _write_processor(folder, target)


class _Converter(TransformersConverter):  # type: ignore[misc]  # it has no types
    """Refuses a checkpoint without all weights, where transformers would go on with random numbers."""

    def load_model(self, model_class: Any, model_name_or_path: str, **options: Any) -> Any:
        """The model, with every weight from the checkpoint. Raises ValueError."""
        model, info = model_class.from_pretrained(model_name_or_path, output_loading_info=True, **options)
        if lacking := [*info["missing_keys"], *info["mismatched_keys"]]:
            raise ValueError(f"it lacks {len(lacking)} weights, the first {lacking[0]}")
        return model


def _write_processor(folder: Path, target: Path) -> None:
    """Tokenizer and features, whose files have had other names and forms over the years."""
    from transformers import WhisperProcessor

    processor: Any = WhisperProcessor.from_pretrained(folder)
    processor.tokenizer.save_pretrained(target)
    processor.feature_extractor.save_pretrained(target)
