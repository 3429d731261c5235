"""Whether the library is here that CTranslate2 computes with on a GPU, and does not bring along."""

from __future__ import annotations

import ctypes

LIBRARY = "libcublas.so.12"


def is_found() -> bool:
    """Whether it can be loaded. Loads it."""
    try:
        ctypes.CDLL(LIBRARY)
    except OSError:
        return False
    return True
