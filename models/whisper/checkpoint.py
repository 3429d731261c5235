"""A Whisper checkpoint in the layout that CTranslate2 reads: as it is published, or converted once and kept. No torch
unless one has to be converted."""

from __future__ import annotations

import hashlib
import logging
import time
from pathlib import Path
from typing import Any

from ctranslate2.converters import TransformersConverter

from dropscribe.core.errors import ModelUnavailableError, UsageError
from dropscribe.core.settings import Settings
from dropscribe.models import inventory
from dropscribe.models.checkpoints import fetch, hub_cache, known, new_folder, sizes
from dropscribe.models.checkpoints.known import WEIGHTS
from dropscribe.models.whisper.spec import DEFAULT

log = logging.getLogger(__name__)

LOG_SECONDS = 10.0  # between two lines about the same step
HALF, FULL = "float16", "float32"


def find(settings: Settings) -> tuple[Path, str]:
    """The folder of the checkpoint in use, fetched if it is not here, and the name to call it by.

    Raises UsageError for what is neither a folder nor an id, and ModelUnavailableError when it cannot be fetched.
    """
    source = settings.model or DEFAULT
    if not known.find(source, settings.revision):
        try:
            folder, commit = hub_cache.locate(source, settings.revision)
            return folder, known.title(source, commit)
        except UsageError:
            if Path(source).expanduser().is_absolute():
                raise
    folder, commit = fetch.fetch(source, settings.revision, _Log())
    return folder, known.title(known.identity(source), commit)


class _Log:
    """Progress of a fetch for the log: each step once, and then every 10 s."""

    def __init__(self) -> None:
        self._step, self._logged_at = "", 0.0

    def __call__(self, step: str, done: int, total: int) -> None:
        now = time.monotonic()
        if step == self._step and now - self._logged_at < LOG_SECONDS:
            return
        self._step, self._logged_at = step, now
        log.info("%s%s", step, f": {done / 1e6:,.0f} of {total / 1e6:,.0f} MB" if total else "")


def readable(folder: Path, name: str, settings: Settings) -> Path:
    """A folder that CTranslate2 reads: this one, or its converted copy under `home`, made if it is not there.

    Raises ModelUnavailableError when it is no Whisper, not whole, or cannot be converted.
    """
    if (folder / WEIGHTS).is_file():
        return folder
    kind = hub_cache.read_config(folder).get("model_type")
    if kind != "whisper":
        raise ModelUnavailableError(
            f"{name} holds a model of type {kind or 'unknown'}, not whisper",
            remedy=f"name another (DROPSCRIBE_MODEL), for example {DEFAULT}",
        )
    kept = _kept(settings)
    target = settings.home / "models" / f"whisper-{_digest(folder, kept)}"
    return target if target.is_dir() else _converted(folder, name, target, kept)


def half_size(readable: Path, folder: Path, settings: Settings) -> int:
    """Bytes that the weights take in 16 bits; `readable` is what that function gave for `folder`."""
    is_full = readable != folder and _kept(settings) == FULL
    return (readable / WEIGHTS).stat().st_size // (2 if is_full else 1)


def _kept(settings: Settings) -> str:
    """The type of the weights in a converted copy."""
    return FULL if settings.precision == "fp32" else HALF


def _digest(folder: Path, kept: str) -> str:
    """Tells one checkpoint from another, and a folder from what was in it before."""
    files = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in sorted(folder.iterdir())]
    return hashlib.sha256(repr((str(folder), files, kept)).encode()).hexdigest()[:16]


def _converted(folder: Path, name: str, target: Path, kept: str) -> Path:
    if problems := inventory.examine(folder).problems:
        raise ModelUnavailableError(f"{name}: {'; '.join(problems)}")
    log.info("converting %s for CTranslate2, once", name)
    target.parent.mkdir(parents=True, exist_ok=True)
    new_folder.require_room(target.parent, sizes.of_files(folder.glob("*.safetensors")))
    with new_folder.beside(target) as part:
        try:
            _Converter(str(folder)).convert(str(part), quantization=kept, force=True)
            _write_processor(folder, part)
        except ImportError as error:
            raise ModelUnavailableError(
                f"{name} has to be converted for CTranslate2, which needs more packages: {error}",
                remedy=f"pip install "
                f"'dropscribe[gpu]', or name a checkpoint in that layout (DROPSCRIBE_MODEL), for example {DEFAULT}",
            ) from error
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise ModelUnavailableError(
                f"{name} cannot be converted for CTranslate2: {error}", remedy="fetch it again"
            ) from error
        try:
            new_folder.settle(part, target)
        except ModelUnavailableError:
            if not target.is_dir():  # another worker was faster
                raise
    return target


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
