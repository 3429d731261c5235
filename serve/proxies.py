"""Proxies that know who asks: they name the user in a header, and only from their addresses it counts."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from ipaddress import ip_address, ip_network

from starlette.requests import HTTPConnection


class TrustedProxies:
    """Those with an address in `networks` (as `10.0.0.5` or `10.0.0.0/24`), which name users in `header`."""

    def __init__(self, networks: Iterable[str], header: str) -> None:
        """Raises ValueError if it is not a network."""
        self._networks = [*map(ip_network, networks)]
        self._header = header.casefold()

    def is_one(self, asked: HTTPConnection) -> bool:
        """Does the request come from the address of such a proxy?"""
        with suppress(ValueError):  # of a socket without addresses
            address = ip_address(asked.client.host if asked.client else "")
            return any(address in network for network in self._networks)
        return False

    def user_of(self, asked: HTTPConnection) -> str | None:
        """Whom a proxy names; None where none does, empty where it names several, as a client has added one then."""
        named = asked.headers.getlist(self._header)
        if not named or not self.is_one(asked):
            return None
        return named[0].strip() if len(named) == 1 else ""

    def names_somebody(self, asked: HTTPConnection) -> bool:
        """Has the request the header, wherever it comes from?"""
        return self._header in asked.headers
