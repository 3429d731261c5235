"""The scanner's process: every call into a watched folder is made here, so that one that never returns stops no other.

Run as `python -m dropscribe.scheduler.scanning.child`. It reads requests as lines of JSON from standard input and
writes, for each, lines of JSON to standard output: any number that report progress, then one with `done` or `error`.
ASCII escapes carry names that are not UTF-8. It ends with its standard input, so it never outlives its scheduler long.
Only what a scan needs is imported, as each root has such a process.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dropscribe.core import sandbox
from dropscribe.core.disk_errors import why
from dropscribe.core.errors import DropscribeError, WithheldError
from dropscribe.scheduler.scanning import folder_files, move, page_readers, roots
from dropscribe.scheduler.scanning.scan import Observation, fingerprint_of, look, scan
from dropscribe.scheduler.scanning.transport_stream import Heads
from dropscribe.scheduler.scanning.wav_header import header_of
from dropscribe.scheduler.scanning.write_lease import is_written

Request = Mapping[str, Any]
Answer = dict[str, Any]

HEADS = Heads()  # a process serves one root


def main() -> None:
    """Answer until there are no more requests, or nobody to answer to."""
    sandbox.harden()
    try:
        for line in sys.stdin.buffer:
            request = json.loads(line)
            tell(answer(request))
    except BrokenPipeError:
        os._exit(0)  # anything gentler would write to the same pipe once more


def answer(request: Request) -> Answer:
    """Do what is asked; a folder out of reach is an answer too."""
    try:
        return {"done": DOES[request["do"]](request)}
    except DropscribeError as error:
        return {"error": str(error)}
    except OSError as error:
        return {"error": f"{request['path']} is offline: {error.strerror}; mount it again"}


def tell(message: Answer) -> None:
    """Write one line at once, as nobody knows when there will be another."""
    sys.stdout.buffer.write(json.dumps(message, separators=(",", ":")).encode("ascii") + b"\n")
    sys.stdout.buffer.flush()


def _place(request: Request) -> Answer:
    """What is at a path, whether it can be listed, and where its links lead."""
    path = os.path.realpath(str(request["path"]))
    reason = roots.unreadable(Path(path)) or ""
    is_folder = os.path.isdir(path)  # noqa: PTH112 (Path's raises where a folder above may not be read)
    return {"path": path, "exists": os.path.lexists(path), "is_folder": is_folder, "reason": reason}


def _open(request: Request) -> Answer:
    """The root as it is, and what lies under it."""
    identity = roots.identify(Path(request["path"]))
    root = roots.open_root(Path(request["path"]))
    return {"root": asdict(root) | {"path": str(root.path)}, "identity": asdict(identity)}


def _scan(request: Request) -> Answer:
    """Scan the root; its files are sent while it goes on."""
    path = Path(request["path"])
    ours = map(Path, request["exclude"])
    found = scan(path, exclude=ours, deliver=_deliver, heads=HEADS, folds_case=request["folds_case"])
    passed = asdict(found) | {"complaints": [*found.complaints], "borders": [*found.borders]}
    return {"scan": passed, "identity": asdict(roots.identify(path))}


def _deliver(directory: str, files: dict[str, Observation], stamps: dict[str, int]) -> None:
    """Send a piece of a scan: the files with size, time and stamp."""
    tell({"at": directory, "files": {name: (*seen, stamps[name]) for name, seen in files.items()}})


def _probe(request: Request) -> list[Any]:
    """What `PROBES` finds out of each file; its name goes ahead, so that one sees which one hangs."""
    probe, root, found = PROBES[request["do"]], Path(request["path"]), []
    for name in request["names"]:
        tell({"at": name})
        found.append(probe(root, name))
    return found


def _put(request: Request) -> dict[str, str]:
    """What could not be written or removed, each with the reason."""
    refused = {}
    for path, text in request["files"].items():
        tell({"at": path})
        try:
            folder_files.put(request["path"], path, text, request["mark"])
        except (OSError, WithheldError) as error:
            refused[path] = why(error)
    return refused


def _move(request: Request) -> str:
    """Why the file stays where it is; empty when it is there."""
    try:
        return move.move(request["path"], request["source"], request["target"], move.MovedFile(*request["file"]))
    except (OSError, WithheldError) as error:
        return why(error)


# What is asked of files one by one, by the root and their names below it.
PROBES: dict[str, Callable[[Path, str], Any]] = {
    "look": look,
    "fingerprint": fingerprint_of,
    "written": lambda root, name: is_written(root / name),
    "wav_header": header_of,
}

DOES: dict[str, Callable[[Request], Any]] = {
    "place": _place,
    "open": _open,
    "scan": _scan,
    **dict.fromkeys(PROBES, _probe),
    "read": lambda asked: folder_files.read_ours(asked["path"], asked["file"]),
    "put": _put,
    "listed": lambda asked: page_readers.listed_by_all(asked["path"], asked["page"], asked["folders"]),
    "move": _move,
}


if __name__ == "__main__":
    main()
