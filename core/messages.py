"""Pure: what a message from Redis may say, which is one task and the id of one row; and the message made of that.

Anyone who can write to Redis can write any bytes there. So nothing of a message is handed on but those two words: no
options, no callbacks, no compression, no clock of its own.
"""

from __future__ import annotations

import base64
import json
import re
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from dropscribe.core.routing import CPU_QUEUE, EMBED, FINISH, PREPARE, TRANSCRIBE

MAX_BYTES = 1 << 16  # ours take less than 1 KiB
ROW = re.compile(r"[a-z0-9]{1,32}(\.[a-z0-9]{1,8}){0,8}", re.ASCII)  # the id of a job or of a chunk
CPU_TASKS = frozenset((PREPARE, EMBED, FINISH))
MODEL_TASKS = frozenset((TRANSCRIBE,))
TASKS = {CPU_QUEUE: CPU_TASKS}  # by their queues; in all others wait MODEL_TASKS
NO_FOLLOWERS = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}


@dataclass(frozen=True, slots=True)
class Message:
    """That there is something to do for a row; `step` is the priority that it was sent with."""

    task: str
    row: str
    step: int


def understood(written: bytes, queue: str) -> Message | None:
    """What a message in a queue says; None for anything that we would not have sent there."""
    if len(written) > MAX_BYTES:
        return None
    with suppress(ValueError, TypeError, KeyError, IndexError, RecursionError):  # of another shape, or no JSON at all
        message = json.loads(written)
        task, step = message["headers"]["task"], message["properties"]["priority"]
        arguments, options, _ = json.loads(base64.b64decode(message["body"], validate=True))
        is_ours = task in TASKS.get(queue, MODEL_TASKS) and options == {} and type(step) is int
        (row,) = arguments
        return Message(task, row, step) if is_ours and ROW.fullmatch(row) else None
    return None


def as_celery_reads_it(message: Message, queue: str) -> Mapping[str, Any]:
    """The message by Celery's protocol 2 in kombu's envelope, with nothing else in it."""
    body = json.dumps([[message.row], {}, NO_FOLLOWERS]).encode()
    number = str(uuid.uuid4())
    return {
        "body": base64.b64encode(body).decode(),
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {
            "lang": "py",
            "task": message.task,
            "id": number,
            "root_id": number,
            "retries": 0,
            "timelimit": [None, None],
            "argsrepr": repr((message.row,)),
            "kwargsrepr": "{}",
            "ignore_result": True,
        },
        "properties": {
            "body_encoding": "base64",
            "correlation_id": number,
            "delivery_info": {"exchange": queue, "routing_key": queue},
            "delivery_mode": 2,
            "delivery_tag": str(uuid.uuid4()),
            "priority": message.step,
        },
    }
