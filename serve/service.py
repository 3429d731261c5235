"""The server from start to stop: its address, who may reach it, and what a server before it left."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import FrameType
from typing import cast

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from dropscribe.admin.context import EmbeddedContext
from dropscribe.core import logs, sandbox
from dropscribe.core.error_translation import explained
from dropscribe.core.errors import SettingsError, UsageError
from dropscribe.core.orders import Orders
from dropscribe.core.settings import Settings
from dropscribe.serve import app, peers, uploads
from dropscribe.serve.gate import CONNECTION, Gate
from dropscribe.serve.protocols import request_sweep
from dropscribe.store import tokens
from dropscribe.store.session import Database, open_database

log = logging.getLogger(__name__)

CONNECTIONS = 512  # at once; more are turned away with status 503
GRACE_SECONDS = 10  # in which what is under way may end
BACKLOG = 128
HEAD_SECONDS = 20.0  # in which a request has to come, as far as its body


class _Protocol(H11Protocol):
    """Hands the socket of a connection on with each request, as the kernel tells by it who is at the other end.

    A connection on which no request comes is closed early, as there are only so many.
    """

    _silence: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """As asyncio asks for it."""
        super().connection_made(cast(asyncio.Transport, transport))
        self.app_state = {**self.app_state, CONNECTION: transport.get_extra_info("socket")}
        self._watch()

    def data_received(self, data: bytes) -> None:
        """As asyncio asks for it."""
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """As asyncio asks for it."""
        self._forget_silence()
        super().connection_lost(exc)

    def _watch(self) -> None:
        """Close the connection where the beginning of a request is not whole after a while."""
        if self.conn.their_state is not h11.IDLE:
            self._forget_silence()
        elif self._silence is None:
            self._silence = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def _forget_silence(self) -> None:
        """The connection is not silent any more."""
        if self._silence:
            self._silence.cancel()
            self._silence = None


class _Server(uvicorn.Server):
    """Ends its streams when it is to stop, which would else keep it."""

    def __init__(self, config: uvicorn.Config, orders: Orders) -> None:
        super().__init__(config)
        self._orders = orders

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Let open streams end, too, when the server is stopped."""
        self._orders.give(sig)
        super().handle_exit(sig, frame)


def run(settings: Settings, announce: Path | None = None) -> int:
    """Answer until SIGTERM or Ctrl-C; returns the exit status. Its address is printed, or written to `announce`.

    Raises SettingsError for an address that this host does not have or may not use, UsageError for one that others
    reach while there is no token, StoreError.
    """
    stopping = threading.Event()
    with (
        closing(open_database(settings.database, where="serve", migrate=False)) as database,
        closing(EmbeddedContext(settings, database)) as context,
        Orders(lambda _: stopping.set()) as orders,
        listening(settings) as listener,
    ):
        require_tokens(listener.getsockname()[0], database)
        sandbox.hide()
        logs.configure(settings)
        uploads.sweep(settings.home / uploads.JOURNAL)
        sweeper = threading.Thread(target=request_sweep.keep, args=(settings, database, stopping), daemon=True)
        sweeper.start()
        server = _Server(config(app.make(context, stopping)), orders)
        for number in (signal.SIGINT, signal.SIGTERM):  # before uvicorn takes them, and when it sends them once more
            signal.signal(number, server.handle_exit)
        _tell(address_of(listener), announce)
        server.run([listener])
        stopping.set()
        sweeper.join()
    return 0


def _tell(address: str, announce: Path | None) -> None:
    """Say where the server listens: to a file, or to the process that started it."""
    if announce:
        announce.write_text(address, encoding="ascii")
    else:
        sys.stdout.write(f"{address}\n")
        sys.stdout.flush()


def config(gate: Gate) -> uvicorn.Config:
    """How uvicorn runs it: it believes no proxy by itself, as on this machine anybody could claim to be one."""
    return uvicorn.Config(
        gate,
        http=_Protocol,
        lifespan="off",
        ws="none",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=CONNECTIONS,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )


def require_tokens(address: str, database: Database) -> None:
    """Raise UsageError where other machines reach the server at this address, and nobody could ask it anything."""
    if not peers.is_on_this_machine(address) and not tokens.list_tokens(database):
        raise UsageError(
            f"others reach the server at {address}, and there is no token",
            remedy="make one by `dropscribe token create`, or listen at 127.0.0.1",
        )


@contextmanager
def listening(settings: Settings) -> Iterator[socket.socket]:
    """A socket that listens where the settings say. Raises SettingsError."""
    host, port = settings.serve_host, settings.serve_port
    with explained(
        OSError,
        SettingsError,
        f"cannot listen at {host}, port {port}",
        remedy="choose others by --host and --port, or by DROPSCRIBE_SERVE_HOST and DROPSCRIBE_SERVE_PORT",
    ):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
    with listener:
        yield listener


def address_of(listener: socket.socket) -> str:
    """What programs call it."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
