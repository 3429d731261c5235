"""What this machine is, for a report: versions, memory and GPUs. Imports none of the packages that it names."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from dropscribe.core import gpus, machine_memory
from dropscribe.core.version import VERSION

# What decides how recordings are transcribed, by the names on the package index.
PACKAGES = (
    "accelerate",
    "av",
    "bitsandbytes",
    "celery",
    "ctranslate2",
    "faster-whisper",
    "flash-attn",
    "numpy",
    "onnxruntime",
    "onnxruntime-gpu",
    "redis",
    "sherpa-onnx",
    "sqlalchemy",
    "torch",
    "transformers",
)


def describe() -> dict[str, Any]:
    """The machine as docs/cli.md describes it; what is not installed is left out."""
    listing = gpus.known()
    return {
        "dropscribe": VERSION,
        "python": platform.python_version(),
        "system": platform.platform(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory": machine_memory.total(),
        "packages": dict(_versions()),
        "gpus": [*map(asdict, listing.gpus)],
        "gpus_on_machine": listing.on_machine,
        "cuda_visible_devices": os.environ.get(gpus.VARIABLE),
    }


def _versions() -> Iterator[tuple[str, str]]:
    """The versions of those packages that are installed."""
    for name in PACKAGES:
        with suppress(importlib.metadata.PackageNotFoundError):
            yield name, importlib.metadata.version(name)
