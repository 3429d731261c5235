"""Servers that tests and measurements start for themselves."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def find_postgresql() -> Path | None:
    """The directory of PostgreSQL's programs, or None where it is not installed."""
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    on_path = shutil.which("initdb")
    initdb = Path(on_path) if on_path else installed[-1] if installed else None
    return initdb.resolve().parent if initdb else None


@contextmanager
def private_postgresql(programs: Path, *, fsync: bool = False) -> Iterator[str]:
    """URL of an empty PostgreSQL server on a unix socket; with `fsync` it is as safe, and as slow, as in earnest."""
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))  # a short path, as a socket needs
    user = None
    if os.geteuid() == 0:  # the server refuses to run as root
        user = "nobody"
        os.chown(folder, pwd.getpwnam(user).pw_uid, -1)

    def do(program: str, *arguments: str) -> None:
        command: list[str | Path] = [programs / program, "-D", folder / "data", *arguments]
        subprocess.run(command, user=user, stdout=subprocess.DEVNULL, check=True, cwd=folder)

    do("initdb", "-U", "test", "-A", "trust", "--no-sync", "-E", "UTF8")
    options = f"-c listen_addresses='' -c unix_socket_directories={folder} -c fsync={'on' if fsync else 'off'}"
    do("pg_ctl", "-w", "-o", options, "-l", str(folder / "log"), "start")
    try:
        yield f"postgresql+psycopg://test@/postgres?host={folder}"
    finally:
        do("pg_ctl", "-w", "-m", "immediate", "stop")
        shutil.rmtree(folder)
