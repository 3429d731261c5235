"""Who has signed in with a browser: a cookie that the server signs, and that holds no token.

A browser sends a cookie to every port of a host, also to somebody else's program there. So it ends after some days,
holds for pages alone and not as a token, and is worth nothing once its token is revoked. The key lies in the state
directory, so that a server that was started again knows who was there.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from dropscribe.core.atomic_write import write_new
from dropscribe.store.tokens import Token

COOKIE = "dropscribe_session"
KEY = "session.key"  # of the state directory
KEY_BYTES = 32
SECONDS = 7 * 86_400  # until a browser has to show its token again


@dataclass(frozen=True, slots=True)
class Sessions:
    """Makes cookies and believes its own; the store knows tokens by their secrets and by their names.

    `key` is asked for the first time that somebody signs in.
    """

    key: Callable[[], bytes]
    of_secret: Callable[[str], Token | None]
    of_name: Callable[[str], Token | None]
    clock: Callable[[], float] = time.time

    def begin(self, secret: str) -> str | None:
        """The value of a cookie for somebody who shows a token; None where it does not hold. Raises OSError."""
        token = self.of_secret(secret)
        return self._value(token, int(self.clock()) + SECONDS) if token else None

    def token(self, value: str) -> Token | None:
        """Whose cookie it is; None where it is not ours, has ended, or its token was revoked. Raises OSError."""
        name, _, rest = value.partition(".")
        until, _, _ = rest.partition(".")
        with suppress(ValueError):
            if int(until) <= self.clock():
                return None
            token = self.of_name(urlsafe_b64decode(name).decode())
            if token and hmac.compare_digest(self._value(token, int(until)).encode(), value.encode()):
                return token
        return None

    def _value(self, token: Token, until: int) -> str:
        """Signed for a token as it was made at its moment: another one of the same name is another."""
        name = urlsafe_b64encode(token.name.encode()).decode()
        said = f"{name}.{until}"
        mark = hmac.new(self.key(), f"{said}.{token.created_at!r}".encode(), hashlib.sha256).hexdigest()
        return f"{said}.{mark}"


def key_in(home: Path) -> bytes:
    """The key in a state directory, made where there is none. Raises OSError."""
    place = home / KEY
    with suppress(FileNotFoundError):
        return place.read_bytes()
    home.mkdir(parents=True, exist_ok=True)
    fresh = home / f"{KEY}.{secrets.token_hex(8)}"
    write_new(fresh, secrets.token_bytes(KEY_BYTES), mode=0o600)
    try:
        with suppress(FileExistsError):  # another server was faster
            os.link(fresh, place)
        return place.read_bytes()
    finally:
        fresh.unlink()
