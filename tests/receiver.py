"""A receiver of notifications: a real server that answers as it is told, and remembers what it got."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = int | Callable[[BaseHTTPRequestHandler], None]


@dataclass
class Receiver:
    """Gives one answer after the other, then 204; `got` are headers and bodies."""

    answers: list[Answer] = field(default_factory=list)
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    url: str = ""

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("content-length", 0)))
        self.got.append(({name.lower(): value for name, value in handler.headers.items()}, body))
        answer = self.answers.pop(0) if self.answers else 204
        if isinstance(answer, int):
            handler.send_response(answer)
            handler.end_headers()
        else:
            answer(handler)

    @property
    def told(self) -> list[dict[str, Any]]:
        """The bodies."""
        return [json.loads(body) for _, body in self.got]


@contextmanager
def receiving(*answers: Answer) -> Iterator[Receiver]:
    """A receiver on a port of its own."""
    receiver = Receiver(list(answers))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            receiver.answer(self)

        def do_GET(self) -> None:
            receiver.answer(self)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.block_on_close = False
        receiver.url = f"http://127.0.0.1:{server.server_port}/hook?token=1"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield receiver
        server.shutdown()
