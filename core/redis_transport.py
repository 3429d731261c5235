"""kombu's way to Redis, for which a Redis that refuses is one that is away, and a message is two words.

After a failover a Redis may be a replica that takes no writes (READONLY), or it may not be able to save (MISCONF) or to
hold more (OOM). kombu takes such an answer for a mistake in what was asked, and ends the worker. So it does with a
message that is not as it expects. Here what comes out of Redis is parsed by `core.messages` before kombu sees it.
"""

from __future__ import annotations

import json
import logging
from functools import partial
from typing import Any

from kombu.transport import redis as kombu_redis
from redis.exceptions import ResponseError

from dropscribe.core import messages
from dropscribe.core.queue import KEY_PREFIX, PROBE, SEPARATOR
from dropscribe.core.sentinel import SentinelAddress, found_by_sentinels

OF_SENTINELS = frozenset({"host", "port", "username", "password", "db"})  # what their address says

log = logging.getLogger(__name__)


class CheckedRedis(kombu_redis.PrefixedStrictRedis):
    """Takes messages out of Redis, and drops those that nobody of us has sent."""

    def parse_response(self, connection: Any, command_name: str, **options: Any) -> Any:
        """See the base class; a dropped message does not count."""
        answer = super().parse_response(connection, command_name, **options)  # type: ignore[no-untyped-call]  # kombu has none
        return _checked(*answer) if command_name == "BRPOP" and answer else answer


def _checked(key: bytes, written: bytes) -> tuple[bytes, bytes] | None:
    """The message as Celery reads it; None, with a warning, if it is not one of ours."""
    queue = key.decode(errors="replace").partition(SEPARATOR)[0]
    message = messages.understood(written, queue)
    if message is None:
        log.warning("dropped a message of %d bytes in %s that dropscribe did not send", len(written), queue)
        return None
    return key, json.dumps(messages.as_celery_reads_it(message, queue)).encode()


class QoS(kombu_redis.QoS):
    """What was taken and not begun goes back from memory: Redis's record of it could be anybody's."""

    def restore_by_tag(self, tag: Any, client: Any = None, leftmost: bool = False) -> None:
        """Put a message of this process back; the record of another one is removed, and the reconciler sends again."""
        with self.channel.conn_or_acquire(client) as connection, connection.pipeline() as pipe:
            self._remove_from_indices(tag, pipe)  # type: ignore[no-untyped-call]  # the same
            if message := self._delivered.get(tag):
                sent = message.delivery_info
                self.channel._do_restore_message(  # noqa: SLF001 (what the base class calls)
                    message.serializable(), sent["exchange"], sent["routing_key"], pipe, leftmost
                )
            pipe.execute()


class Channel(kombu_redis.Channel):
    """Opens where Redis takes writes. Else to connect fails, which Celery tries again more and more slowly."""

    QoS = QoS

    def __init__(self, *arguments: Any, **options: Any) -> None:
        """See the base class, which is content with an answer to PING."""
        super().__init__(*arguments, **options)  # type: ignore[no-untyped-call]  # kombu has no types
        try:
            self.client.delete(PROBE)
        except self.connection_errors:
            self.client.connection_pool.disconnect()
            raise

    def get_table(self, exchange: str) -> list[tuple[str, str, str]]:
        """Where messages to an exchange go: into the queue of that name, whatever Redis holds."""
        return [(exchange, "", exchange)]

    def _get_client(self) -> Any:
        """The client that kombu makes connections with, with our prefix before all keys."""
        return partial(CheckedRedis, global_keyprefix=KEY_PREFIX)


class Transport(kombu_redis.Transport):
    """Celery connects again, for ever, after whatever counts as a connection's error."""

    Channel = Channel
    connection_errors = (*kombu_redis.Transport.connection_errors, ResponseError)


class SentinelChannel(Channel, kombu_redis.SentinelChannel):
    """The same on the master that sentinels name, asked at each connection.

    kombu takes several sentinels by alternate URLs, between which it switches to its own transport. Ours come as
    an option, so that there is one URL and one transport.
    """

    from_transport_options: Any = (*kombu_redis.SentinelChannel.from_transport_options, "address")
    address: SentinelAddress

    def _sentinel_managed_pool(self, asynchronous: bool = False) -> Any:
        """The connections of the master that the sentinels name. The base class calls it for each pool."""
        of_kombu: Any = self._connparams
        options = {name: value for name, value in of_kombu(asynchronous).items() if name not in OF_SENTINELS}
        finder, master = found_by_sentinels(self.address, **options)
        # Under these names the base class closes their connections.
        setattr(self, "_async_sentinel_manager" if asynchronous else "_sentinel_manager", finder)
        return master.connection_pool


class SentinelTransport(Transport):
    """See `Transport`."""

    Channel = SentinelChannel
