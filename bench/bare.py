"""A Celery worker with a bare task, on the settings of dropscribe's own: what a message costs at least.

Run by `bench.throughput` as `python -m bench.bare KIND TOTAL SECONDS`, where the task sleeps for SECONDS. It says in
Redis when it listens, and when the last of TOTAL messages was executed.
"""

from __future__ import annotations

import itertools
import sys
import time
from dataclasses import dataclass, field
from typing import Any

import redis
from celery import signals

from dropscribe.core.queue import make_app, redis_url
from dropscribe.core.routing import MODEL_QUEUE, TRANSCRIBE
from dropscribe.core.settings_loading import load
from dropscribe.worker.runtime.pool import WakingPool

READY_KEY = "bench:ready"
DONE_KEY = "bench:done"


@dataclass(frozen=True, slots=True)
class Kind:
    """One way of running a Celery worker: its name in the table, its pool, settings that differ from ours."""

    title: str
    pool: Any
    settings: dict[str, Any] = field(default_factory=dict)


CELERY_PREFETCH = {"worker_disable_prefetch": False, "worker_prefetch_multiplier": 4}  # Celery's defaults

KINDS = {
    "ours": Kind("without prefetching, our pool", WakingPool),
    "prefetch": Kind("with Celery's prefetching and threads", "threads", CELERY_PREFETCH),
    "threads": Kind("without prefetching, Celery's threads", "threads"),
}


def main(arguments: list[str]) -> int:
    """Work until SIGTERM."""
    kind, total, seconds = KINDS[arguments[0]], int(arguments[1]), float(arguments[2])
    settings = load()
    app = make_app(settings)
    app.conf.update(kind.settings)
    executed = itertools.count(1)

    def bare(row: str) -> None:  # noqa: ARG001 (what a message of ours brings along)
        if seconds:
            time.sleep(seconds)
        if next(executed) == total:
            say(DONE_KEY)

    def say(key: str, **_: Any) -> None:
        with redis.Redis.from_url(redis_url(settings)) as client:
            client.rpush(key, time.time())

    def listens(**_: Any) -> None:
        say(READY_KEY)

    app.task(bare, name=TRANSCRIBE)
    signals.worker_ready.connect(listens)
    worker = app.Worker(
        hostname="bare",
        queues=[MODEL_QUEUE],
        pool=kind.pool,
        concurrency=settings.model_slots or 1,
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
        quiet=True,
    )
    worker.start()
    return int(worker.exitcode or 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
