"""Certificates for servers that tests start, good ones and wrong ones, and TLS for a server that has none."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.conftest import missing

KEY = "server.key"  # of every server certificate
EXPIRED, ANOTHER_NAME = "expired.pem", "another_name.pem"


def make(folder: Path, host: str = "localhost") -> None:
    """Two authorities, `ca.pem` and `another_ca.pem`, and certificates by the first, all with the key `server.key`:
    `server.pem` for that host, `another_name.pem`, and `expired.pem`.
    """
    if not shutil.which("openssl"):
        missing("openssl")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    for authority in ("ca", "another_ca"):
        openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{authority}.key",
                "-out", f"{authority}.pem", "-days", "2", "-subj", f"/CN={authority}")  # fmt: skip
    openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", KEY, "-out", "server.csr", "-subj", f"/CN={host}")
    for file, name, days in (
        ("server.pem", host, 2),
        (ANOTHER_NAME, "else.where", 2),
        (EXPIRED, host, -1),
    ):
        (folder / "names").write_text(f"subjectAltName=DNS:{name}")
        openssl("x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                "-out", file, "-days", str(days), "-extfile", "names")  # fmt: skip


@contextmanager
def tls_in_front_of(path: Path, certificate: Path) -> Iterator[int]:
    """A port that speaks TLS and passes on what it hears to a unix socket: not every Redis is built with TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_name(KEY))
    listener = socket.create_server(("localhost", 0))

    def copy(source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError), source, sink:
            while data := source.recv(65_536):
                sink.sendall(data)

    def serve() -> None:
        with suppress(OSError):
            while True:
                plain, _ = listener.accept()
                threading.Thread(target=greet, args=(plain,), daemon=True).start()

    def greet(plain: socket.socket) -> None:
        with suppress(OSError):  # a client that will not trust us hangs up
            secured = context.wrap_socket(plain, server_side=True)
            server = socket.socket(socket.AF_UNIX)
            server.connect(str(path))
            threading.Thread(target=copy, args=(server, secured), daemon=True).start()
            copy(secured, server)

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.close()
