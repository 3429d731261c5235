"""A checkpoint in the original layout as one in transformers': its weights stay where they are and get other names.

What describes it is written into a folder that is gone afterwards.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from transformers import (
    AutoTokenizer,
    GenerationConfig,
    VibeVoiceAcousticTokenizerFeatureExtractor,
    VibeVoiceAsrConfig,
    VibeVoiceAsrProcessor,
)

from dropscribe.core.errors import ModelUnavailableError, UsageError
from dropscribe.models.checkpoints import hub_cache, safetensors_files
from dropscribe.models.checkpoints.convert import SourceCheckpoint
from dropscribe.models.checkpoints.safetensors_files import Shard
from dropscribe.models.vibevoice import loader, original_layout

TOKENIZER = "tokenizer.json"
PROCESSOR = "processor_config.json"


@contextmanager
def of(source: SourceCheckpoint) -> Iterator[SourceCheckpoint]:
    """The source itself, or if it is in the original layout, the same in transformers'.

    Its tokenizer is the one in its folder, or that of the same model in transformers' layout or of its language model,
    in the cache. Raises ModelUnavailableError where there is none, and for a model of speech synthesis.
    """
    config = hub_cache.read_config(source.folder)
    if config.get("model_type") != original_layout.MODEL_TYPE:
        yield source
        return
    if any(tensor.name.startswith(original_layout.SYNTHESIS) for tensor in safetensors_files.tensors(source.weights)):
        raise ModelUnavailableError(f"{source.name} is a model of speech synthesis", remedy=f"use {loader.CHECKPOINT}")
    with tempfile.TemporaryDirectory(prefix="dropscribe-") as place:
        folder = Path(place)
        _describe(source, original_layout.config(config, source.name), folder)
        yield replace(
            source, folder=folder, weights=tuple(map(_renamed, source.weights)), others=tuple(sorted(folder.iterdir()))
        )


def _renamed(shard: Shard) -> Shard:
    """A file of weights under the names that transformers gives them."""
    named = ((original_layout.renamed(tensor.name), tensor) for tensor in shard.tensors)
    return replace(shard, tensors=tuple(replace(tensor, name=name) for name, tensor in named if name))


def _describe(source: SourceCheckpoint, config: dict[str, Any], folder: Path) -> None:
    """Write its processor, its config and how it generates."""
    processor = _processor(source)
    processor.save_pretrained(folder)
    tokenizer = processor.tokenizer
    pad, end = tokenizer.convert_tokens_to_ids([original_layout.PAD, original_layout.EOS])
    ids = {f"{name}_token_id": getattr(processor, f"{name}_token_id") for name in ("audio", "audio_bos", "audio_eos")}
    VibeVoiceAsrConfig.from_dict(config | ids).save_pretrained(folder)
    GenerationConfig(
        eos_token_id=end, pad_token_id=pad, do_sample=False, max_new_tokens=32_768, use_cache=True
    ).save_pretrained(folder)


def _processor(source: SourceCheckpoint) -> Any:
    """The processor that belongs to a checkpoint. Raises ModelUnavailableError without its tokenizer."""
    found = next((place for place in _places(source) if (place / TOKENIZER).is_file()), None)
    if found is None:
        name = _language_model(source)
        raise ModelUnavailableError(
            f"{source.name} has no tokenizer: it takes that of {name}, which is not here",
            remedy=f"fetch it (7 MB): hf download {name} tokenizer.json tokenizer_config.json",
        )
    if (found / PROCESSOR).is_file():
        return loader.read_processor(str(found))
    return VibeVoiceAsrProcessor(
        feature_extractor=VibeVoiceAcousticTokenizerFeatureExtractor(),
        tokenizer=AutoTokenizer.from_pretrained(found),
        chat_template=original_layout.CHAT_TEMPLATE,
    )


def _places(source: SourceCheckpoint) -> Iterator[Path]:
    """Folders that may have the tokenizer."""
    yield source.folder
    for name in (loader.CHECKPOINT, _language_model(source)):
        with suppress(UsageError):  # it is not in the cache
            yield hub_cache.locate(name)[0]


def _language_model(source: SourceCheckpoint) -> str:
    """The id on Hugging Face of the language model that it was made from."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        said = json.loads((source.folder / "preprocessor_config.json").read_text(encoding="utf-8"))
        return str(said["language_model_pretrained_name"])
    return original_layout.LANGUAGE_MODEL
