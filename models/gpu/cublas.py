"""Whether the library is here that CTranslate2 computes with on a GPU, and does not bring along."""

from __future__ import annotations

import ctypes
from contextlib import suppress

from dropscribe.models.gpu.package_files import files

CUDA = "12"  # the major version of CUDA that CTranslate2 is built for
LIBRARY = f"libcublas.so.{CUDA}"
WHEELS = "nvidia"  # the import package of nvidia-cublas-cu12 and others of NVIDIA's


def is_found() -> bool:
    """Whether it can be loaded, from where the system looks or from its wheel. Loads it, so that CTranslate2 has it."""
    return any(map(_loads, (LIBRARY, *map(str, files(WHEELS, f"*/lib/{LIBRARY}")))))


def require() -> None:
    """Raise OSError where it is not found."""
    if not is_found():
        raise OSError(f"{LIBRARY} is not found")


def _loads(path: str) -> bool:
    """Can the library be loaded from there?"""
    with suppress(OSError):
        ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL)
        return True
    return False
