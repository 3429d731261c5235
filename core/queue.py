"""The Celery app, its queues, and every Celery setting with its reason.

A message is a doorbell: it holds an id and nothing else, and may be lost, late or doubled without harm, since the
row in the store is the truth. So messages are acknowledged on receipt, and nothing is ever redelivered by the
broker.
"""

from __future__ import annotations

import hashlib
import logging
import os
import ssl
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

from celery import Celery
from kombu.entity import Exchange, Queue
from kombu.exceptions import KombuError, OperationalError
from kombu.transport import TRANSPORT_ALIASES
from redis.exceptions import RedisError

from dropscribe.core import private_state
from dropscribe.core.error_translation import translated
from dropscribe.core.errors import BrokerError
from dropscribe.core.passwords import mask
from dropscribe.core.redis_refusals import refusal
from dropscribe.core.routing import CPU_QUEUE, EMBED, FINISH, MODEL_QUEUE, TRANSCRIBE
from dropscribe.core.sentinel import SCHEME, sentinel_address
from dropscribe.core.settings import Settings
from dropscribe.core.types import Priority

log = logging.getLogger(__name__)

# Redis keeps one list a step, and serves 0 first. What is nearly done gets done: embedding voices and finishing go
# ahead of preparing.
PRIORITY_STEPS = [0, 1, 3, 4, 6, 7]
STEP_OF = {Priority.HIGH: 0, Priority.NORMAL: 3, Priority.LOW: 6}
AHEAD_STEP = {Priority.HIGH: 0, Priority.NORMAL: 1, Priority.LOW: 4}
AHEAD = (EMBED, FINISH)

TRANSPORT = "dropscribe"  # a name of our own, as the process may be somebody else's, with another Celery app in it
TRANSPORT_ALIASES[TRANSPORT] = "dropscribe.core.redis_transport:Transport"
SENTINEL_TRANSPORT = f"{TRANSPORT}-{SCHEME}"
TRANSPORT_ALIASES[SENTINEL_TRANSPORT] = "dropscribe.core.redis_transport:SentinelTransport"
PROBE = "probe"  # the key of a write that tells whether Redis takes any
KEY_PREFIX = "dropscribe:"  # all our keys, so that an ACL can name them
SEPARATOR = "\x06\x16"  # kombu's, between a queue's name and a priority step
SOCKET_LIMIT = 100  # bytes; the kernel takes 108 for a unix socket's path


def socket_path(settings: Settings) -> Path:
    """Where the private Redis of this machine listens: under home, or a short path where that is too long.

    Raises BrokerError where that is not a folder of our own.
    """
    path = settings.home / "redis.sock"
    if len(os.fsencode(path)) <= SOCKET_LIMIT:
        return path
    digest = hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"dropscribe-{os.getuid()}-{digest}"
    if os.path.lexists(folder):
        private_state.require_own(folder)
    return folder / "redis.sock"


def redis_url(settings: Settings) -> str:
    """The Redis URL in force: the configured one, or that of the private Redis."""
    return settings.redis_url or f"unix://{quote(str(socket_path(settings)))}"


def broker_url(settings: Settings) -> str:
    """The same in kombu's spelling, for our transport. Raises UsageError."""
    scheme, _, rest = redis_url(settings).partition("://")
    if sentinel_address(redis_url(settings)):
        return f"{SENTINEL_TRANSPORT}://{SCHEME}"  # the address comes as an option
    return f"{TRANSPORT}+socket://{rest}" if scheme == "unix" else f"{TRANSPORT}://{rest}"


def make_app(settings: Settings) -> Celery:
    """A Celery app on the configured Redis. Opens no connection."""
    app = Celery("dropscribe", broker=broker_url(settings), set_as_current=False)
    app.conf.update(
        task_queues=[Queue(name, Exchange(name), routing_key=name) for name in (CPU_QUEUE, MODEL_QUEUE)],
        task_create_missing_queues=True,  # those of an engine or a precision (`dropscribe.core.routing`)
        task_default_queue=CPU_QUEUE,
        # The lease redelivers, not the broker: the visibility timeout can run no long job twice, and a recording
        # that kills its worker cannot loop.
        task_acks_late=False,
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,  # else one message waits behind the long job of a busy worker
        # Results live in the store.
        task_ignore_result=True,
        result_backend=None,
        # Ids only: nothing that could execute is ever read from Redis.
        task_serializer="json",
        accept_content=["json"],
        # The store knows who is alive; chatter between workers costs and tells nothing.
        worker_send_task_events=False,
        worker_enable_remote_control=False,
        # A Redis that restarts is waited for, for ever, and interrupts nobody's work.
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        # Logging is set up in dropscribe.core.logs.
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        # A replacement process that starts slowly on a loaded machine is not to be killed for it (default: 4 s).
        worker_proc_alive_timeout=60,
        broker_transport_options=transport_options(settings),
        broker_use_ssl=tls_options(redis_url(settings)),
    )
    return app


def tls_options(url: str) -> dict[str, Any] | None:
    """How kombu speaks TLS to a `rediss://` Redis: its certificate is always checked.

    By the system's authorities, or by `?ssl_ca_certs=FILE` in the URL, where `ssl_certfile` and `ssl_keyfile` may
    name a certificate of our own too, as in redis-py's URLs.
    """
    if not url.startswith("rediss://"):
        return None
    asked = dict(parse_qsl(urlsplit(url).query))
    files = {key: asked[key] for key in ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile") if key in asked}
    return {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_check_hostname": True} | files


def transport_options(settings: Settings) -> dict[str, Any]:
    """How kombu talks to Redis. Raises UsageError."""
    options: dict[str, Any] = {
        "global_keyprefix": KEY_PREFIX,
        "priority_steps": PRIORITY_STEPS,
        # Of equal priority, a model worker's queues take turns: neither all recordings nor those that only it may
        # read are kept waiting by the others.
        "queue_order_strategy": "round_robin",
        # A dead connection is noticed: silence is broken every 25 s, an answer is waited for 30 s at most.
        "socket_timeout": 30,
        "socket_connect_timeout": 5,
        "health_check_interval": 25,
    }
    if not redis_url(settings).startswith("unix://"):
        options["socket_keepalive"] = True
    if address := sentinel_address(redis_url(settings)):
        options["address"] = address
    return options


# What kombu, Celery and Redis raise where Redis is away or refuses.
REFUSED = (KombuError, OperationalError, RedisError, OSError)


class Doorbell:
    """Sends ids to workers."""

    def __init__(self, settings: Settings, app: Celery | None = None) -> None:
        """Opens no connection yet."""
        self._app = app or make_app(settings)
        self._url = mask(redis_url(settings))

    def ring(self, task: str, row: str, priority: str = Priority.NORMAL, model_queue: str = MODEL_QUEUE) -> None:
        """Send one message, for a chunk to its job's `model_queue`.

        Raises BrokerError; the row then waits for the reconciler, and nothing is lost.
        """
        step = (AHEAD_STEP if task in AHEAD else STEP_OF)[Priority(priority)]
        with translated(REFUSED, into=self._trouble):
            self._app.send_task(
                task,
                args=[row],
                queue=model_queue if task == TRANSCRIBE else CPU_QUEUE,
                priority=step,
                ignore_result=True,
                retry=True,
                retry_policy={"max_retries": 1, "interval_start": 0, "interval_step": 0.2, "interval_max": 0.5},
            )

    def probe(self) -> None:
        """Write something that is forgotten at once. Raises BrokerError where Redis is away or takes no writes."""
        with translated(REFUSED, into=self._trouble), self._app.pool.acquire(block=True) as connection:
            connection.default_channel.client.set(PROBE, "", px=1)

    def _trouble(self, error: Exception) -> BrokerError:
        """The error of ours for one of Redis, with what to do where that is known."""
        if known := refusal(error):
            return BrokerError(f"Redis at {self._url} {known}", remedy=known.remedy)
        return BrokerError(f"Redis at {self._url}: {error}", remedy="`dropscribe doctor` checks it")

    def ring_all(self, task: str, rows: Iterable[str], *address: str) -> None:
        """Send a message for each row, all of one priority and one `model_queue`. Raises BrokerError."""
        for row in rows:
            self.ring(task, row, *address)

    @contextmanager
    def best_effort(self) -> Iterator[None]:
        """A block of sending that ends with the first message that cannot be sent; the reconciler sends the rest."""
        try:
            yield
        except BrokerError as error:
            log.warning("could not send a message; the reconciler will resend it: %s", error)

    def depth(self, queue: str) -> int:
        """How many messages wait in a queue, over all priorities. Raises BrokerError."""
        # A connection of the pool: a new one would cost 10 ms each time.
        with translated(REFUSED, into=self._trouble), self._app.pool.acquire(block=True) as connection:
            client = connection.default_channel.client
            with client.pipeline(transaction=False) as pipeline:
                for step in PRIORITY_STEPS:
                    pipeline.llen(f"{queue}{SEPARATOR}{step}" if step else queue)
                return int(sum(pipeline.execute()))

    def close(self) -> None:
        """Close pooled connections."""
        self._app.close()
