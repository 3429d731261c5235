"""Every line says what it is about."""

from __future__ import annotations

import json
import logging
import threading

from dropscribe.core import logs
from dropscribe.core.logs import JsonFormatter, TextFormatter


def record(message: str = "hello") -> logging.LogRecord:
    return logging.LogRecord("x", logging.INFO, __file__, 1, message, (), None)


def test_a_line_names_its_worker_its_job_chunk_and_attempt() -> None:
    with logs.about(job="k3v9", chunk="0"), logs.about(attempt=2):
        line = json.loads(JsonFormatter("host-model").format(record()))
        text = TextFormatter().format(record())
    assert {name: line[name] for name in ("worker", "job", "chunk", "attempt")} == {
        "worker": "host-model",
        "job": "k3v9",
        "chunk": "0",
        "attempt": 2,
    }
    assert "[k3v9 0 2] hello" in text


def test_what_a_line_is_not_about_is_left_out() -> None:
    with logs.about(job="k3v9", chunk=""):
        assert "chunk" not in json.loads(JsonFormatter().format(record()))
    line = json.loads(JsonFormatter().format(record()))
    assert not {"worker", "job", "chunk", "attempt"} & set(line)


def test_threads_are_about_jobs_of_their_own() -> None:
    found = []
    with logs.about(job="k3v9"):
        other = threading.Thread(target=lambda: found.append(json.loads(JsonFormatter().format(record()))))
        other.start()
        other.join()
    assert "job" not in found[0]
