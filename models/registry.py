"""The speech models by name: which there are, which fits this machine, and how to load one.

A model's module is imported only when it is asked for, so that a machine needs the packages of its own
model and no others.
"""

from __future__ import annotations

import importlib
import importlib.util
import shutil
from pathlib import Path
from typing import Protocol, cast

from dropscribe.core.errors import ModelUnavailableError
from dropscribe.core.settings import Settings
from dropscribe.models.base import Transcriber

ENGINES: dict[str, str] = {
    "onnx": "dropscribe.models.onnx.transcriber:Onnx",
    "pocketsphinx": "dropscribe.models.pocketsphinx:PocketSphinx",
    "scripted": "dropscribe.models.scripted:Scripted",
    "vibevoice": "dropscribe.models.vibevoice.transcriber:VibeVoice",
    "whisper": "dropscribe.models.whisper.transcriber:Whisper",
}
# The optional dependencies that an engine needs.
EXTRAS: dict[str, str] = {"onnx": "onnx", "pocketsphinx": "local", "vibevoice": "gpu", "whisper": "whisper"}
# The package without which an engine's module cannot be imported, and which nothing else of dropscribe needs.
NEEDS: dict[str, str] = {
    "onnx": "onnxruntime",
    "pocketsphinx": "pocketsphinx",
    "vibevoice": "torch",
    "whisper": "faster_whisper",
}
ON_GPUS = frozenset({"vibevoice", "whisper"})  # one worker a GPU, where there are any
NOTICES: dict[str, str] = {
    "pocketsphinx": (
        "pocketsphinx: small offline English model, for trying dropscribe out; "
        "for real transcripts use VibeVoice-ASR on a GPU"
    ),
    "scripted": "scripted: invented words for tests; nothing of what was said is recognized",
}
NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")


class _Engine(Protocol):
    def load(self, settings: Settings) -> Transcriber:
        """Load the model and warm it up."""
        ...


def create(engine: str, settings: Settings) -> Transcriber:
    """Load an engine by its name or by `auto`, ready to transcribe.

    Raises ModelUnavailableError when it is unknown, not installed or does not fit this machine, and
    SettingsError when its own settings are wrong.
    """
    return _class_of(resolve(engine)).load(settings)


def resolve(engine: str) -> str:
    """The engine that a name stands for: itself, or for `auto` the best that this machine can run.

    Raises ModelUnavailableError when there is none of that name, or nothing that could run here.
    """
    if engine == "auto":
        return _best_here()
    if engine not in ENGINES:
        raise ModelUnavailableError(f"{engine} is not part of this version yet; use pocketsphinx")
    return engine


def require(engine: str) -> None:
    """Raise ModelUnavailableError when the package that an engine runs on is not installed. Imports nothing."""
    package = NEEDS.get(engine)
    if package and importlib.util.find_spec(package) is None:
        raise ModelUnavailableError(
            f"{engine} cannot be imported: {package} is not installed; {_how_to_install(engine)}"
        )


def notice(engine: str) -> str:
    """What a user has to know before trusting the engine's transcripts, or nothing. Loads no model.

    Raises ModelUnavailableError as `resolve` does.
    """
    return NOTICES.get(resolve(engine), "")


def _best_here() -> str:
    if "vibevoice" in ENGINES and _has_nvidia_driver():
        return "vibevoice"
    if importlib.util.find_spec("pocketsphinx"):
        return "pocketsphinx"
    raise ModelUnavailableError(f"no speech model can run on this machine; {_how_to_install('pocketsphinx')}")


def _has_nvidia_driver() -> bool:
    return NVIDIA_DRIVER.exists() or shutil.which("nvidia-smi") is not None


def _class_of(engine: str) -> _Engine:
    module, _, name = ENGINES[engine].partition(":")
    try:
        return cast(_Engine, getattr(importlib.import_module(module), name))
    except ImportError as error:
        if engine not in EXTRAS:  # needs nothing optional, so the program itself is broken
            raise
        message = f"{engine} cannot be imported: {error}; {_how_to_install(engine)}"
        raise ModelUnavailableError(message) from error


def _how_to_install(engine: str) -> str:
    return f"install it with pip install 'dropscribe[{EXTRAS[engine]}]'"
