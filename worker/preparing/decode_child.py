"""The process that decodes one recording: puts itself under limits, decodes, answers one line of JSON.

Before it opens the recording, it is closed off from all but that file and where it writes (`core.sandbox`).
Run by `decode` as `python -m dropscribe.worker.preparing.decode_child REQUEST`; without a request it is a zygote, which
forks one for each recording. It says when it has begun; the answer is the fields of `Decoded`, or `error` (a class of
`core.errors`) and `reason`.
"""

from __future__ import annotations

import importlib
import json
import resource
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dropscribe.core import sandbox, start_up, system_calls, zygote_child
from dropscribe.core.child_process import die_with_parent
from dropscribe.core.errors import DecodeLimitError, DropscribeError
from dropscribe.worker.preparing.decode import AGES, BEGUN, DecodeLimits, Listening, PartToDecode

NAME = "decoder"
# What decoding imports at last: the others of these come with the first recording, and numpy.ma with a median.
IMPORTED_FIRST = ("dropscribe.worker.preparing.in_parts", "av.subtitles.stream", "numpy.ma")
GRACE = 5  # s of CPU time between SIGXCPU and the kernel's SIGKILL
MOST = (1 << 63) - 1  # bytes; no limit that the system takes is larger


def main(argument: str) -> None:
    """Serve one request and print the answer."""
    request = json.loads(argument)
    _show_name()
    limits = DecodeLimits(**request["limits"])
    _detach()
    _limit(limits, request["file_bytes"])
    print(json.dumps(_answer(request, limits)))


def serve() -> None:
    """Import what decoding takes, then fork a process for each recording, which limits itself."""
    with start_up.without_collection():
        _import()
        sandbox.libraries()  # looked for once, instead of in every child
    zygote_child.serve(main)


def _import() -> None:
    """Import all that decoding takes, so that what is missing here is missed before a recording is opened."""
    for module in IMPORTED_FIRST:
        importlib.import_module(module)


def _answer(request: dict[str, Any], limits: DecodeLimits) -> dict[str, Any]:
    try:
        with start_up.without_collection():
            _import()  # after the limits: they hold for all that av maps
            from dropscribe.worker.preparing import flac, in_parts, media

        source, target, scratch = (Path(request[name]) for name in ("source", "target", "scratch"))
        parts = [PartToDecode(**part) for part in request["parts"]]
        copies = [Path(part.source) for part in parts if part.source]
        flac.begin(target)
        sandbox.enter(limits.sandbox, read=[source, *copies], write=[target, scratch])  # nothing was parsed until here
        print(BEGUN, end="", flush=True)
        wanted = Listening(**request["wanted"])
        if parts:
            decoded = in_parts.decode(parts, target, scratch, limits.max_seconds, wanted)
        else:
            decoded = media.decode(source, target, scratch, limits.max_seconds, wanted)
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


def _show_name() -> None:
    """Tell decoders from the zygote, whose command line they have, where processes are listed."""
    if sys.platform == "linux":
        system_calls.name_process(NAME)


def _limit(limits: DecodeLimits, file_bytes: int) -> None:
    """Limit this process to so much memory, time and disk."""
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
    main(*sys.argv[1:]) if sys.argv[1:] else serve()
