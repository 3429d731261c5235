"""Final states sent by HTTP: may it be sent there, how is it signed, and the sending itself.

Signed as the Standard Webhooks specification says (https://github.com/standard-webhooks/standard-webhooks), so that
receivers find a library in their language. Sent by the standard library: one POST needs neither a pool nor proxies,
nobody follows redirects, and a receiver that takes its time can be cut off.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from http.client import HTTP_PORT, HTTPS_PORT, HTTPConnection, HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import urlsplit

from dropscribe.core.errors import SettingsError
from dropscribe.core.settings import Settings
from dropscribe.scheduler.duties.channel import DeliveryError, UndeliverableError
from dropscribe.store.notifications import OF_ALL, OF_FOLDERS, WEBHOOK, Notification
from dropscribe.store.queries import Job

TIMEOUT = 5.0  # seconds of silence
DEADLINE = 8.0  # seconds for everything, so that a scheduler that stops need not wait longer
CONNECTIONS: dict[str, tuple[type[HTTPConnection], int]] = {
    "http": (HTTPConnection, HTTP_PORT),
    "https": (HTTPSConnection, HTTPS_PORT),
}
ENCODED = "whsec_"  # before a secret in base64, by the specification


class Webhook:
    """Final states sent by HTTP POST to the address of the settings, or to that of a job's folder."""

    name = WEBHOOK
    seconds = 30.0

    def __init__(self, settings: Settings) -> None:
        """Raises SettingsError for a secret that is not valid."""
        self._settings = settings
        self._key = key(settings.webhook_secret)
        self.tries = settings.webhook_tries

    def switches(self) -> set[str]:
        """See `NotificationChannel`."""
        wanted = {OF_ALL: self._settings.webhook_url, OF_FOLDERS: self._settings.webhook_hosts}
        return {switch for switch, value in wanted.items() if value}

    def wants(self, _job: Job, _one: Notification, /) -> bool:
        """All that was written for it."""
        return True

    def send(self, one: Notification, document: Mapping[str, Any], _stop: threading.Event, /) -> str:
        """See `NotificationChannel`; takes some seconds at most, whatever the receiver does."""
        url = one.url or self._settings.webhook_url
        if reason := refusal(url, self._settings):
            raise UndeliverableError(reason)
        body = json.dumps(document).encode()
        post(url, body, headers(self._key, one.id, int(time.time()), body))
        return ""


def refusal(url: str, settings: Settings) -> str:
    """Why nothing may be sent to this URL; empty where it may.

    Anybody who may write to a share may name a URL for its recordings, so those need a host on the list.
    """
    if not url:
        return "there is no webhook_url any more"
    place = _place(url)
    if not place:
        return "it is not an http:// or https:// address with a host and without a password"
    if url != settings.webhook_url and place not in settings.webhook_hosts:
        return f"{place} is not among webhook_hosts"
    return ""


def _place(url: str) -> str:
    """The host, with its port where that is not the usual one; empty if it is not a web address.

    >>> _place("https://example.org/hook"), _place("http://example.org:8080"), _place("ftp://example.org")
    ('example.org', 'example.org:8080', '')
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return ""
    if parts.scheme not in CONNECTIONS or not parts.hostname or parts.username is not None:
        return ""
    _, usual = CONNECTIONS[parts.scheme]
    return parts.hostname if port in (None, usual) else f"{parts.hostname}:{port}"


def key(secret: str) -> bytes:
    """The key that a secret stands for; in base64 after `whsec_`, or any other text. Raises SettingsError.

    >>> key("whsec_c2VjcmV0"), key("secret")
    (b'secret', b'secret')
    """
    encoded = secret.removeprefix(ENCODED)
    try:
        return base64.b64decode(encoded, validate=True) if encoded != secret else secret.encode()
    except ValueError as error:
        raise SettingsError(f"webhook_secret begins with {ENCODED}, but the rest is not base64") from error


def headers(key: bytes, identifier: str, moment: int, body: bytes) -> dict[str, str]:
    """What goes with a body sent at `moment` (seconds since the epoch); signed where there is a key."""
    told = {
        "Content-Type": "application/json",
        "User-Agent": "dropscribe",
        "webhook-id": identifier,
        "webhook-timestamp": str(moment),
    }
    return told | ({"webhook-signature": signature(key, identifier, moment, body)} if key else {})


def signature(key: bytes, identifier: str, moment: int, body: bytes) -> str:
    """HMAC-SHA256 of id, time and body with dots between, as `v1,BASE64`."""
    signed = hmac.new(key, f"{identifier}.{moment}.".encode() + body, hashlib.sha256)
    return f"v1,{base64.b64encode(signed.digest()).decode()}"


def post(url: str, body: bytes, told: Mapping[str, str]) -> None:
    """Send it; of the answer, only the status is read. Raises DeliveryError unless that is one of success."""
    parts = urlsplit(url)
    kind, _ = CONNECTIONS[parts.scheme]
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        connection = kind(parts.hostname or "", parts.port, timeout=TIMEOUT)
        with closing(connection), _cut_off(connection, DEADLINE):
            connection.request("POST", path, body, dict(told))
            status = connection.getresponse().status
    except (OSError, HTTPException, ValueError) as error:  # ValueError: a name that no host can have
        raise DeliveryError(f"no answer: {type(error).__name__}: {error}") from error
    if not 200 <= status < 300:
        followed = "; redirects are not followed" if 300 <= status < 400 else ""
        raise DeliveryError(f"it answered {status}{followed}")


@contextmanager
def _cut_off(connection: HTTPConnection, deadline: float) -> Iterator[None]:
    """End the connection after so many seconds, however busily the receiver sends byte after byte."""

    def cut() -> None:
        """Close the connection that somebody waits for."""
        with suppress(OSError):  # it was over already
            if connection.sock:
                connection.sock.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(deadline, cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
