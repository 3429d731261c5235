"""As much of OpenAI's API as the engine openai asks for, served on this machine; the answers are set by the test."""

from __future__ import annotations

import contextlib
import email
import email.policy
import io
import json
import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import soundfile


@dataclass
class Request:
    """One request: its path, its headers with names in lower case, and the fields of its form or its JSON."""

    path: str
    headers: dict[str, str]
    fields: dict[str, Any]

    @property
    def sound(self) -> soundfile.SoundFile:
        """The audio of a transcription."""
        return soundfile.SoundFile(io.BytesIO(self.fields["file"]))


@dataclass
class Server:
    """`statuses` are answered one after the other, then 200 with `answer`; `pieces` are what a chat streams.

    A request waits for `open`, which is set from the start.
    """

    models: list[str] | None = field(default_factory=lambda: ["whisper-1"])
    answer: Any = field(default_factory=lambda: {"text": "hello"})
    pieces: list[str] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    got: list[Request] = field(default_factory=list)
    open: threading.Event = field(default_factory=threading.Event)
    busiest: int = 0
    at_once: int = 0
    page: str = ""
    connections: list[socket.socket] = field(default_factory=list)
    url: str = ""

    def is_left(self) -> bool:
        """Has the client closed the connection of the last request?"""
        last = self.connections[-1]
        return bool(select.select([last], [], [], 0)[0]) and not last.recv(1, socket.MSG_PEEK)


@contextmanager
def serving(**answers: Any) -> Iterator[Server]:
    """A server on a port of its own."""
    server = Server(**answers)
    server.open.set()
    http = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"served": server}))
    http.daemon_threads, http.block_on_close = True, False
    server.url = f"http://127.0.0.1:{http.server_port}/v1"
    threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield server
    finally:
        server.open.set()
        http.shutdown()
        http.server_close()


class _Handler(BaseHTTPRequestHandler):
    served: Server
    lock = threading.Lock()

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        models = self.served.models
        if self.served.page:
            self._send(200, self.served.page.encode())
        elif models is None:
            self._send(404, b"{}")
        else:
            self._send(200, json.dumps({"object": "list", "data": [{"id": name} for name in models]}).encode())

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.served.connections.append(self.connection)
        self.served.got.append(Request(self.path, {k.lower(): v for k, v in self.headers.items()}, self._fields(body)))
        with self.lock:
            self.served.at_once += 1
            self.served.busiest = max(self.served.busiest, self.served.at_once)
        self.served.open.wait()
        with self.lock:
            self.served.at_once -= 1
        status = self.served.statuses.pop(0) if self.served.statuses else 200
        if status != 200:
            self._send(status, b'{"error": {"message": "so it is"}}', location="http://127.0.0.1:9/elsewhere")
        elif self.path.endswith("/chat/completions"):
            self._stream()
        else:
            answer = self.served.answer
            self._send(200, (answer if isinstance(answer, str) else json.dumps(answer)).encode())

    def _fields(self, body: bytes) -> dict[str, Any]:
        kind = self.headers["content-type"]
        if kind.startswith("application/json"):
            return dict(json.loads(body))
        form = email.message_from_bytes(
            b"content-type: " + kind.encode() + b"\r\n\r\n" + body, policy=email.policy.HTTP
        )
        found: dict[str, Any] = {}
        for part in form.iter_parts():  # type: ignore[attr-defined]
            name, value = part.get_param("name", header="content-disposition"), part.get_payload(decode=True)
            found.setdefault(name, []).append(value if name == "file" else value.decode())
        return {name: values if name.endswith("[]") else values[0] for name, values in found.items()}

    def _stream(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        usage = {"prompt_tokens": 90, "completion_tokens": 40, "total_tokens": 130}
        events: list[dict[str, Any]] = [_event(piece) for piece in self.served.pieces]
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for event in [*events, {"choices": [], "usage": usage}]:
                self.wfile.write(b"data: " + json.dumps(event).encode() + b"\n\n")
            self.wfile.write(b"data: [DONE]\n\n")

    def _send(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"content-type": "application/json", "content-length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # a request that was cancelled
            self.wfile.write(body)


def _event(piece: str) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": piece}}]}
