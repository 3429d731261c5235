"""Servers that tests and measurements start for themselves."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
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


def free_port() -> int:
    """One on which nothing listens just now."""
    with socket.create_server(("localhost", 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def private_postgresql(programs: Path, *, fsync: bool = False, certificates: Path | None = None) -> Iterator[str]:
    """URL of an empty PostgreSQL server on a unix socket; with `fsync` it is as safe, and as slow, as in earnest.

    With `certificates` (a folder with ca.pem, server.pem and server.key) it is reached on localhost by TLS only.
    """
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))  # a short path, as a socket needs
    user = None
    if os.geteuid() == 0:  # the server refuses to run as root
        user = "nobody"
        os.chown(folder, pwd.getpwnam(user).pw_uid, -1)

    def do(program: str, *arguments: str) -> None:
        command: list[str | Path] = [programs / program, "-D", folder / "data", *arguments]
        subprocess.run(command, user=user, stdout=subprocess.DEVNULL, check=True, cwd=folder)

    do("initdb", "-U", "test", "-A", "trust", "--no-sync", "-E", "UTF8")
    options = f"-c unix_socket_directories={folder}"
    if not fsync:
        options += " -c fsync=off -c synchronous_commit=off -c full_page_writes=off"
    url = f"postgresql+psycopg://test@/postgres?host={folder}"
    if certificates:
        port = free_port()
        for name in ("server.pem", "server.key"):
            shutil.copy(certificates / name, folder / name)
            (folder / name).chmod(0o600)
            if user:
                shutil.chown(folder / name, user)
        (folder / "data" / "pg_hba.conf").write_text("local all all trust\nhostssl all all 127.0.0.1/32 trust\n")
        options += f" -c listen_addresses=localhost -c port={port} -c ssl=on"
        options += f" -c ssl_cert_file={folder}/server.pem -c ssl_key_file={folder}/server.key"
        trust = f"sslmode=verify-full&sslrootcert={certificates}/ca.pem"
        url = f"postgresql+psycopg://test@localhost:{port}/postgres?{trust}"
    else:
        options += " -c listen_addresses=''"
    do("pg_ctl", "-w", "-o", options, "-l", str(folder / "log"), "start")
    try:
        yield url
    finally:
        do("pg_ctl", "-w", "-m", "immediate", "stop")
        shutil.rmtree(folder)
