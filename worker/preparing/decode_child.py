"""The process that decodes one recording: puts itself under limits, decodes, answers one line of JSON.

Run by `decode` as `python -m dropscribe.worker.preparing.decode_child REQUEST`. The answer is the fields of `Decoded`,
or `error` (a class of `core.errors`) and `reason`.
"""

from __future__ import annotations

import json
import resource
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dropscribe.core import start_up
from dropscribe.core.child_process import die_with_parent
from dropscribe.core.errors import DecodeLimitError, DropscribeError
from dropscribe.worker.preparing.decode import AGES, DecodeLimits, Listening

GRACE = 5  # s of CPU time between SIGXCPU and the kernel's SIGKILL
MOST = (1 << 63) - 1  # bytes; no limit that the system takes is larger


def main(argument: str) -> None:
    """Serve one request and print the answer."""
    request = json.loads(argument)
    limits = DecodeLimits(**request["limits"])
    _detach()
    _limit(limits, request["file_bytes"])
    print(json.dumps(_answer(request, limits)))


def _answer(request: dict[str, Any], limits: DecodeLimits) -> dict[str, Any]:
    try:
        with start_up.without_collection():
            from dropscribe.worker.preparing import media  # after the limits: they hold for everything that av maps

        decoded = media.decode(
            Path(request["source"]),
            Path(request["target"]),
            Path(request["scratch"]),
            limits.max_seconds,
            Listening(**request["wanted"]),
        )
    except DropscribeError as error:
        return {"error": type(error).__name__, "reason": str(error)}
    except MemoryError:
        reason = (
            f"needs more than {limits.memory_mb} MB to decode; convert it to WAV or raise DROPSCRIBE_DECODE_MEMORY_MB"
        )
        return {"error": DecodeLimitError.__name__, "reason": reason}
    return asdict(decoded)


def _detach() -> None:
    """Let the parent alone decide when this ends: its stop signals are its own, its death is ours too."""
    die_with_parent(signal.SIGKILL)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _limit(limits: DecodeLimits, file_bytes: int) -> None:
    memory = min(limits.memory_mb << 20, MOST)
    cpu = min(limits.cpu_seconds, AGES)
    _set_limit(resource.RLIMIT_AS, memory, memory)
    _set_limit(resource.RLIMIT_CPU, cpu, cpu + GRACE)
    _set_limit(resource.RLIMIT_FSIZE, file_bytes, file_bytes)
    _set_limit(resource.RLIMIT_CORE, 0, 0)


def _set_limit(kind: int, soft: int, hard: int) -> None:
    """Set a limit; one that the system holds lower already stays."""
    _, ceiling = resource.getrlimit(kind)
    if ceiling != resource.RLIM_INFINITY:
        soft, hard = min(soft, ceiling), min(hard, ceiling)
    resource.setrlimit(kind, (soft, hard))


if __name__ == "__main__":
    main(sys.argv[1])
