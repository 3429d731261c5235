"""What `up` starts: a process that ends when `up` does, however that ends, and then is a role or another program."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from dropscribe.admin.local import daemons
from dropscribe.admin.local.server_child import SERVER
from dropscribe.core import child_process
from dropscribe.core.child_process import die_with_parent
from dropscribe.core.errors import DropscribeError


def main(arguments: list[str]) -> int:
    """`exec PROGRAM ARG...`, `scheduler NAME FOLDER...`, `cpu NAME` or `model NAME [ENGINE [CHECKPOINT [UUID]]]`.

    The UUID is that of a GPU. Or `server FILE`, which gets its address.
    """
    die_with_parent(signal.SIGTERM)
    what, *rest = arguments
    if what == "exec":
        os.execvpe(rest[0], rest, child_process.bare_environment())  # noqa: S606 (no shell wanted)
    try:
        return serve(what, *rest)
    except DropscribeError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code


def serve(role: str, name: str, *rest: str) -> int:
    """Be a scheduler, a worker or the server; returns its exit status."""
    if role == SERVER:
        return daemons.serve(announce=Path(name))
    if role == "scheduler":
        return daemons.watch([*map(Path, rest)], name=name)
    engine, model, gpu = [part or None for part in (*rest, "", "", "")][:3]
    return daemons.worker(role, gpu, {"engine": engine, "model": model}, name=name)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
