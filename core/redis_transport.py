"""kombu's way to Redis, for which a Redis that answers and refuses is one that is away: it is waited for.

After a failover a Redis may be a replica that takes no writes (READONLY), or it may not be able to save (MISCONF) or to
hold more (OOM). kombu takes such an answer for a mistake in what was asked, and ends the worker.
"""

from __future__ import annotations

from typing import Any

from kombu.transport import redis as kombu_redis
from redis.exceptions import ResponseError

from dropscribe.core.queue import PROBE


class Channel(kombu_redis.Channel):
    """Opens where Redis takes writes. Else to connect fails, which Celery tries again more and more slowly."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        """See the base class, which is content with an answer to PING."""
        super().__init__(*arguments, **options)  # type: ignore[no-untyped-call]  # kombu has no types
        try:
            self.client.delete(PROBE)
        except self.connection_errors:
            self.client.connection_pool.disconnect()
            raise


class Transport(kombu_redis.Transport):
    """Celery connects again, for ever, after whatever counts as a connection's error."""

    Channel = Channel
    connection_errors = (*kombu_redis.Transport.connection_errors, ResponseError)
