"""The only logging set-up: JSON lines for programs, plain text for people.

Which job, chunk and attempt a line is about rides along in the context of the thread; the process's name is the same
for all of its lines.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from types import MappingProxyType

from dropscribe.core.passwords import redact
from dropscribe.core.safe_text import printable
from dropscribe.core.settings import Settings

_about: ContextVar[Mapping[str, str | int]] = ContextVar("about", default=MappingProxyType({}))

QUIET = ("celery", "kombu", "amqp", "alembic", "watchdog", "urllib3")  # heard from warnings up


@contextmanager
def about(**what: str | int) -> Iterator[None]:
    """Let every line of this thread tell `job`, `chunk`, `attempt` (unless empty) for the duration of the block."""
    token = _about.set({**_about.get(), **{name: value for name, value in what.items() if value}})
    try:
        yield
    finally:
        _about.reset(token)


class JsonFormatter(logging.Formatter):
    """One JSON object a line; `worker` is the process's name in the store, left out where it has none."""

    def __init__(self, worker: str = "") -> None:
        """See the class."""
        super().__init__()
        self._worker = {"worker": worker} if worker else {}

    def format(self, record: logging.LogRecord) -> str:
        """See the base class."""
        line: dict[str, str | int] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": redact(record.getMessage()),
            **self._worker,
            **_about.get(),
        }
        if record.exc_info:
            line["traceback"] = redact(self.formatException(record.exc_info))
        return json.dumps(line, ensure_ascii=True)


class TextFormatter(logging.Formatter):
    """Time, level and message, with the job, its chunk and the attempt in front where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """See the base class."""
        job = f"[{' '.join(map(str, told.values()))}] " if (told := _about.get()) else ""
        moment = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S")
        line = f"{moment} {record.levelname.lower():7} {job}{printable(redact(record.getMessage()))}"
        if record.exc_info:
            line += "\n" + redact(self.formatException(record.exc_info))
        return line


def configure(settings: Settings, worker: str = "") -> None:
    """Send all logging of this process to stderr, once; `worker` is its name in the store."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(worker) if settings.log_format == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level.upper())
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    if settings.file:
        logging.getLogger(__name__).info("settings from %s", settings.file)
    for remark in settings.remarks:
        logging.getLogger(__name__).warning("%s", remark)
