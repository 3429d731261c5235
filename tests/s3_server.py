"""A server of S3: moto's, in a thread of this process; and one that gives the answers which moto never gives."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ERROR = "<Error><Code>{code}</Code><Message>AKIAEXAMPLE is not welcome</Message></Error>"


@contextmanager
def moto_server() -> Iterator[str]:
    """The URL of a server without any bucket."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
    finally:
        server.stop()


class StubbornServer(ThreadingHTTPServer):
    """Answers every request with what `answers` says: a status, and a code of S3 or a body; the last one for ever."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: list[tuple[int, str | bytes]] = []
        self.asked: list[tuple[str, dict[str, str]]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def next_answer(self) -> tuple[int, str | bytes]:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


class _Handler(BaseHTTPRequestHandler):
    server: StubbornServer
    protocol_version = "HTTP/1.1"

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.asked.append((self.command, dict(self.headers)))
        status, told = self.server.next_answer()
        body = told if isinstance(told, bytes) else ERROR.format(code=told).encode()
        self.send_response(status)
        self.send_header("ETag", '"abc"')
        self.send_header("Last-Modified", "Mon, 30 Nov 2026 12:00:00 GMT")
        self.send_header("Content-Length", str(len(body) + (body == b"short")))
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = body == b"short"

    do_GET = do_PUT = do_HEAD = _answer  # noqa: N815 (as http.server wants them)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def stubborn_server() -> Iterator[StubbornServer]:
    server = StubbornServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
