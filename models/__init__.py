"""Speech models behind one protocol, and the only torch in the project.

An engine is a folder (`vibevoice`, `onnx`, `whisper`) or a module; `registry` knows them all. `checkpoints` reads,
fetches and converts weights, `gpu` shares a card among workers. Knows nothing of Celery, Redis or SQL.

From outside, `convert`, `quantize`, `export` and `validate` are for anybody (docs/client.md): imported when asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dropscribe.models.functions import convert, export, quantize, validate

__all__ = ["convert", "export", "quantize", "validate"]


def __getattr__(name: str) -> Any:
    """Import a public function when it is first asked for."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("dropscribe.models.functions"), name)
