"""Does what goes to the database and to Redis stay between them and this host?"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from ipaddress import ip_address
from urllib.parse import SplitResult, parse_qs, urlsplit

from dropscribe.admin.check.checks import Finding, Severity
from dropscribe.core import sentinel
from dropscribe.core.passwords import mask
from dropscribe.core.settings import Settings

ENCRYPTED_REDIS = "rediss"  # of which dropscribe always checks the certificate and the name
CHECKED = "verify-full"  # the mode of libpq that checks both, too
HOW = 'docs/operations/services.md, "Keep the connections to yourself"'


def encryption(settings: Settings) -> Iterator[Finding]:
    """A warning for each service on another host that somebody on the way could read or take the place of."""
    # Without passwords: a piece of one that was written without escapes would be taken for the host.
    database, redis = urlsplit(mask(settings.database_url)), urlsplit(mask(settings.redis_url))
    if _is_elsewhere(database) and _mode(database) != CHECKED:
        found = (
            f"sslmode={_mode(database) or 'prefer'}: {database.hostname} may be another server, which gets the password"
        )
        yield Finding(
            "database's TLS", Severity.WARN, found, f"set sslmode={CHECKED} in DROPSCRIBE_DATABASE_URL: {HOW}"
        )
    if _is_elsewhere(redis) and redis.scheme != ENCRYPTED_REDIS:
        found = f"no encryption: anyone on the way to {redis.hostname} reads the password"
        over_tls = f"use {ENCRYPTED_REDIS}:// in DROPSCRIBE_REDIS_URL"
        remedy = "keep it in a separate network" if redis.scheme == sentinel.SCHEME else over_tls
        yield Finding("Redis's TLS", Severity.WARN, found, f"{remedy}: {HOW}")


def _mode(url: SplitResult) -> str:
    return parse_qs(url.query).get("sslmode", [""])[-1]


def _is_elsewhere(url: SplitResult) -> bool:
    """Does it lead over a network? A socket, a file and a loopback address do not.

    >>> _is_elsewhere(urlsplit("postgresql://u@db.example/x")), _is_elsewhere(urlsplit("redis://[::1]:6379/0"))
    (True, False)
    """
    host = url.hostname or "localhost"
    with suppress(ValueError):
        return not ip_address(host).is_loopback
    return host != "localhost"
