"""The metrics of a process, served by HTTP to Prometheus: on the configured port, or the next one that is free."""

from __future__ import annotations

import errno
import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server
from prometheus_client.registry import Collector

from dropscribe.core.errors import SettingsError
from dropscribe.core.settings import Settings

log = logging.getLogger(__name__)

PORTS_TRIED = 64  # more processes than that run on no host
HIGHEST_PORT = 65_535


@contextmanager
def served(settings: Settings, collector: Collector) -> Iterator[str]:
    """Answer scrapes with what the collector finds, and what the process takes, until the block ends.

    Yields the URL; empty where metrics are off or no port is free. Raises SettingsError for an address that this host
    does not have or may not use.
    """
    server = _listen(settings, collector) if settings.metrics_port else None
    if server is None:
        yield ""
        return
    listening, thread = server
    url = f"http://{_host(str(listening.server_address[0]))}:{listening.server_port}/metrics"
    log.info("metrics are at %s", url)
    try:
        yield url
    finally:
        listening.shutdown()
        listening.server_close()
        thread.join()


def _host(listens_at: str) -> str:
    """The host's name or address as it stands in a URL.

    >>> _host("127.0.0.1"), _host("::1")
    ('127.0.0.1', '[::1]')
    """
    address = ip_address(listens_at)
    if address.is_unspecified:  # all of this host's
        return socket.gethostname()
    return f"[{address}]" if address.version == 6 else str(address)


def _listen(settings: Settings, collector: Collector) -> tuple[WSGIServer, threading.Thread] | None:
    """The server and its thread, on the first free port; None where none of those tried is. Raises SettingsError."""
    registry = CollectorRegistry()
    registry.register(collector)
    ProcessCollector(registry=registry)
    address, first = settings.metrics_address, settings.metrics_port
    last = min(first + PORTS_TRIED - 1, HIGHEST_PORT)
    for port in range(first, last + 1):
        try:
            return start_http_server(port, address, registry)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise SettingsError(
                    f"cannot serve metrics at {address}, port {port}: {error.strerror}",
                    remedy="correct DROPSCRIBE_METRICS_ADDRESS or DROPSCRIBE_METRICS_PORT",
                ) from error
    log.warning("no metrics: ports %d to %d of %s are all taken", first, last, address)
    return None
