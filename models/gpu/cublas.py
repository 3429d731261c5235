"""Whether the library is here that CTranslate2 computes with on a GPU, and does not bring along."""

from __future__ import annotations

import ctypes
import importlib.util
from collections.abc import Iterator
from pathlib import Path

CUDA = "12"  # the major version of CUDA that CTranslate2 is built for
LIBRARY = f"libcublas.so.{CUDA}"
WHEEL = "nvidia.cublas"  # the import package of nvidia-cublas-cu12


def is_found() -> bool:
    """Whether it can be loaded, from where the system looks or from its wheel. Loads it, so that CTranslate2 has it."""
    return any(map(_loads, (LIBRARY, *_of_wheel())))


def _of_wheel() -> Iterator[str]:
    try:
        spec = importlib.util.find_spec(WHEEL)
    except ModuleNotFoundError:
        return
    for folder in spec.submodule_search_locations or () if spec else ():
        yield str(Path(folder) / "lib" / LIBRARY)


def _loads(path: str) -> bool:
    try:
        ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL)
    except OSError:
        return False
    return True
