"""Which NVIDIA GPUs this process may use, and how much memory each has. No torch."""

from __future__ import annotations

import ctypes
import os
import shutil
from pathlib import Path

from dropscribe.core import gpus

DRIVER = Path("/proc/driver/nvidia/version")
CUBLAS = "libcublas.so.12"  # what CTranslate2 computes with on a GPU, and does not bring along


def has_driver() -> bool:
    """Whether this machine has an NVIDIA driver, and this process may use a GPU."""
    return _visible() != [] and (DRIVER.exists() or shutil.which("nvidia-smi") is not None)


def has_cublas() -> bool:
    """Whether the library is found that CTranslate2 computes with on a GPU. Loads it."""
    try:
        ctypes.CDLL(CUBLAS)
    except OSError:
        return False
    return True


def memory() -> list[int]:
    """Bytes of each GPU that this process may use; empty where there is none, or the driver does not tell."""
    visible = _visible()
    return [
        gpu.memory
        for gpu in gpus.known_gpus()
        if gpu.memory and (visible is None or {str(gpu.index), gpu.uuid} & set(visible))
    ]


def _visible() -> list[str] | None:
    """The GPUs that CUDA_VISIBLE_DEVICES names, by index or UUID; None where it names none, so that all are meant."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is None:
        return None
    return [one.strip() for one in named.split(",") if one.strip() not in {"", "-1"}]
