"""Whatever somebody writes into Redis, a worker goes on, and is only ever told of rows."""

from __future__ import annotations

import base64
import gzip
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import redis

from dropscribe.core.messages import Message, as_celery_reads_it
from dropscribe.core.queue import KEY_PREFIX, Doorbell, redis_url
from dropscribe.core.routing import CPU_QUEUE, EMBED, FINISH, MODEL_QUEUE, PREPARE, TRANSCRIBE
from dropscribe.core.settings import Settings
from tests.documents import REPOSITORY

HEARD = "heard"
TASKS = (PREPARE, EMBED, FINISH, TRANSCRIBE)

# Celery as workers run it, with tasks that only tell which row they were sent for.
WORKER = f"""
import warnings
import redis
from dropscribe.core import logs, queue
from dropscribe.core.settings_loading import load
from dropscribe.worker.runtime.pool import WakingPool

settings = load()
logs.configure(settings)
warnings.simplefilter("ignore")
app = queue.make_app(settings)
client = redis.Redis.from_url(queue.redis_url(settings))
def listener(name):
    def hear(row):
        client.rpush({HEARD!r}, name + " " + row)
    return hear

for name in {TASKS!r}:
    app.task(listener(name), name=name)
app.Worker(
    queues=["cpu", "model"], pool=WakingPool, concurrency=1,
    without_gossip=True, without_mingle=True, without_heartbeat=True, quiet=True,
).start()
"""


def message(task: str, queue: str, **changes: object) -> dict[str, object]:
    """One of ours, with another part."""
    return {**as_celery_reads_it(Message(task, "k3v9tq2w", 3), queue), **changes}


def encoded(body: bytes) -> str:
    return base64.b64encode(body).decode()


def hostile(task: str, queue: str) -> Iterator[object]:
    """Messages of a task that nobody of us sends."""
    good = message(task, queue)
    headers, properties = good["headers"], good["properties"]
    assert isinstance(headers, dict)
    assert isinstance(properties, dict)
    for body in (b"[]", b"{}", b"null", b'["k3v9tq2w"]', b"[[1], {}, {}]", b'[[["x"]], {}, {}]', b"\xff", b"[" * 9_000):
        yield message(task, queue, body=encoded(body))
    yield message(task, queue, body="not base64")
    yield message(task, queue, body=["a", "list"])
    yield message(task, queue, headers=None)
    yield message(task, queue, headers={**headers, "task": ["prepare"]})
    yield message(task, queue, headers={**headers, "task": "nobody.knows"})
    yield message(task, queue, properties={})
    yield {}
    yield []
    yield "text"
    # What Celery would act upon, though the row is one of ours: a bomb of 1 GB, a clock, a serializer that executes.
    bomb = encoded(gzip.compress(bytes(1 << 24)))
    yield message(task, queue, headers={**headers, "compression": "gzip"}, body=bomb)
    yield message(task, queue, **{"content-type": "application/x-python-serialize", "body": encoded(b"cos\nsystem\n.")})


def obeyed(task: str, queue: str) -> dict[str, object]:
    """One that asks for more than a look: another task afterwards, a reply, years of waiting."""
    good = message(task, queue)
    follower = {"task": "prepare", "args": ["planted1"], "kwargs": {}, "options": {"queue": "cpu"}}
    orders = {"callbacks": [follower], "errbacks": [follower], "chain": [follower], "chord": None}
    body = json.dumps([["k3v9tq2w"], {}, orders]).encode()
    headers = {**good["headers"], "eta": "2099-01-01T00:00:00", "expires": "yesterday", "retries": "x", "timelimit": 1}
    properties = {**good["properties"], "reply_to": "cpu", "delivery_info": "nonsense", "delivery_tag": {}}
    return {**good, "body": encoded(body), "headers": headers, "properties": properties, "content-encoding": "bomb"}


@contextmanager
def worker(settings: Settings) -> Iterator[subprocess.Popen[str]]:
    environment = {**os.environ, "DROPSCRIBE_REDIS_URL": redis_url(settings), "DROPSCRIBE_HOME": str(settings.home)}
    command = [sys.executable, "-c", WORKER]
    with subprocess.Popen(command, cwd=REPOSITORY, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.terminate()


def test_a_worker_goes_on_whatever_messages_say_and_looks_at_rows_alone(settings: Settings, doorbell: Doorbell) -> None:
    client = redis.Redis.from_url(redis_url(settings), socket_timeout=None)
    client.delete(HEARD)
    places = [(task, MODEL_QUEUE if task == TRANSCRIBE else CPU_QUEUE) for task in TASKS]
    sent = [(queue, json.dumps(bad)) for task, queue in places for bad in hostile(task, queue)]
    sent += [(CPU_QUEUE, b"\x00\xff"), (MODEL_QUEUE, b""), (CPU_QUEUE, b"{" * 100_000)]
    for queue, bad in sent:
        client.lpush(KEY_PREFIX + queue, bad)
    client.sadd(f"{KEY_PREFIX}_kombu.binding.cpu", "nonsense")
    client.hset(f"{KEY_PREFIX}unacked", "planted", "[]")
    client.zadd(f"{KEY_PREFIX}unacked_index", {"planted": 1})
    for task, queue in places:
        client.lpush(KEY_PREFIX + queue, json.dumps(obeyed(task, queue)))
        doorbell.ring(task, "mmmmmmmm.1")
    with worker(settings) as process:
        heard = [client.blpop([HEARD], timeout=20) for _ in range(2 * len(TASKS))]
        assert process.poll() is None
        process.terminate()
        said = process.stderr.read() if process.stderr else ""
    rows = ["k3v9tq2w", "mmmmmmmm.1"]
    assert sorted(one[1].decode() for one in heard if one) == sorted(f"{task} {row}" for task in TASKS for row in rows)
    assert said.count("that dropscribe did not send") == len(sent)
    assert "Traceback" not in said
    assert client.llen(HEARD) == 0
    client.close()


@pytest.fixture(autouse=True)
def _nothing_left(settings: Settings) -> Iterator[None]:
    yield
    with redis.Redis.from_url(redis_url(settings)) as client:
        client.flushall()
