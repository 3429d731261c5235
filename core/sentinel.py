"""A Redis that is found by its sentinels: how its URL is read, and a plain client of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

from dropscribe.core.errors import UsageError

if TYPE_CHECKING:
    from redis import Redis
    from redis.sentinel import Sentinel

SCHEME = "sentinel"
PORT = 26379
EXAMPLE = "sentinel://USER:PASSWORD@HOST:26379,HOST:26379/0?master=NAME"
# A sentinel whose host is gone must not keep the others from being asked.
PATIENCE: dict[str, Any] = {"socket_timeout": 5, "socket_connect_timeout": 2}  # s


@dataclass(frozen=True, slots=True)
class SentinelAddress:
    """Which sentinels to ask, as host and port, for which master; and the options for it and for them."""

    sentinels: tuple[tuple[str, int], ...]
    master: str
    db: int = 0
    username: str | None = None
    password: str | None = None
    sentinel_password: str | None = None

    @property
    def sentinel_options(self) -> dict[str, Any]:
        """How redis-py is to speak to the sentinels themselves."""
        return PATIENCE | ({"password": self.sentinel_password} if self.sentinel_password else {})


def sentinel_address(url: str) -> SentinelAddress | None:
    """What the URL of a Redis behind sentinels says; None for that of any other Redis. Raises UsageError.

    >>> sentinel_address("sentinel://:secret@a,b:26380/2?master=mymaster").sentinels
    (('a', 26379), ('b', 26380))
    """
    parts = urlsplit(url)
    if parts.scheme != SCHEME:
        return None
    asked = dict(parse_qsl(parts.query))
    try:
        return SentinelAddress(
            sentinels=tuple(map(_host, parts.netloc.rpartition("@")[2].split(","))),
            master=asked["master"],
            db=int(parts.path.strip("/") or 0),
            username=_plain(parts.username),
            password=_plain(parts.password),
            sentinel_password=asked.get("sentinel_password"),
        )
    except (ValueError, KeyError) as error:
        raise UsageError("redis_url does not name sentinels and their master", remedy=f"example: {EXAMPLE}") from error


def _host(text: str) -> tuple[str, int]:
    """Raises ValueError for a port that is not a number."""
    parts = urlsplit(f"//{text}")
    return parts.hostname or "localhost", parts.port or PORT


def _plain(text: str | None) -> str | None:
    """A part of a URL without its escapes; None where it is not there.

    >>> _plain("p%40ss"), _plain(None)
    ('p@ss', None)
    """
    return unquote(text) if text else None


def found_by_sentinels(address: SentinelAddress, **options: Any) -> tuple[Sentinel, Redis]:
    """Who finds the master, and a client of it; `options` are those of its connections. Opens no connection yet."""
    from redis import Redis
    from redis.sentinel import Sentinel

    make: Any = Sentinel  # redis-py has no types here
    finder = make(address.sentinels, sentinel_kwargs=address.sentinel_options)
    known = {"db": address.db, "username": address.username, "password": address.password}
    return finder, finder.master_for(address.master, Redis, **known, **options)


def redis_client(url: str, **options: Any) -> Redis:
    """A client of the Redis at a URL, or of the master that its sentinels name. Opens no connection yet."""
    from redis import Redis

    address = sentinel_address(url)
    return found_by_sentinels(address, **options)[1] if address else Redis.from_url(url, **options)
