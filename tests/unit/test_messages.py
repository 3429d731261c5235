"""Of a message from Redis, one task and one row are read, or nothing."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as some

from dropscribe.core.messages import CPU_TASKS, MODEL_TASKS, Message, as_celery_reads_it, understood
from dropscribe.core.routing import CPU_QUEUE, MODEL_QUEUE

OURS = [*((task, CPU_QUEUE) for task in sorted(CPU_TASKS)), *((task, "model.whisper") for task in MODEL_TASKS)]
ROWS = some.sampled_from(["k3v9tq2w", "k3v9tq2w.4", "k3v9tq2w.4.1", "k3v9tq2w.e0", "k3v9tq2w.2399.1.1.0"])
JSON = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats() | some.text(max_size=9),
    lambda inner: some.lists(inner, max_size=4) | some.dictionaries(some.text(max_size=9), inner, max_size=4),
    max_leaves=9,
)
PLACES = [("body",), ("headers",), ("headers", "task"), ("properties",), ("properties", "priority"), ()]


def written(message: object) -> bytes:
    return json.dumps(message).encode()


@pytest.mark.parametrize(("task", "queue"), OURS)
@given(row=ROWS, step=some.sampled_from([0, 1, 3, 4, 6, 7]))
def test_a_message_of_ours_is_understood_however_often_it_is_passed_on(task, queue, row, step):
    message = Message(task, row, step)
    assert understood(written(as_celery_reads_it(message, queue)), queue) == message


@pytest.mark.parametrize(("task", "queue"), OURS)
@given(place=some.sampled_from(PLACES), value=JSON, row=ROWS)
def test_with_any_part_of_another_shape_it_is_understood_as_one_row_or_not_at_all(task, queue, place, value, row):
    message = as_celery_reads_it(Message(task, row, 3), queue)
    part = message
    for name in place[:-1]:
        part = part[name]
    if place:
        part[place[-1]] = value
    found = understood(written(message if place else value), queue)
    assert found is None or (found.task, found.row, type(found.step)) == (task, row, int)


@pytest.mark.parametrize(("task", "queue"), OURS)
@given(body=JSON)
def test_a_body_of_another_shape_is_none_of_ours(task, queue, body):
    message = {
        **as_celery_reads_it(Message(task, "k3v9tq2w", 3), queue),
        "body": base64.b64encode(written(body)).decode(),
    }
    assert understood(written(message), queue) is None


@given(some.binary(max_size=200))
def test_bytes_are_none_of_ours(noise):
    assert understood(noise, CPU_QUEUE) is None


@pytest.mark.parametrize(
    ("task", "queue", "row"),
    [
        ("transcribe", CPU_QUEUE, "k3v9tq2w.0"),
        ("prepare", MODEL_QUEUE, "k3v9tq2w"),
        ("celery.backend_cleanup", CPU_QUEUE, "k3v9tq2w"),
        ("prepare", CPU_QUEUE, "../../etc"),
        ("prepare", CPU_QUEUE, "k3v9tq2w\n"),
        ("prepare", CPU_QUEUE, "k" * 40),
    ],
)
def test_another_task_or_no_row_is_none_of_ours(task, queue, row):
    assert understood(written(as_celery_reads_it(Message(task, row, 3), queue)), queue) is None


def test_what_is_larger_or_nested_deeper_than_any_message_is_none_of_ours():
    assert understood(b"[" * 60_000, CPU_QUEUE) is None
    large = dict(as_celery_reads_it(Message("prepare", "k3v9tq2w", 3), CPU_QUEUE)) | {"more": "x" * 70_000}
    assert understood(written(large), CPU_QUEUE) is None
