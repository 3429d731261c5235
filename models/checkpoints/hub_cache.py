"""Checkpoints in the cache of Hugging Face's programs, or in a folder: where they are, and what their config says."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from itertools import chain
from operator import attrgetter
from pathlib import Path
from typing import Any

from huggingface_hub import constants

from dropscribe.core.errors import UsageError
from dropscribe.models.checkpoints import known, safetensors_files

BITSANDBYTES = {"int8": 8, "nf4": 4, "fp4": 4}  # bits of a weight
OTHER_WEIGHTS = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.h5", "*.msgpack", "*.gguf", "*.onnx", "*.onnx_data*")


def cache() -> Path:
    """The folder in which Hugging Face's programs keep what they fetched."""
    return Path(constants.HF_HUB_CACHE)


def repository(name: str) -> Path:
    """The folder of one id in the cache.

    >>> repository("openai/whisper-base").name
    'models--openai--whisper-base'
    """
    return cache() / f"models--{name.replace('/', '--')}"


def snapshot(name: str, commit: str) -> Path:
    """The folder of one commit of an id in the cache.

    >>> snapshot("openai/whisper-base", "ab12").parts[-3:]
    ('models--openai--whisper-base', 'snapshots', 'ab12')
    """
    return repository(name) / "snapshots" / commit


def cached(name: str = "*") -> Iterator[tuple[str, Path]]:
    """Id and folder of every snapshot in the cache, or of those of one id."""
    for place in sorted(cache().glob("models--" + name.replace("/", "--"))):
        identity = place.name.removeprefix("models--").replace("--", "/", 1)
        yield from ((identity, path) for path in sorted(place.glob("snapshots/*")) if path.is_dir())


def locate(source: str, revision: str = "") -> tuple[Path, str]:
    """The folder and the commit of a checkpoint: a folder itself, or the snapshot of a short name or an id.

    Raises UsageError when it is neither a folder nor in the cache.
    """
    folder = Path(source).expanduser()
    found = known.find(source, revision)
    if folder.is_dir() and not (found and found.name == source):
        return folder.resolve(), ""
    name, commit = (found.id, found.revision) if found else _asked_for(source, revision)
    path = snapshot(name, commit)
    if not path.is_dir():
        which = f"{source} at {revision}" if revision else source
        raise UsageError(
            f"{which} is neither a folder nor in {cache()}", remedy=f"fetch it: dropscribe models fetch {source}"
        )
    return path, commit


def _asked_for(source: str, revision: str) -> tuple[str, str]:
    """The id and the commit that a name and a revision stand for. Raises UsageError if it is not an id."""
    name = known.identity(source)
    if not _is_id(name):
        raise UsageError(f"{source} is not a folder", remedy="name a checkpoint's, or see `dropscribe models list`")
    asked = revision or "main"
    reference = repository(name) / "refs" / asked
    return name, (reference.is_file() and reference.read_text().strip()) or asked


def _is_id(name: str) -> bool:
    """It may be an id of Hugging Face, and not a path.

    >>> _is_id("openai/whisper-base"), _is_id("./whisper-base")
    (True, False)
    """
    return name.count("/") == 1 and "*" not in name and not name.startswith((".", "~", "/"))


def read_config(folder: Path) -> dict[str, Any]:
    """The config.json of a folder, empty if it has none. Raises ModelUnavailableError."""
    path = folder / "config.json"
    if not path.exists() and not path.is_symlink():
        return {}
    with safetensors_files.whole(path, OSError, ValueError):
        config = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(config, dict):
        raise safetensors_files.broken(path, "it holds no JSON object")
    return config


def without_weights(folder: Path) -> str:
    """What to say of a folder without safetensors: what it has instead, and how that becomes safetensors."""
    others = sorted(set(chain.from_iterable(map(folder.glob, OTHER_WEIGHTS))))
    if others:
        shown = ", ".join(map(attrgetter("name"), others[:3]))
        return (
            f"{folder} has no safetensors files, but {shown}; load it once with transformers and write it with "
            "`save_pretrained(FOLDER)`, or fetch a version in safetensors"
        )
    names = ", ".join(sorted(map(attrgetter("name"), folder.iterdir()))[:6]) or "nothing"
    return f"{folder} is not a checkpoint: it holds {names}; name a folder with safetensors files"


def quantization(config: Mapping[str, Any]) -> str:
    """How a checkpoint is quantized by its config: `int8`, `nf4`, `fp4` or another method's name; empty if not.

    >>> quantization({"quantization_config": {"load_in_8bit": True}}), quantization({})
    ('int8', '')
    """
    stored = config.get("quantization_config")
    if not isinstance(stored, Mapping):
        return ""
    if stored.get("load_in_8bit"):
        return "int8"
    if stored.get("load_in_4bit"):
        return str(stored.get("bnb_4bit_quant_type", "fp4"))
    return str(stored.get("quant_method", "an unknown method"))


def quantized_bits(config: Mapping[str, Any]) -> int:
    """Bits of a quantized weight in memory; 0 where the config does not tell.

    What compressed-tensors packed is unpacked on first use, so that its bits say nothing.

    >>> quantized_bits({"quantization_config": {"quant_method": "awq", "bits": 4}})
    4
    """
    method = quantization(config)
    if method == "torchao":  # names of classes in any depth: Int4WeightOnlyConfig, int8_weight_only
        found = re.search(r"int([48])", json.dumps(config["quantization_config"]), re.IGNORECASE)
        return int(found[1]) if found else 0
    if method in {"awq", "gptq"}:
        return int(config["quantization_config"].get("bits") or 0)
    return BITSANDBYTES.get(method, 0)
